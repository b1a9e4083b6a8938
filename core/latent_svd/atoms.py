"""Hands on single singular atoms of a code: scale or remove some, or take them over from another code.

Tensors are in LATENT space; the atoms of a code are those of each of its channels, largest first. What is left has each
channel's norm brought back to that of the code: a sampler expects its noise at full size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_latent
from .svd import ChannelSVD, channel_norm, channel_svd, compose, select, standardise

SWAPS = ("atoms", "values", "both")


@torch.no_grad()
def scale_atoms(x: Tensor, first: int, last: int, factor: float, keep_norm: bool = True) -> Tensor:
    """Atoms from ``first`` up to, not including, ``last`` times ``factor``; 0 removes them, 1 returns x bit for bit. x: [B, C, H, W]."""
    check_latent(x, "latent")
    if factor == 1 or first >= last:
        return x.clone()
    y = x.float() + (factor - 1) * compose(select(channel_svd(x.float()), first, last))
    return _at_norm_of(x, y) if keep_norm else y.to(x.dtype)


@torch.no_grad()
def swap_atoms(x: Tensor, other: Tensor, first: int, last: int, what: str = "atoms", amount: float = 1.0) -> Tensor:
    """X with its atoms from ``first`` up to ``last`` replaced, in place of the same numbers, by those of ``other``.

    x: [B, C, H, W]; other: the same, or of batch 1; both at unit variance. what: the ``atoms`` u v^T under x's own singular
    values, the singular ``values`` on x's own atoms, or ``both``. amount: x at 0, bit for bit; all of it at 1. Raises
    EditError for other shapes, NaN or an unknown ``what``.
    """
    check_latent(x, "latent")
    check_latent(other, "other")
    if other.shape[1:] != x.shape[1:] or len(other) not in (1, len(x)):
        raise EditError(
            f"other has shape {tuple(other.shape)} but latent has {tuple(x.shape)}; the same size and channels, and a batch of 1 or {len(x)}, are accepted."
        )
    if what not in SWAPS:
        raise EditError(f"what is '{what}'; {', '.join(SWAPS)} are accepted.")
    if amount == 0 or first >= last:
        return x.clone()
    source, std = standardise(x.float())
    mine, theirs = (
        select(channel_svd(part), first, last) for part in (source, standardise(other.to(x.device).float())[0])
    )
    new = ChannelSVD(
        *(
            (theirs if wanted else mine)[i]
            for i, wanted in enumerate((what != "values", what != "atoms", what != "values"))
        )
    )
    return _at_norm_of(x, (source + amount * (compose(new) - compose(mine))) * std)


def _at_norm_of(x: Tensor, y: Tensor) -> Tensor:
    return (y * (channel_norm(x.float()) / channel_norm(y).clamp(min=1e-12))).to(x.dtype)
