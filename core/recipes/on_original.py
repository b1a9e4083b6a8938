"""An edit's change, added to the picture itself, at its own size.

    result = picture + change - share * lost,       change = edited - unedited,     lost = picture - unedited
    share  = mean(change^2) / (mean(change^2) + mean(lost^2)),      means over a window of both

Both drawn pictures passed through the VAE, at the size that the model was made for, and lost the same there: fine
detail. Where nothing changes, the picture stays as it is, bit for bit. Where much changes, the detail that was below it
goes, such as the edge of a mouth that moved, and the result is the model's drawing. A VAE spreads a change over the
whole picture, so that outside of a mask nothing is added. Where the model draws the middle of a picture alone, what is
added at its border goes on beyond it, and fades. Ours, not the papers'.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..saliency import local_mean

# The window's side, as a share of the drawing's shorter side.
WINDOW = 1 / 16
# How far what is added goes on beyond what was drawn, as a share of the shorter side of that.
FADE = 1 / 4


def on_original(
    picture: Tensor,
    unedited: Tensor,
    edited: Tensor,
    mask: Tensor | None = None,
    *,
    view: tuple[slice, slice] = (slice(None), slice(None)),
) -> Tensor:
    """Add an edit's change to the picture that was edited.

    Args:
        picture: The picture, [B, C, H, W] in [0, 1].
        unedited: What the model draws of it without the edit, [B, C, h, w] in [0, 1].
        edited: The same with the edit.
        mask: The mask that the edit was made with, [B or 1, 1, h', w'] of the latent's size, above 0 where it may
            change; None is everywhere.
        view: The rows and the columns of the picture that the model draws.

    Returns:
        The edited picture, like ``picture``.
    """
    part = picture[..., view[0], view[1]]
    size = part.shape[-2:]
    lost = part - resized(unedited, size)
    change = edited - unedited
    drawn = change.shape[-2:]
    changed, kept = (energy_around(x, drawn) for x in (change, lost))
    share = torch.where(changed > 0, changed / (changed + kept).clamp(min=1e-12), 0)
    added = resized(change, size) - resized(share, size).clamp(0, 1) * lost
    if mask is not None:
        added = added * around(mask, size)
    return (picture + beyond(added, picture.shape[-2:], view)).clamp(0, 1)


def beyond(added: Tensor, size: tuple[int, int] | torch.Size, view: tuple[slice, slice]) -> Tensor:
    """Return what is added in a view of a picture for all of it, [B, C, *size]: its border goes on and fades."""
    if added.shape[-2:] == size:
        return added
    reach = max(1.0, FADE * min(added.shape[-2:]))
    for axis, length, part in zip((-2, -1), size, view, strict=True):
        first, last, _ = part.indices(length)
        places = torch.arange(length, device=added.device)
        inside = places.clamp(first, last - 1)
        weight = (1 - (places - inside).abs() / reach).clamp(min=0).to(added)
        added = added.index_select(axis, inside - first) * (weight[:, None] if axis == -2 else weight)
    return added


def around(mask: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return 1 within a mask of a latent and one place around it, and 0 from two places on, [B or 1, 1, *size]."""
    near = F.max_pool2d((mask > 0).float(), 3, stride=1, padding=1)
    return F.interpolate(near, size=tuple(size), mode="bilinear")


def resized(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bring [B, C, H, W] to another height and width; itself where it has them."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=tuple(size), mode="bicubic", antialias=True)


def energy_around(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return the mean square of [B, C, H, W] in the window around each place of a size, [B, 1, *size]."""
    energy = F.interpolate(x.square().mean(dim=1, keepdim=True), size=tuple(size), mode="area")
    return local_mean(energy, 2 * max(1, round(min(size) * WINDOW / 2)) + 1)
