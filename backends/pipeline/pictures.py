"""Pictures of any kind and size as a batch that a pipeline takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import EditError
from ..cropping import cropped
from .arguments import found, whole_number, whole_pair
from .pixels import from_array, from_pil, in_range, kind_of

# One picture, or several: a tensor is [3, height, width] or [B, 3, height, width], and an array [height, width, 3], of
# floats from 0 to 1; an array may also be of uint8.
Picture = Image.Image | Tensor | np.ndarray
Pictures = Picture | Sequence[Picture]
# Pixels along the longest side, or (width, height); None takes what the model was made for.
Size = int | Sequence[int] | None

LOGGER = logging.getLogger("singular_edit")
# A side in pixels that is longer is taken for a mistake.
MAX_SIDE = 16384


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
        pair, longest = whole_pair(size), whole_number(size)
        if max(pair or [longest or 0]) > MAX_SIDE:
            pair = longest = None
        if pair is not None:
            return self.nearest(pair[1]), self.nearest(pair[0])
        if size is None:
            scale = self.native / math.sqrt(height * width)
        elif longest is not None and longest > 0:
            scale = longest / max(height, width)
        else:
            raise EditError(
                f"size is {found(size)}; the longest side in pixels, or (width, height), up to {MAX_SIDE}, is accepted."
            )
        if self.largest is not None:
            scale = min(scale, self.largest / max(height, width))
        return self.nearest(scale * height), self.nearest(scale * width)

    def log_rounded(self, size: Size, drawn: Iterable[tuple[int, int]]) -> None:
        """Log a size that was rounded.

        Args:
            size: What was asked for.
            drawn: Height and width of each picture that was brought to it.
        """
        for height, width in dict.fromkeys(drawn):
            pair = whole_pair(size)
            if size is not None and (pair != (width, height) if pair else whole_number(size) != max(height, width)):
                LOGGER.info("size %s becomes %d x %d, the nearest that the network takes.", size, width, height)


def pictures_of(pictures: Pictures, sides: Sides, size: Size = None) -> Tensor:
    """Bring pictures to a size that a model takes, with their aspect kept; a narrow edge may be cut off.

    Args:
        pictures: One picture or several, of one shape; they are read one after the other.
        sides: The sizes that the model takes.
        size: The longest side in pixels, or (width, height); None takes as many pixels as the model was made for.

    Returns:
        [B, 3, height, width] in float32, from 0 to 1.

    Raises:
        EditError: Something is no picture, or the pictures come out in different sizes.
    """
    # One after the other: photographs of a camera fill the memory where all are held as they are.
    fitted = [_fitted(row[None], *sides.of(size, row.shape[-2], row.shape[-1])) for row in each_row(pictures)]
    sides.log_rounded(size, [(picture.shape[-2], picture.shape[-1]) for picture in fitted])
    if len({picture.shape for picture in fitted}) > 1:
        shapes = sorted({f"{picture.shape[-1]} x {picture.shape[-2]}" for picture in fitted})
        raise EditError(
            f"the pictures of one call come out in different sizes ({', '.join(shapes)}); "
            "pictures of one shape, a size of (width, height), or one call for each picture are accepted."
        )
    return torch.cat(fitted)


def rows_of(pictures: Pictures, name: str = "pictures") -> list[Tensor]:
    """Read pictures, each at its own size.

    Args:
        pictures: One picture or several.
        name: What they are called, for the error.

    Returns:
        [3, height, width] each, in float32, from 0 to 1.

    Raises:
        EditError: Something is no picture, or there is none.
    """
    return list(each_row(pictures, name))


def each_row(pictures: Pictures, name: str = "pictures") -> Iterator[Tensor]:
    """Read pictures as rows_of does, one after the other."""
    one_alone = isinstance(pictures, Picture | str | bytes) or not isinstance(pictures, Iterable)
    several: Iterable[Any] = [pictures] if one_alone else pictures
    count = 0
    for one in several:
        for row in _rows(one):
            count += 1
            yield row
    if not count:
        raise EditError(f"{name} holds no picture; one or more are accepted.")


def _rows(picture: Any) -> list[Tensor]:
    """Return the pictures in what may be a batch, [3, height, width] each."""
    values = None
    if isinstance(picture, Image.Image):
        values = from_pil(picture, "a picture")
    elif isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[-1] == 3:
        values = from_array(picture)
        values = None if values is None else values.movedim(-1, 0)
    elif isinstance(picture, Tensor) and picture.ndim in (3, 4) and picture.shape[-3] == 3:
        values = picture.detach().float().cpu()
    if values is None or not values.numel():
        raise EditError(
            f"a picture is {kind_of(picture)}; a PIL image, a tensor [3, height, width] or [batch, 3, height, width], "
            "an array [height, width, 3] of floats or of uint8, or a list of them is accepted."
        )
    return list(in_range(values if values.ndim == 4 else values[None], "a picture"))


def _fitted(picture: Tensor, height: int, width: int) -> Tensor:
    """Bring a picture [1, 3, H, W] to a size; its middle is kept where the aspect differs."""
    if picture.shape[-2:] == (height, width):
        return picture
    part = cropped(picture, height, width)
    # Averages over areas give no ripples where a picture is made smaller.
    if height * width < part.shape[-2] * part.shape[-1]:
        return F.interpolate(part, size=(height, width), mode="area")
    return F.interpolate(part, size=(height, width), mode="bicubic").clamp(0, 1)


def pil_pictures(pictures: Tensor | Sequence[Tensor]) -> list[Image.Image]:
    """Return pictures, [B, 3, height, width] or several of these, from 0 to 1, as PIL images."""
    if not isinstance(pictures, Tensor):
        return [image for batch in pictures for image in pil_pictures(batch)]
    pixels = (255 * pictures.clamp(0, 1)).round().to(torch.uint8).movedim(1, -1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]
