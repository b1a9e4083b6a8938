"""What is cut off where a picture is brought to another aspect, by nodes and by the library alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def cropped(pictures: Tensor, height: int, width: int) -> Tensor:
    """Cut pictures or masks to the aspect of a size; their middle is kept, as ComfyUI keeps it.

    Args:
        pictures: [B, C, H, W].
        height: Height of the size.
        width: Its width.

    Returns:
        A view, [B, C, H', W'].
    """
    rows, columns = kept(pictures.shape, height, width)
    return pictures[..., rows, columns]


def kept(shape: Sequence[int], height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and the columns of pictures that ``cropped`` keeps.

    Args:
        shape: [..., H, W].
        height: Height of the size.
        width: Its width.
    """
    old_height, old_width = shape[-2:]
    aspect, wanted = old_width / old_height, width / height
    x = round((old_width - old_width * (wanted / aspect)) / 2) if aspect > wanted else 0
    y = round((old_height - old_height * (aspect / wanted)) / 2) if aspect < wanted else 0
    # A strip of one pixel's width would be cut away as a whole.
    x, y = min(x, (old_width - 1) // 2), min(y, (old_height - 1) // 2)
    return slice(y, old_height - y), slice(x, old_width - x)
