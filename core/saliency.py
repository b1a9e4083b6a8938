"""Weights that keep an edit where its change is.

What two prompts make of one picture differs much in few places and a little everywhere. Weak changes elsewhere
(background, skin tone) are specific to that picture or are estimation error; on another picture they appear as colour
shifts. So a change is weighted place by place with

    w = (1 + focus) * e2 / (e2 + focus * mean(e2))        e2: mean square of the change over channels and a window

which is 1 where as much differs as on average, 1 + focus at most, and near 0 where little does: a Wiener filter that
takes the share ``focus`` of the mean for noise. The window is a share of the latent, so that it covers as much of the
picture at any size. Ours, in neither paper.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# Chosen by: python benchmarks/latent_svd.py ablation --first 60000 --variants default focus
FOCUS = 1.0
# How far the window reaches from its place, as a share of the latent's shorter side: 1 of the 16 places of the embedded
# U-Net's latents, which is a window of 3 x 3, and 2 of the 32 of the transformer's. Chosen by:
# python benchmarks/saliency_window.py
WINDOW_REACH = 1 / 16


def window_side(height: int, width: int) -> int:
    """Return the side of the window over which a change's energy is taken, in places of a latent of this size.

    Args:
        height: Height of the latent.
        width: Width of the latent.

    Returns:
        An odd number, 3 at least.
    """
    return 1 + 2 * max(1, round(WINDOW_REACH * min(height, width)))


def saliency_weight(change: Tensor, focus: float = FOCUS) -> Tensor:
    """Weight each place of a change by how much differs there.

    Args:
        change: A difference of latents, in any space and of any scale, [..., C, H, W].
        focus: How much must differ at a place for it to count; 0 counts every place alike.

    Returns:
        The weight w, [..., 1, H, W]; it does not depend on the scale of the change.
    """
    energy = local_energy(change)
    mean = energy.mean(dim=(-2, -1), keepdim=True)
    return (1 + focus) * energy / (energy + focus * mean).clamp(min=1e-12)


def peak(change: Tensor) -> Tensor:
    """Return how large a change is where it is largest, whatever part of the picture it takes.

    Args:
        change: A difference of latents, in any space, [..., C, H, W].

    Returns:
        The root mean square over channels and a window, at the place where it is largest, [...].
    """
    return local_energy(change).amax((-3, -2, -1)).sqrt()


def local_energy(change: Tensor) -> Tensor:
    """Return e2, the mean square of a change over channels and the window around each place, [..., 1, H, W]."""
    return local_mean(change.square().mean(dim=-3, keepdim=True))


def local_mean(x: Tensor, side: int | None = None) -> Tensor:
    """Return the mean over the window around each place.

    Args:
        x: In any space, [..., C, H, W]; beyond its border the place at the border goes on.
        side: Places along a side of the window, an odd number; None takes that of the saliency weight.

    Returns:
        The means, like x.
    """
    rows = x.reshape(-1, 1, *x.shape[-2:])
    side = side or window_side(*x.shape[-2:])
    padded = F.pad(rows, (side // 2,) * 4, mode="replicate")
    # Along one axis and then the other, which is faster where windows are large.
    means = F.avg_pool2d(F.avg_pool2d(padded, (side, 1), stride=1), (1, side), stride=1)
    return means.view_as(x)
