"""apply."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_latent
from ..saliency import saliency_weight
from .attribute import SVDAttribute
from .svd import band_range, channel_norm, compose, resize_atoms, select, standardise
from .transfer_gain import transfer_gain


@torch.no_grad()
def apply_attribute(
    x: Tensor, attribute: SVDAttribute, strength: float, rank: int = 0, band: str = "all", mask: Tensor | None = None
) -> Tensor:
    """X + gain * strength * std(x) * edit, then each channel's norm brought back to that of x, where the edit lies.

    The gain is 1 on the attribute's own code, more on a stranger's (kinship.py).

    x: [B, C, H, W] in LATENT space, of any H and W (the atoms are interpolated along their axes and made
    orthonormal again). rank: leading atoms used, 0 for all. band: a third of the atoms, coarse to fine. mask: [B or
    1, 1, H, W] in [0, 1], edit where it is 1. Strength 0 returns x bit for bit; x is never changed. Raises EditError
    for another channel count, NaN, or an unknown band.
    """
    check_latent(x, "latent")
    if x.shape[1] != attribute.channels:
        raise EditError(
            f"latent has {x.shape[1]} channels but attribute '{attribute.name}' was learned on {attribute.channels}; "
            f"use a model of its family ({attribute.info.get('latent_format') or 'latent format not recorded'})."
        )
    if rank < 0 or not abs(strength) < float("inf"):
        raise EditError(
            f"strength is {strength} and rank is {rank}; a finite strength and a rank of 0 (all) or more are accepted."
        )
    if strength == 0:
        return x.clone()
    count = min(rank or attribute.rank, attribute.rank)
    edit = compose(resize_atoms(select(attribute.edit, *band_range(band, count)), *x.shape[-2:])).to(x.device)
    source, std = standardise(x.float())
    y = (
        restore_channel_norm(
            source, source + transfer_gain(x, attribute.source) * strength * edit, saliency_weight(edit).clamp(max=1)
        )
        * std
    )
    if mask is not None:
        if mask.ndim != 4 or mask.shape[0] not in (1, len(x)) or mask.shape[1:] != (1, *x.shape[2:]):
            raise EditError(
                f"mask has shape {tuple(mask.shape)}; (1 or {len(x)}, 1, {x.shape[2]}, {x.shape[3]}) is accepted for this latent."
            )
        y = x + mask.to(y) * (y - x)
    return y.to(x.dtype)


def restore_channel_norm(x: Tensor, y: Tensor, weight: Tensor, iterations: int = 16) -> Tensor:
    """exp(t w) y with the norm of x in each channel, t by Newton's method; all of a channel is scaled by what that leaves.

    x, y: [B, C, H, W]; weight: [1, H, W], 0 to 1. An exponential, for a factor 1 + t w reaches 0 where a strong edit is strongest.
    """
    wanted, energy = x.square().sum((-2, -1), keepdim=True), y.square()
    t = torch.zeros_like(wanted)
    for _ in range(iterations):
        now = energy * torch.exp(2 * t * weight)
        slope = 2 * (now * weight).sum((-2, -1), keepdim=True)
        t = (t - (now.sum((-2, -1), keepdim=True) - wanted) / slope.clamp(min=1e-12)).clamp(-6, 6)
    y = torch.exp(t * weight) * y
    return y * (channel_norm(x) / channel_norm(y).clamp(min=1e-12))
