"""Masks of any kind and size as a batch that an edit takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import EditError
from ..cropping import cropped
from .pixels import from_array, from_pil, in_range, kind_of

# A tensor is [height, width], [B, height, width] or [B, 1, height, width], and an array [height, width].
Mask = Image.Image | Tensor | np.ndarray


def mask_of(mask: Mask | None, size: tuple[int, int]) -> Tensor | None:
    """Bring a mask to the size of a latent, as the picture was brought to its own: the same edges are cut off.

    Args:
        mask: White, or 1, where the picture may change: a PIL image, of which the mean of the channels is taken and
            what is transparent is white; a tensor [H, W], [B, H, W] or [B, 1, H, W] from 0 to 1; or an array [H, W] of
            floats from 0 to 1, of bools or of uint8. Of the size of the picture as it was, or as it is drawn.
        size: Height and width of the latent.

    Returns:
        [B, 1, height, width] in float32; None for None.

    Raises:
        EditError: It is no mask, or holds numbers outside of 0 to 1.
    """
    if mask is None:
        return None
    values = _values(mask)
    if values is None or not values.numel():
        raise EditError(
            f"a mask is {kind_of(mask)}; a PIL image, a tensor [height, width], [batch, height, width] or "
            "[batch, 1, height, width], or an array [height, width] of floats, bools or uint8 is accepted."
        )
    rows = in_range(values, "a mask").reshape(-1, 1, *values.shape[-2:])
    return F.interpolate(cropped(rows, *size), size=size, mode="area")


def _values(mask: Any) -> Tensor | None:
    """Return a mask's numbers in float32; None for what is no mask."""
    if isinstance(mask, Image.Image):
        return from_pil(mask, "a mask").mean(dim=0)
    if isinstance(mask, np.ndarray) and mask.ndim == 2 and mask.size:
        # Bytes that are 0 or 1 are a mask's own numbers: as shades of grey, 1 would be black.
        if mask.dtype == bool or (mask.dtype == np.uint8 and mask.max() <= 1):
            mask = mask.astype(np.float32)
        return from_array(mask)
    if isinstance(mask, Tensor) and (mask.ndim in (2, 3) or (mask.ndim == 4 and mask.shape[1] == 1)):
        return mask.detach().float().cpu()
    return None
