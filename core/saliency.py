"""Weights that keep an edit where its change is.

What two prompts make of one picture differs much in few places and a little everywhere. Weak changes elsewhere
(background, skin tone) are specific to that picture or are estimation error; on another picture they appear as colour
shifts. So a change is weighted place by place with

    w = (1 + focus) * e2 / (e2 + focus * mean(e2))        e2: mean square of the change over channels and 3x3 places

which is 1 where as much differs as on average, 1 + focus at most, and near 0 where little does: a Wiener filter that
takes the share ``focus`` of the mean for noise. Ours, in neither paper.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# Chosen by: python benchmarks/latent_svd.py ablation --first 60000 --variants default focus
FOCUS = 1.0


def saliency_weight(change: Tensor, focus: float = FOCUS) -> Tensor:
    """Weight each place of a change by how much differs there.

    Args:
        change: A difference of latents, in any space and of any scale, [..., C, H, W].
        focus: How much must differ at a place for it to count; 0 counts every place alike.

    Returns:
        The weight w, [..., 1, H, W]; it does not depend on the scale of the change.
    """
    local = change.square().mean(dim=-3, keepdim=True)
    rows = local.reshape(-1, 1, *change.shape[-2:])
    energy = F.avg_pool2d(F.pad(rows, (1, 1, 1, 1), mode="replicate"), kernel_size=3, stride=1).view_as(local)
    mean = energy.mean(dim=(-2, -1), keepdim=True)
    return (1 + focus) * energy / (energy + focus * mean).clamp(min=1e-12)
