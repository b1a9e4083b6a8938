"""An edit's change on the pictures that were inverted, at their own sizes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import EditError
from ...core.recipes.on_original import on_original
from ..cropping import kept
from .pictures import Pictures, rows_of


def originals_of(pictures: Pictures, count: int) -> list[Tensor]:
    """Read the pictures that were inverted; they keep their sizes.

    Args:
        pictures: The pictures that were inverted.
        count: How many were inverted.

    Returns:
        [1, 3, height, width] each, in float32, from 0 to 1.

    Raises:
        EditError: Something is no picture, or there are more or fewer.
    """
    rows = rows_of(pictures, "on_original")
    if len(rows) != count:
        raise EditError(
            f"on_original holds {len(rows)} pictures but code is of {count}; "
            "the pictures that were inverted are accepted."
        )
    return [row[None] for row in rows]


def on_originals(
    originals: Sequence[Tensor], unedited: Tensor, edited: Tensor, mask: Tensor | None
) -> Tensor | list[Tensor]:
    """Add an edit's change to each picture.

    Args:
        originals: As originals_of returns them.
        unedited: What the model draws of them without the edit, [B, 3, h, w] from 0 to 1.
        edited: The same with the edit.
        mask: The mask that they were edited with, [B or 1, 1, h', w'] of the latent's size; None is everywhere.

    Returns:
        The edited pictures, [B, 3, height, width]; of several sizes, each like its original.
    """
    masks = [None] * len(originals) if mask is None else mask.to(unedited).expand(len(originals), -1, -1, -1).split(1)
    drawn = zip(originals, unedited.split(1), edited.split(1), masks, strict=True)
    changed = [on_original(one, *more, view=kept(one.shape, *unedited.shape[-2:])) for one, *more in drawn]
    return torch.cat(changed) if len({one.shape for one in changed}) == 1 else changed
