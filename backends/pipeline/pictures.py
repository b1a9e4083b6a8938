"""Pictures of any kind and size as a batch that a pipeline takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import EditError

# One picture, or several: a tensor is [3, height, width] or [B, 3, height, width], from 0 to 1.
Pictures = Image.Image | Tensor | Sequence[Image.Image | Tensor]
# Pixels along the longest side, or (width, height); None takes what the model was made for.
Size = int | tuple[int, int] | None


class Sides(NamedTuple):
    """The sizes that a model takes.

    Attributes:
        native: Pixels along a side of the square pictures that it was made for.
        multiple: What each side must be a multiple of, so that no level of the network rounds up.
        largest: What no side may be longer than; None is any length.
    """

    native: int
    multiple: int
    largest: int | None = None

    def nearest(self, length: float) -> int:
        """Return the side nearest to a wanted one."""
        count = max(1, round(length / self.multiple))
        return self.multiple * (count if self.largest is None else min(count, self.largest // self.multiple))

    def of(self, size: Size, height: int, width: int) -> tuple[int, int]:
        """Return the height and the width that a picture is brought to.

        Args:
            size: What was asked for.
            height: The picture's own.
            width: The picture's own.

        Raises:
            EditError: size is no size.
        """
        if isinstance(size, tuple) and len(size) == 2 and all(side > 0 for side in size):
            return self.nearest(size[1]), self.nearest(size[0])
        if size is None:
            scale = self.native / math.sqrt(height * width)
        elif isinstance(size, int) and size > 0:
            scale = size / max(height, width)
        else:
            raise EditError(f"size is {size!r}; the longest side in pixels, or (width, height), is accepted.")
        if self.largest is not None:
            scale = min(scale, self.largest / max(height, width))
        return self.nearest(scale * height), self.nearest(scale * width)


def pictures_of(pictures: Pictures, sides: Sides, size: Size = None) -> Tensor:
    """Bring pictures to a size that a model takes, with their aspect kept; a narrow edge may be cut off.

    Args:
        pictures: One picture or several, of one shape.
        sides: The sizes that the model takes.
        size: The longest side in pixels, or (width, height); None takes as many pixels as the model was made for.

    Returns:
        [B, 3, height, width] in float32, from 0 to 1.

    Raises:
        EditError: Something is no picture, or the pictures come out in different sizes.
    """
    several = [pictures] if isinstance(pictures, Image.Image | Tensor) or not pictures else list(pictures)
    rows = [row for one in several for row in _rows(one)]
    fitted = [_fitted(row[None], *sides.of(size, *row.shape[-2:])) for row in rows]
    if len({picture.shape for picture in fitted}) > 1:
        shapes = sorted({f"{picture.shape[-1]} x {picture.shape[-2]}" for picture in fitted})
        raise EditError(
            f"the pictures of one call come out in different sizes ({', '.join(shapes)}); "
            "pictures of one shape, a size of (width, height), or one call for each picture are accepted."
        )
    return torch.cat(fitted)


def _rows(picture: Image.Image | Tensor) -> list[Tensor]:
    """Return the pictures in what may be a batch, [3, height, width] each."""
    if isinstance(picture, Image.Image):
        return [_from_pil(picture)]
    if isinstance(picture, Tensor) and picture.ndim in (3, 4) and picture.shape[-3] == 3 and picture.numel():
        values = picture.detach().float().cpu()
        if torch.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
            return list(values if values.ndim == 4 else values[None])
        raise EditError(
            f"a picture holds numbers from {float(values.min()):.3g} to {float(values.max()):.3g}; "
            "numbers from 0 to 1 are accepted."
        )
    found = f"a tensor of shape {tuple(picture.shape)}" if isinstance(picture, Tensor) else type(picture).__name__
    raise EditError(
        f"a picture is {found}; a PIL image, a tensor [3, height, width] or [batch, 3, height, width], "
        "or a list of them is accepted."
    )


def _from_pil(picture: Image.Image) -> Tensor:
    """Return a PIL picture upright and in RGB, [3, height, width]; what is transparent becomes white."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        values = np.asarray(picture).astype(np.float32) / 65535
        return torch.from_numpy(values.clip(0, 1)).expand(3, -1, -1)
    if "A" in picture.mode or "transparency" in picture.info:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    values = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(values).movedim(-1, 0)


def _fitted(picture: Tensor, height: int, width: int) -> Tensor:
    """Bring a picture [1, 3, H, W] to a size; its middle is kept where the aspect differs."""
    old_height, old_width = picture.shape[-2:]
    if (old_height, old_width) == (height, width):
        return picture
    cut_x = max(0, round((old_width - old_height * width / height) / 2))
    cut_y = max(0, round((old_height - old_width * height / width) / 2))
    part = picture[..., cut_y : old_height - cut_y, cut_x : old_width - cut_x]
    # Averages over areas give no ripples where a picture is made smaller.
    if height * width < part.shape[-2] * part.shape[-1]:
        return F.interpolate(part, size=(height, width), mode="area")
    return F.interpolate(part, size=(height, width), mode="bicubic").clamp(0, 1)


def pil_pictures(pictures: Tensor) -> list[Image.Image]:
    """Return pictures [B, 3, height, width], from 0 to 1, as PIL images."""
    pixels = (255 * pictures.clamp(0, 1)).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]


def mask_of(mask: Image.Image | Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Bring a mask to the size of a latent.

    Args:
        mask: White, or 1, where the picture may change: a PIL image, or a tensor [H, W], [B, H, W] or [B, 1, H, W].
        size: Height and width of the latent.

    Returns:
        [B, 1, height, width] in float32; None for None.
    """
    if mask is None:
        return None
    if isinstance(mask, Image.Image):
        mask = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)
    rows = mask.detach().float().cpu().reshape(-1, 1, *mask.shape[-2:])
    return F.interpolate(rows, size=size, mode="area")
