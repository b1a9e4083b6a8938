"""The image tokens of a transformer as a grid: h [R, width, h, w], so that all of core/hspace works on it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.denoiser import HEdit


def grid_of(size: tuple[int, int], patch: int) -> tuple[int, int]:
    """Return how many patches a latent has along its height and width, the last of which may be cut off.

    Args:
        size: (height, width) of the latent.
        patch: Latent pixels along a side of a patch.
    """
    height, width = size
    return -(-height // patch), -(-width // patch)


def as_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Lay out tokens [R, n, width] as places [R, width, h, w], row by row; tokens beyond the h * w first are left out.

    Args:
        tokens: The image tokens, [R, n, width] of at least h * w tokens.
        grid: (h, w).
    """
    height, width = grid
    return tokens[:, : height * width].transpose(1, 2).unflatten(2, (height, width))


def edit_tokens(tokens: Tensor, grid: tuple[int, int], h_edit: HEdit) -> Tensor:
    """Edit image tokens as a grid.

    Args:
        tokens: The image tokens, [R, n, width]; those beyond the picture's are handed on as they are.
        grid: (h, w) of the picture.
        h_edit: Called with the picture's tokens, [R, width, h, w].

    Returns:
        The tokens, like those given.
    """
    count = grid[0] * grid[1]
    edited = h_edit(as_grid(tokens, grid)).to(tokens.dtype).flatten(2).transpose(1, 2)
    return torch.cat([edited, tokens[:, count:]], dim=1)
