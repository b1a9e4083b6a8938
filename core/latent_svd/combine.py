"""Combine several attributes into one: their edits are added with weights, and a negative weight removes.

Ours, not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError
from ..model_family import ModelFamily
from ..response import WHOLE
from .attribute import GROWTH_RANGE, SVDAttribute
from .cover import Cover
from .svd import ChannelSVD, channel_svd, compose, orthonormalise, resize_atoms, trim
from .transfer_gain import FOREIGN_GAIN

# Noise levels that differ by at most this share are the same one.
SIGMA_TOLERANCE = 0.01


@torch.no_grad()
def combine_attributes(weighted: list[tuple[float, SVDAttribute]]) -> SVDAttribute:
    """Add the edits of several attributes, each times its weight.

    Args:
        weighted: Weights and attributes, one or more. Weight 0 leaves an attribute out; not all may be zero.

    Returns:
        The sum, at the resolution of the largest attribute; smaller ones are interpolated. Its sigmas are kept where
        all agree, and unknown elsewhere. It has an own code where all attributes were learned from the same one;
        elsewhere it has none, and each attribute enters at the size it has on another code.

    Raises:
        EditError: The channel counts or latent formats differ, a weight is not finite, every weight is zero, or one of
            several attributes finds its own place in each picture.
    """
    _check_weighted(weighted)
    weighted = [(weight, attribute) for weight, attribute in weighted if weight]
    weights = [weight for weight, _ in weighted]
    attributes = [attribute for _, attribute in weighted]
    source = attributes[0].source
    if not all(_same_code(source, attribute.source) for attribute in attributes):
        source = None

    height = max(attribute.edit.u.shape[-2] for attribute in attributes)
    width = max(attribute.edit.v.shape[-2] for attribute in attributes)
    us = []
    values = []
    vs = []
    for weight, attribute in weighted:
        edit = resize_atoms(attribute.edit, height, width)
        loses_own_code = attribute.source is not None and source is None
        us.append(edit.u)
        values.append(edit.s * (weight * (FOREIGN_GAIN if loses_own_code else 1)))
        vs.append(edit.v)
    together = ChannelSVD(
        u=torch.cat(us, dim=-1).double(), s=torch.cat(values, dim=-1).double(), v=torch.cat(vs, dim=-1).double()
    )

    k = min(attribute.source_spectrum.shape[1] for attribute in attributes)
    info = {"name": " ".join(f"{weight:+g} {one.name}" for weight, one in zip(weights, attributes, strict=True))}
    formats = [one.info["latent_format"] for one in attributes if one.info.get("latent_format")]
    if formats:
        info["latent_format"] = formats[0]
    families = [ModelFamily.from_info(one.info) for one in attributes]
    if families[0] is not None and all(family == families[0] for family in families):
        info |= families[0].info()
    return SVDAttribute(
        edit=trim(orthonormalise(together)),
        source_spectrum=torch.stack([attribute.source_spectrum[:, :k] for attribute in attributes]).mean(0),
        target_spectrum=torch.stack([attribute.target_spectrum[:, :k] for attribute in attributes]).mean(0),
        sigma=_common([attribute.sigma for attribute in attributes]),
        target_sigma=_common([attribute.target_sigma for attribute in attributes]),
        info=info,
        source=source,
        growth=_growth(weighted),
        correlation_filter=attributes[0].correlation_filter,  # alone, or none
        cover=_together([_weighted_cover(weight, one, height, width) for weight, one in weighted if one.cover]),
        response=WHOLE if all(one.response is not None for one in attributes) else None,
    )


def _growth(weighted: list[tuple[float, SVDAttribute]]) -> Tensor | None:
    """Return by how much channels grow by all attributes together; None where no file says it of its own."""
    powers = [attribute.growth**weight for weight, attribute in weighted if attribute.growth is not None]
    return torch.stack(powers).prod(dim=0).clamp(*GROWTH_RANGE) if powers else None


def _weighted_cover(weight: float, attribute: SVDAttribute, height: int, width: int) -> Cover:
    """Return what an attribute covers at a weight; at a negative one the picture has it, and is to be without it."""
    assert attribute.cover is not None
    cover = attribute.cover.resized(height, width)
    share = weight * cover.share
    if weight > 0:
        return cover._replace(share=share)
    with_it = compose(cover.source) + compose(resize_atoms(attribute.edit, height, width))
    return Cover(share, trim(channel_svd(with_it)), cover.target_energy, cover.source_energy)


def _together(covers: list[Cover]) -> Cover | None:
    """Return what several attributes cover: their shares add, signed, over the mean of their source codes."""
    if not covers:
        return None
    share = torch.stack([cover.share for cover in covers]).sum(0).abs().clamp(max=1)
    source = torch.stack([compose(cover.source) for cover in covers]).mean(0)
    energies = (torch.stack(of_one).mean(0) for of_one in zip(*(cover[2:] for cover in covers), strict=True))
    return Cover(share, trim(channel_svd(source)), *energies)


def _check_weighted(weighted: list[tuple[float, SVDAttribute]]) -> None:
    """Raise an EditError for attributes that do not combine."""
    if not any(weight for weight, _ in weighted):
        raise EditError("All weights are zero, so there is nothing to combine; give at least one attribute a weight.")
    _, first = weighted[0]
    for weight, attribute in weighted:
        if attribute.channels != first.channels:
            raise EditError(
                f"attribute '{attribute.name}' has {attribute.channels} channels but '{first.name}' has "
                f"{first.channels}; attributes of one model family combine."
            )
        formats = {one.info.get("latent_format", "") for one in (attribute, first)} - {""}
        if len(formats) > 1:
            raise EditError(
                f"attribute '{attribute.name}' was learned in another latent format than '{first.name}' "
                f"({' and '.join(sorted(formats))}); attributes of one model family combine."
            )
        if len(weighted) > 1 and attribute.correlation_filter is not None:
            raise EditError(
                f"attribute '{attribute.name}' finds its place in each picture, so that it has none to be added to "
                "another attribute in; apply it with a Latent SVD Edit of its own."
            )
        if not abs(weight) < float("inf"):
            raise EditError(f"the weight of '{attribute.name}' is {weight}; a finite number is accepted.")


def _common(sigmas: list[float]) -> float:
    """Return the noise level that all agree on, 0 where they do not."""
    return sigmas[0] if max(sigmas) - min(sigmas) <= SIGMA_TOLERANCE * max(sigmas) else 0.0


def _same_code(one: ChannelSVD | None, other: ChannelSVD | None) -> bool:
    """Return whether two attributes were learned from the same code; two without an own code count as the same."""
    if one is None or other is None:
        return one is other
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
