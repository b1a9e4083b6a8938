"""An edit's change, added to the picture itself, at its own size.

    result = picture + change - share * lost,       change = edited - unedited,     lost = picture - unedited
    share  = mean(change^2) / (mean(change^2) + mean(lost^2)),      means over a window of both

Both drawn pictures passed through the VAE, at the size that the model was made for, and lost the same there: fine
detail. Where nothing changes, the picture stays as it is, bit for bit. Where much changes, the detail that was below it
goes, such as the edge of a mouth that moved, and the result is the model's drawing. A VAE spreads a change over the
whole picture, so that outside of a mask nothing is added. Ours, not the papers'.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# The window's side, as a share of the drawing's shorter side.
WINDOW = 1 / 16


def on_original(picture: Tensor, unedited: Tensor, edited: Tensor, mask: Tensor | None = None) -> Tensor:
    """Add an edit's change to the picture that was edited.

    Args:
        picture: The picture, [B, C, H, W] in [0, 1].
        unedited: What the model draws of it without the edit, [B, C, h, w] in [0, 1], of the same view.
        edited: The same with the edit.
        mask: The mask that the edit was made with, [B or 1, 1, h', w'] of the latent's size, above 0 where it may
            change; None is everywhere.

    Returns:
        The edited picture, like ``picture``.
    """
    size = picture.shape[-2:]
    lost = picture - resized(unedited, size)
    change = edited - unedited
    drawn = change.shape[-2:]
    changed, kept = (local_energy(x, drawn) for x in (change, lost))
    share = torch.where(changed > 0, changed / (changed + kept).clamp(min=1e-12), 0)
    added = resized(change, size) - resized(share, size).clamp(0, 1) * lost
    return (picture + (added if mask is None else added * around(mask, size))).clamp(0, 1)


def around(mask: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return 1 within a mask of a latent and one place around it, and 0 from two places on, [B or 1, 1, *size]."""
    near = F.max_pool2d((mask > 0).float(), 3, stride=1, padding=1)
    return F.interpolate(near, size=tuple(size), mode="bilinear")


def resized(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Bring [B, C, H, W] to another height and width; itself where it has them."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=tuple(size), mode="bicubic", antialias=True)


def local_energy(x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Return the mean square of [B, C, H, W] in the window around each place of a size, [B, 1, *size]."""
    energy = F.interpolate(x.square().mean(dim=1, keepdim=True), size=tuple(size), mode="area")
    reach = max(1, round(min(size) * WINDOW / 2))
    padded = F.pad(energy, [reach] * 4, mode="replicate")
    rows = F.avg_pool2d(padded, (2 * reach + 1, 1), 1)
    return F.avg_pool2d(rows, (1, 2 * reach + 1), 1)
