"""The small picture that an attribute's file carries, as a JPEG in base64."""

from __future__ import annotations

import base64
import binascii
import io
import logging

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.recipes.attributes import Attribute

# A preview that comes with a stranger's file is shown up to this size.
MAX_BYTES = 300_000
MAX_SIDE = 1024
JPEG_QUALITY = 85


def preview_text(image: Tensor) -> str:
    """Return the first picture of an IMAGE as a small JPEG in base64, for an attribute's info."""
    pixels = (255 * image[0, ..., :3].clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((MAX_SIDE // 2, MAX_SIDE // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def preview_of(attribute: Attribute) -> Tensor | None:
    """Return the preview that an attribute carries.

    Args:
        attribute: An attribute, from a file of anybody.

    Returns:
        IMAGE [1, height, width, 3]; None where there is none, or none that is small and whole.
    """
    text = attribute.info.get("preview", "")
    if not text or len(text) > MAX_BYTES:
        return None
    try:
        # Only JPEG, whose decoder takes no more memory than its size says.
        picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["JPEG"])
        if max(picture.size) > MAX_SIDE:
            return None
        pixels = np.asarray(picture.convert("RGB"))
    except (binascii.Error, OSError, ValueError, SyntaxError):
        logging.warning("Singular Edit: the preview of '%s' is damaged and is left out.", attribute.name)
        return None
    return torch.from_numpy(pixels.copy()).float()[None] / 255
