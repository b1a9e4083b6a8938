"""Apply an attribute to a latent: the attribute's edit is added, then each channel's norm is brought back.

    y = std * restore_channel_norm(x/std + gain * strength * edit)        std: standard deviation of the sample

What is brought back is the norm of the code times the growth that the attribute's pairs show: snow over a dark ground
changes how large a channel is.

An attribute of several pairs also replaces what it covers (cover.py), unless a band leaves the coarse atoms out. One
that lies elsewhere in every picture is applied to the code moved to where the attribute lies, which is then moved back
(alignment.py).
The gain is 1 on the code that the attribute was learned from and larger on another code (transfer_gain.py). A sampler
expects its noise at full size, so every channel must have the norm that a code with the attribute has: growth says how
much larger or smaller that is, and a cover what the covered part has. Scaling the whole channel would take contrast
from places that were not to change, so the norm is restored where the edit lies. The paper's edit is x + strength*(y -
x) at the norm of x (arXiv 2502.02225, section 4); the gain, the growth and where the norm is restored are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_effect, check_latent
from ..saliency import saliency_weight
from .alignment import find_shifts, moved
from .attribute import SVDAttribute
from .cover import covered_norm, replacement
from .svd import band_range, channel_norm, compose, resize_atoms, select, standardise
from .transfer_gain import transfer_gain

# Newton steps of restore_channel_norm: an edit as large as the code takes 5, one ten times larger 10.
NEWTON_STEPS = 16
# Bound of its exponent t, so that no place is scaled by more than e^6. It binds only where there is no solution.
MAX_EXPONENT = 6


@torch.no_grad()
def apply_attribute(
    x: Tensor,
    attribute: SVDAttribute,
    strength: float,
    *,
    rank: int = 0,
    band: str = "all",
    mask: Tensor | None = None,
) -> Tensor:
    """Apply an attribute to a latent; x itself is never changed.

    Args:
        x: Latent, [B, C, H, W] in LATENT space, of any H and W: the atoms are interpolated along their axes and made
            orthonormal again.
        attribute: What to apply, learned on the same number of channels.
        strength: 1 is the whole attribute, on its own code and on others; negative removes; 0 returns x bit for bit.
            It is the scale of the attribute's response (core/response.py), where it has one.
        rank: Leading atoms that are used, 0 for all.
        band: Which third of the atoms, coarse to fine; one of BANDS. One without an atom returns x bit for bit.
        mask: Where to edit, [B or 1, 1, H, W] in [0, 1]; None edits everywhere.

    Returns:
        The edited latent, in the shape and dtype of x.

    Raises:
        EditError: x has another channel count, contains NaN or is no picture latent; strength is not finite, rank is
            negative, band is unknown, the mask does not fit, or the edit gives NaN or enormous values.
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
    first, last = band_range(band, count)
    if first == last:
        return x.clone()
    edit = compose(resize_atoms(select(attribute.edit, first, last), *x.shape[-2:])).to(x.device)
    code, std = standardise(x.float())
    shifts = None if attribute.correlation_filter is None else find_shifts(attribute.correlation_filter, code)
    if shifts is not None:
        code = moved(code, shifts)
    edited = code + transfer_gain(x, attribute.source) * strength * edit
    norm = channel_norm(code)
    # Both were measured with the coarsest atoms, and say nothing of an edit without them.
    cover, growth = (attribute.cover, attribute.growth) if first == 0 else (None, None)
    if cover is not None:
        cover = cover.resized(*x.shape[-2:])
        edited = edited + replacement(cover, code, edit, strength)
        norm = covered_norm(cover, code, strength)
    elif growth is not None:
        norm = norm * growth.to(norm)[:, None, None] ** min(max(strength, -1.0), 1.0)
    weight = saliency_weight(edit).clamp(max=1)
    y = restore_channel_norm(edited, norm, weight)
    if shifts is not None:
        y = moved(y, -shifts)
    y = y * std
    # Against the size of x: a code of one value has next to no standard deviation to be measured by.
    check_effect(y / x.float().abs().max().clamp(min=1e-12))
    if mask is not None:
        _check_mask(mask, x)
        y = x + mask.to(y) * (y - x)
    return y.to(x.dtype)


def _check_mask(mask: Tensor, x: Tensor) -> None:
    """Raise an EditError for a mask that does not fit the latent."""
    if mask.ndim != 4 or mask.shape[0] not in (1, len(x)) or mask.shape[1:] != (1, *x.shape[2:]):
        raise EditError(
            f"mask has shape {tuple(mask.shape)}; "
            f"(1 or {len(x)}, 1, {x.shape[2]}, {x.shape[3]}) is accepted for this latent."
        )


def restore_channel_norm(y: Tensor, norm: Tensor, weight: Tensor, iterations: int = NEWTON_STEPS) -> Tensor:
    """Scale y so that each channel has a norm, most where the weight is 1 and not at all where it is 0.

    The result is exp(t * weight) * y, with one t a channel by Newton's method; a last factor over the whole channel
    makes up for what the iterations leave. An exponential, because a factor linear in the weight, 1 + t * weight,
    reaches 0 where a strong edit is strongest.

    Args:
        y: The code after the edit, [B, C, H, W].
        norm: The norm of each channel, [B, C, 1, 1], such as the code had before.
        weight: Where the edit lies, [1, H, W] in [0, 1].
        iterations: Newton steps.

    Returns:
        y with these norms.
    """
    wanted = norm.square()
    energy = y.square()
    t = torch.zeros_like(wanted)
    for _ in range(iterations):
        scaled = energy * torch.exp(2 * t * weight)
        excess = scaled.sum((-2, -1), keepdim=True) - wanted
        slope = 2 * (scaled * weight).sum((-2, -1), keepdim=True)
        t = (t - excess / slope.clamp(min=1e-12)).clamp(-MAX_EXPONENT, MAX_EXPONENT)
    y = torch.exp(t * weight) * y
    return y * (norm / channel_norm(y).clamp(min=1e-12))
