"""Pictures in a row, with labels above them: the sheets of the nodes and of the command line."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Height of a label, as a share of a picture's height, and its least number of pixels.
LABEL_SHARE = 0.1
LABEL_MIN = 18
# Pixels of white between two pictures.
GAP = 8


def labelled(pictures: Tensor, text: str) -> Tensor:
    """Write a label in a white strip above pictures.

    Args:
        pictures: IMAGE [B, height, width, 3].
        text: The label.

    Returns:
        IMAGE [B, height + strip, width, 3].
    """
    height, width = pictures.shape[1:3]
    strip = max(LABEL_MIN, round(LABEL_SHARE * height))
    drawn = Image.new("RGB", (width, strip), "white")
    font = ImageFont.load_default(round(0.7 * strip))
    ImageDraw.Draw(drawn).text((width / 2, strip / 2), text, fill="black", font=font, anchor="mm")
    label = torch.from_numpy(np.asarray(drawn).copy()).float() / 255
    return torch.cat([label.expand(len(pictures), -1, -1, -1), pictures], dim=1)


def side_by_side(*pictures: Tensor) -> Tensor:
    """Put IMAGEs of one size next to each other, with a white gap, [B, height, width, 3]."""
    gap = torch.ones(len(pictures[0]), pictures[0].shape[1], GAP, 3)
    row = [pictures[0]]
    for picture in pictures[1:]:
        row += [gap, picture]
    return torch.cat(row, dim=2)
