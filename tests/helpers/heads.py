"""Noisy codes of a head each, which lies elsewhere in every picture, and a hat for it."""

from __future__ import annotations

import torch
from helpers.tensors import noise
from singular_edit.core.latent_svd.alignment import moved
from torch import Tensor

SIDE = 32
HEAD, HAT = (slice(18, 26), slice(12, 20)), (slice(14, 18), slice(14, 18))
HEIGHT = torch.tensor([2.0, -2.0, 1.0, 2.0])[:, None, None]


def places(count: int, seed: int = 0) -> Tensor:
    """By how much each picture's head lies away from the middle."""
    return torch.randint(-7, 8, (count, 2), generator=torch.Generator().manual_seed(seed))


def pictures(where: Tensor, seed: int = 0) -> Tensor:
    """Noisy codes with a head each."""
    heads = torch.zeros(len(where), 4, SIDE, SIDE)
    heads[..., *HEAD] = HEIGHT
    return moved(heads, where) + noise(heads.shape, seed)


def with_hats(x: Tensor, where: Tensor) -> Tensor:
    """The same with a hat on each head."""
    hats = torch.zeros_like(x)
    hats[..., *HAT] = -HEIGHT
    return x + moved(hats, where)
