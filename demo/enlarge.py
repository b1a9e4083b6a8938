"""The demo's pictures at a size one can see, for ComfyUI: each pixel of the model is a square of pixels there."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

HALVINGS = 2
ENLARGEMENT = 2**HALVINGS


def enlarge(pictures: Tensor) -> Tensor:
    """Enlarge pictures without smoothing.

    Args:
        pictures: [B, C, H, W].

    Returns:
        Pictures, [B, C, ENLARGEMENT * H, ENLARGEMENT * W].
    """
    return F.interpolate(pictures, scale_factor=float(ENLARGEMENT), mode="nearest")


def reduce(pictures: Tensor) -> Tensor:
    """Reduce pictures to the mean of each square; of enlarged pictures this gives back what they were, bit for bit.

    Args:
        pictures: [B, C, H, W], whose sides ENLARGEMENT divides.

    Returns:
        Pictures, [B, C, H / ENLARGEMENT, W / ENLARGEMENT].
    """
    # The mean of four equal numbers has no rounding error; that of sixteen has.
    for _ in range(HALVINGS):
        pictures = F.avg_pool2d(pictures, 2)
    return pictures
