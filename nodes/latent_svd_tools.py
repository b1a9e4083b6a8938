"""Around Latent SVD: look at spectra, combine attributes, sweep a strength, swap atoms between two latents."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..backends.comfyui.latents import latent_of
from ..core.errors import EditError, check_same_shape
from ..core.latent_svd.apply import apply_attribute
from ..core.latent_svd.atoms import SWAPS, swap_atoms
from ..core.latent_svd.combine import combine_attributes
from ..core.latent_svd.subspaces import band_energy, leading_angles, random_leading_distance
from ..core.latent_svd.svd import BANDS, band_range, channel_svd, standardise
from . import plots
from .inputs import CATEGORY, SVDAttributeType, attribute_of


def _weight(id: str, optional: bool) -> io.Float.Input:
    return io.Float.Input(
        id,
        optional=optional,
        default=1.0,
        min=-10.0,
        max=10.0,
        step=0.05,
        round=False,
        tooltip="How much of it; negative undoes it, 0 leaves it out.",
    )


class CombineSVD(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditCombineSVD",
            display_name="Combine Attributes",
            category=CATEGORY,
            description="Adds up to four SVD attributes with weights into one: a hat and half a smile, without the glasses. They may have been learned at different sizes.",
            inputs=[
                SVDAttributeType.Input(
                    "attribute_1", tooltip="An attribute, from SVD Attribute Learn or Load SVD Attribute."
                ),
                _weight("weight_1", False),
                *(
                    part
                    for i in (2, 3, 4)
                    for part in (
                        SVDAttributeType.Input(
                            f"attribute_{i}", optional=True, tooltip="Another one, of the same model family."
                        ),
                        _weight(f"weight_{i}", True),
                    )
                ),
            ],
            outputs=[
                SVDAttributeType.Output(
                    "attribute", display_name="attribute", tooltip="Their weighted sum, to edit with or to save."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        attribute_1,
        weight_1,
        attribute_2=None,
        weight_2=1.0,
        attribute_3=None,
        weight_3=1.0,
        attribute_4=None,
        weight_4=1.0,
    ) -> io.NodeOutput:
        pairs = ((attribute_1, weight_1), (attribute_2, weight_2), (attribute_3, weight_3), (attribute_4, weight_4))
        return io.NodeOutput(
            combine_attributes(
                [
                    (weight, attribute_of(attribute, f"attribute_{i}"))
                    for i, (attribute, weight) in enumerate(pairs, 1)
                    if attribute is not None
                ]
            )
        )


class StrengthSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditStrengthSweep",
            display_name="Strength Sweep",
            category=CATEGORY,
            description="The same code edited at several strengths, as one batch: go on with one KSampler (Advanced) and see the whole range side by side.",
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The code to edit, at about the step where the attribute was learned."
                ),
                SVDAttributeType.Input(
                    "attribute", tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute."
                ),
                io.Float.Input(
                    "first",
                    default=-1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=False,
                    tooltip="The first strength. 0 leaves the code as it is, bit for bit.",
                ),
                io.Float.Input(
                    "last", default=2.0, min=-10.0, max=10.0, step=0.05, round=False, tooltip="The last strength."
                ),
                io.Int.Input(
                    "count", default=7, min=1, max=64, tooltip="How many, evenly spaced. 1 takes the first only."
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "latents",
                    display_name="latents",
                    tooltip="A batch: all pictures at the first strength, then all at the next, and so on.",
                ),
                io.String.Output(
                    "labels",
                    display_name="labels",
                    tooltip="One line a picture: the attribute's name and the strength.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent, attribute, first, last, count) -> io.NodeOutput:
        samples, attribute = latent_of(latent, "latent"), attribute_of(attribute, "attribute")
        strengths = [round(first + (last - first) * i / max(count - 1, 1), 6) for i in range(count)]
        # Strength 0 hands over the input's own numbers.
        edited = [
            apply_attribute(samples, attribute, s).to(latent["samples"].dtype) if s else latent["samples"].clone()
            for s in strengths
        ]
        swept = {**latent, "samples": torch.cat(edited)}
        if "batch_index" in latent:
            swept["batch_index"] = list(latent["batch_index"]) * count
        if "noise_mask" in latent and len(latent["noise_mask"]) > 1:
            swept["noise_mask"] = torch.cat([latent["noise_mask"]] * count)
        return io.NodeOutput(swept, "\n".join(f"{attribute.name} {s:+g}" for s in strengths for _ in samples))


class AtomSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditAtomSwap",
            display_name="Swap Singular Atoms",
            category=CATEGORY,
            description="Takes singular atoms of one noisy code over from another of the same size and step: its layout (coarse), its texture and colour (fine), or only their strengths.",
            inputs=[
                io.Latent.Input(
                    "latent", tooltip="The code that is changed, from a KSampler (Advanced) that stops halfway."
                ),
                io.Latent.Input(
                    "other",
                    tooltip="The code that gives, of the same size, at the same step. One picture, or as many as latent.",
                ),
                io.Combo.Input(
                    "what",
                    options=list(SWAPS),
                    default="atoms",
                    tooltip="atoms: the other's patterns at this code's own singular values. values: this code's patterns at the other's singular values. both: the other's atoms as they are.",
                ),
                io.Combo.Input(
                    "band",
                    options=[*BANDS, "range"],
                    default="coarse",
                    tooltip="Which atoms, by size: a third of them, or range, which reads first_atom and last_atom.",
                ),
                io.Int.Input(
                    "first_atom",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="The first atom of a range; 1 is the largest. Read at band range only.",
                ),
                io.Int.Input(
                    "last_atom",
                    default=4,
                    min=1,
                    max=4096,
                    tooltip="The last atom of a range, it is swapped too. Read at band range only.",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=False,
                    tooltip="0 changes nothing, 1 swaps in full; between, a mix.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "swapped",
                    display_name="latent",
                    tooltip="The changed code, each channel at its own norm; everything else of latent is kept.",
                )
            ],
        )

    @classmethod
    def execute(cls, latent, other, what, band, first_atom, last_atom, amount) -> io.NodeOutput:
        samples, given = latent_of(latent, "latent"), latent_of(other, "other")
        count = min(samples.shape[-2:])
        if band == "range" and not first_atom <= last_atom <= count:
            raise EditError(
                f"first_atom is {first_atom} and last_atom is {last_atom}; this latent has atoms 1 to {count}, the first not after the last."
            )
        first, last = (first_atom - 1, last_atom) if band == "range" else band_range(band, count)
        swapped = swap_atoms(samples, given, first, last, what, amount)
        return io.NodeOutput(
            {**latent, "samples": swapped.to(latent["samples"].dtype) if amount else latent["samples"].clone()}
        )


class Spectrum(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditSpectrum",
            display_name="Latent SVD Spectrum",
            category=CATEGORY,
            description="Shows the singular values of a latent, channel by channel, and how its energy divides into bands. With a second one: how far apart their leading "
            "singular subspaces are, beside two random ones. Wire two steps of one trajectory to see how slowly they turn.",
            inputs=[
                io.Latent.Input("latent", tooltip="Any latent: a picture's or a noisy code."),
                io.Int.Input(
                    "rank",
                    default=4,
                    min=1,
                    max=256,
                    tooltip="How many leading atoms the distance to the other latent compares.",
                ),
                io.Latent.Input(
                    "other",
                    optional=True,
                    tooltip="Another one of the same size: another step, another prompt, another seed.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Singular values, a colour a channel; dashed: the other latent; grey: Gaussian noise of the same size.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Energy a band; with other, geodesic distances and principal angles.",
                ),
            ],
        )

    @classmethod
    def execute(cls, latent, rank, other=None) -> io.NodeOutput:
        x = standardise(latent_of(latent, "latent"))[0]
        z = None if other is None else standardise(latent_of(other, "other"))[0]
        if z is not None:
            check_same_shape(x, z[:1].expand(len(x), -1, -1, -1) if len(z) == 1 else z, "latent", "other")
            z = z.expand_as(x)
        noise = torch.randn(1, 8, *x.shape[-2:], generator=torch.Generator().manual_seed(0))
        spectra = [None if part is None else channel_svd(part.double()).s.mean(0) for part in (x, z, noise)]
        plot = plots.latent_spectra(*spectra[:2], spectra[2].mean(0))
        return io.NodeOutput(plot, _report(x, z, noise, rank))


def _report(x, z, noise, rank: int) -> str:
    """Energy a band and channel, and the distances; means over the batch."""
    c, h, w = x.shape[1:]
    lines = [
        f"{len(x)} x {c} channels of {h} x {w}, at unit variance",
        "energy      " + "".join(f"{band:>8s}" for band in BANDS[1:]),
    ]
    rows = [(f"channel {i}", shares) for i, shares in enumerate(band_energy(x).mean(0), 1)] + [
        ("noise", band_energy(noise).mean((0, 1)))
    ]
    lines += [f"{label:<12s}" + "".join(f"{share:8.1%}" for share in shares.tolist()) for label, shares in rows]
    if z is None:
        return "\n".join(lines)
    rank = min(rank, h, w)
    angles = leading_angles(x, z, rank)
    distances, chance = angles.norm(dim=-1).mean((0, 1)), random_leading_distance(h, w, rank)
    lines += [
        "",
        f"leading {rank} atoms of latent and other: geodesic distance (0 = the same subspace), smallest and largest principal angle",
    ]
    for i in range(c):
        degrees = angles[:, :, i].rad2deg()
        lines.append(
            f"channel {i + 1:<4d}{distances[i]:8.3f}   {degrees[..., 0].mean():5.1f} to {degrees[..., -1].mean():5.1f} degrees"
        )
    lines.append(
        f"mean        {distances.mean():8.3f}   {distances.mean() / chance if chance else 0.0:.0%} of the {chance:.3f} between two random subspaces"
    )
    return "\n".join(lines)


NODES = [CombineSVD, StrengthSweep, AtomSwap, Spectrum]
