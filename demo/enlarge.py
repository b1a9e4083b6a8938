"""The demo's pictures at a size one can see, for ComfyUI: each pixel of the model is a square of pixels there."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

# Pixels along a side of an enlarged picture, of both embedded models.
SHOWN_SIDE = 256


def enlarge(pictures: Tensor, times: int) -> Tensor:
    """Enlarge pictures without smoothing.

    Args:
        pictures: [B, C, H, W].
        times: How many times as large.

    Returns:
        Pictures, [B, C, times * H, times * W].
    """
    return F.interpolate(pictures, scale_factor=float(times), mode="nearest")


def reduce(pictures: Tensor, times: int) -> Tensor:
    """Reduce pictures to the mean of each square; of enlarged pictures this gives back what they were, bit for bit.

    Args:
        pictures: [B, C, H, W], whose sides ``times`` divides.
        times: How many times as small, a power of two.

    Returns:
        Pictures, [B, C, H / times, W / times].
    """
    # The mean of four equal numbers has no rounding error; that of sixteen has.
    while times > 1:
        pictures = F.avg_pool2d(pictures, 2)
        times //= 2
    return pictures
