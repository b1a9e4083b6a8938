"""PIL images and arrays as tensors from 0 to 1: one reader for pictures and for masks."""

from __future__ import annotations

import logging
import struct

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...core.errors import EditError, plain_text

LOGGER = logging.getLogger("singular_edit")
# The largest values of 8 and of 16 bit.
LARGEST_8_BIT = 255
LARGEST_16_BIT = 65535


def from_pil(picture: Image.Image, name: str) -> Tensor:
    """Read a PIL image, upright and in RGB; what is transparent becomes white.

    Args:
        picture: The image.
        name: What it is called, for the error: "a picture".

    Returns:
        [3, height, width] in float32, from 0 to 1.

    Raises:
        EditError: It cannot be read, or its pixels have no range that is known.
    """
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise EditError(f"{name} cannot be read ({plain_text(error, 200)}); a whole picture is accepted.") from error
    try:
        picture = ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError, TypeError, struct.error) as error:
        LOGGER.info("%s has damaged notes on how it is turned (%s).", name, error)
    if picture.mode == "F":
        raise EditError(
            f"{name} is a PIL image of mode F, whose numbers have no range; one of 8 or 16 bit, or a tensor from 0 to "
            "1, is accepted."
        )
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.float32) / _largest(picture, name)
        return torch.from_numpy(values).expand(3, -1, -1)
    if "A" in picture.mode or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    values = np.asarray(picture.convert("RGB"), dtype=np.float32) / LARGEST_8_BIT
    return torch.from_numpy(values).movedim(-1, 0)


def _largest(picture: Image.Image, name: str) -> int:
    """Return what white is in an image of mode I;16 or I; the latter holds 32 bits, and says not how many are used."""
    if picture.mode != "I" or not all(picture.size):
        return LARGEST_16_BIT
    lowest, highest = picture.getextrema()
    if not 0 <= lowest <= highest <= LARGEST_16_BIT:
        raise EditError(
            f"{name} of mode I holds numbers from {lowest} to {highest}; numbers from 0 to {LARGEST_16_BIT} are "
            "accepted."
        )
    return LARGEST_8_BIT if highest <= LARGEST_8_BIT else LARGEST_16_BIT


def from_array(array: np.ndarray) -> Tensor | None:
    """Return an array as a tensor in float32; one of uint8 is divided by 255. None for whole numbers of other kinds."""
    if array.dtype == np.uint8:
        return torch.from_numpy(array.astype(np.float32) / LARGEST_8_BIT)
    return torch.from_numpy(array.astype(np.float32)) if np.issubdtype(array.dtype, np.floating) else None


def in_range(values: Tensor, name: str) -> Tensor:
    """Check that numbers lie from 0 to 1.

    Args:
        values: The numbers, one or more.
        name: What holds them, for the error.

    Returns:
        The numbers themselves.

    Raises:
        EditError: One is NaN, infinite, below 0 or above 1.
    """
    lowest, highest = float(values.min()), float(values.max())
    if not (lowest >= 0 and highest <= 1):
        raise EditError(f"{name} holds numbers from {lowest:.3g} to {highest:.3g}; numbers from 0 to 1 are accepted.")
    return values


def kind_of(value: object) -> str:
    """Return what something is, for a sentence that says it is no picture or no mask."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return type(value).__name__
