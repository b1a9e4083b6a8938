"""Edit single singular atoms of a code: scale or remove some, or take them over from another code.

The atoms of a code are those of each of its channels, largest first. Each channel of the result is brought back to the
norm it has in the code, because a sampler expects its noise at full size. An experiment in the spirit of arXiv
2502.02225, section 3; attributes do not pass through here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_latent
from .svd import ChannelSVD, channel_norm, channel_svd, compose, select, standardise

SWAPS = ("atoms", "values", "both")


@torch.no_grad()
def scale_atoms(x: Tensor, first: int, last: int, factor: float, *, keep_norm: bool = True) -> Tensor:
    """Multiply some atoms of a code by a factor.

    Args:
        x: Codes, [B, C, H, W] in LATENT space.
        first: The first atom that is scaled.
        last: One past the last.
        factor: 0 removes the atoms, 1 returns x bit for bit.
        keep_norm: Whether each channel is brought back to its norm in x.

    Returns:
        The code with these atoms scaled, in the shape and dtype of x.

    Raises:
        EditError: x contains NaN or is no picture latent.
    """
    check_latent(x, "latent")
    if factor == 1 or first >= last:
        return x.clone()
    part = compose(select(channel_svd(x.float()), first, last))
    y = x.float() + (factor - 1) * part
    return _at_norm_of(x, y) if keep_norm else y.to(x.dtype)


@torch.no_grad()
def swap_atoms(x: Tensor, other: Tensor, first: int, last: int, what: str = "atoms", *, amount: float = 1.0) -> Tensor:
    """Replace some atoms of a code by those that stand in the same places in another code.

    Args:
        x: Codes, [B, C, H, W] in LATENT space.
        other: The other codes, like x or of batch 1; both are compared at unit variance.
        first: The first atom that is replaced.
        last: One past the last.
        what: "atoms" takes u v^T over and keeps x's singular values, "values" takes the singular values over and keeps
            x's u v^T, "both" takes both.
        amount: How much of the replacement is made: 0 returns x bit for bit, 1 makes all of it.

    Returns:
        The code with these atoms replaced, in the shape and dtype of x.

    Raises:
        EditError: The shapes do not fit, a code contains NaN, or what is unknown.
    """
    check_latent(x, "latent")
    check_latent(other, "other")
    if other.shape[1:] != x.shape[1:] or len(other) not in (1, len(x)):
        raise EditError(
            f"other has shape {tuple(other.shape)} but latent has {tuple(x.shape)}; "
            f"the same size and channels, and a batch of 1 or {len(x)}, are accepted."
        )
    if what not in SWAPS:
        raise EditError(f"what is '{what}'; {', '.join(SWAPS)} are accepted.")
    if amount == 0 or first >= last:
        return x.clone()

    code, std = standardise(x.float())
    other_code, _ = standardise(other.to(x.device).float())
    old = select(channel_svd(code), first, last)
    given = select(channel_svd(other_code), first, last)
    basis = old if what == "values" else given
    values = old if what == "atoms" else given
    new = ChannelSVD(u=basis.u, s=values.s, v=basis.v)
    return _at_norm_of(x, (code + amount * (compose(new) - compose(old))) * std)


def _at_norm_of(x: Tensor, y: Tensor) -> Tensor:
    """Return y with the norm of x in each channel, in the dtype of x."""
    return (y * (channel_norm(x.float()) / channel_norm(y).clamp(min=1e-12))).to(x.dtype)
