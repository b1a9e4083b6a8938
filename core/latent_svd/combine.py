"""Several attributes as one: their edits added with weights, negative ones undo."""

from __future__ import annotations

import torch

from ..errors import EditError
from .attribute import SVDAttribute
from .svd import ChannelSVD, orthonormalise, resize_atoms, trim
from .transfer_gain import FOREIGN_GAIN


@torch.no_grad()
def combine_attributes(weighted: list[tuple[float, SVDAttribute]]) -> SVDAttribute:
    """The sum of weight * edit, at the resolution of the largest of them; smaller ones are interpolated.

    sigma is kept where all agree (to a percent), else it is unknown; so is the source where all are of one code, else
    each comes in the size it has on a stranger's. Raises EditError for attributes of different
    channel counts or latent formats, or when every weight is zero.
    """
    if not any(weight for weight, _ in weighted):
        raise EditError("All weights are zero, so there is nothing to combine; give at least one attribute a weight.")
    first = weighted[0][1]
    for weight, attribute in weighted:
        if attribute.channels != first.channels:
            raise EditError(
                f"attribute '{attribute.name}' has {attribute.channels} channels but '{first.name}' has {first.channels}; attributes of one model family combine."
            )
        formats = {a.info.get("latent_format") for a in (attribute, first)} - {None, ""}
        if len(formats) > 1:
            raise EditError(
                f"attribute '{attribute.name}' was learned in another latent format than '{first.name}' ({' and '.join(sorted(formats))}); attributes of one model family combine."
            )
        if not abs(weight) < float("inf"):
            raise EditError(f"the weight of '{attribute.name}' is {weight}; a finite number is accepted.")
    height, width = (
        max(basis.shape[-2] for basis in bases) for bases in zip(*((a.edit.u, a.edit.v) for _, a in weighted))
    )
    edits = [resize_atoms(attribute.edit, height, width) for _, attribute in weighted]
    source = first.source if all(_same(first.source, attribute.source) for _, attribute in weighted) else None
    sizes = [
        weight * (FOREIGN_GAIN if attribute.source is not None and source is None else 1)
        for weight, attribute in weighted
    ]
    scaled = [edit.s * size for edit, size in zip(edits, sizes)]
    together = trim(
        orthonormalise(
            ChannelSVD(
                *(
                    torch.cat(tensors, dim=-1).double()
                    for tensors in ([e.u for e in edits], scaled, [e.v for e in edits])
                )
            )
        )
    )
    k = min(a.source_spectrum.shape[1] for _, a in weighted)
    spectra = [
        torch.stack([getattr(a, name)[:, :k] for _, a in weighted]).mean(0)
        for name in ("source_spectrum", "target_spectrum")
    ]
    sigma, target_sigma = (_common([getattr(a, name) for _, a in weighted]) for name in ("sigma", "target_sigma"))
    info = {"name": " ".join(f"{weight:+g} {attribute.name}" for weight, attribute in weighted)}
    known = [attribute.info["latent_format"] for _, attribute in weighted if attribute.info.get("latent_format")]
    info |= {"latent_format": known[0]} if known else {}
    return SVDAttribute(together, *spectra, sigma, target_sigma, info, source=source)


def _common(sigmas: list[float]) -> float:
    return sigmas[0] if max(sigmas) - min(sigmas) <= 0.01 * max(sigmas) else 0.0


def _same(one: ChannelSVD | None, other: ChannelSVD | None) -> bool:
    return one is other or (
        one is not None and other is not None and all(torch.equal(a, b) for a, b in zip(one, other))
    )
