"""Around Latent SVD: combine attributes, sweep a strength, swap atoms between two latents."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.frames import framed_like
from ..backends.comfyui.latents import latent_of, with_samples
from ..backends.comfyui.svd_sampling import warn_where_foreign
from ..core.errors import EditError
from ..core.latent_svd.apply import apply_attribute
from ..core.latent_svd.atoms import SWAPS, swap_atoms
from ..core.latent_svd.attribute import SVDAttribute
from ..core.latent_svd.combine import combine_attributes
from ..core.latent_svd.svd import BANDS, band_range
from .inputs import ADVANCED, SVDAttributeType, attribute_of, strength_input, svd_attribute_input

RANGE = "range"


class CombineSVD(io.ComfyNode):
    """Several attributes as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        inputs: list[io.Input] = []
        for i in (1, 2, 3, 4):
            attribute = svd_attribute_input(
                f"attribute_{i}",
                optional=i > 1,
                tooltip=(
                    "An attribute, from SVD Attribute Learn or Load SVD Attribute."
                    if i == 1
                    else "Another attribute, of the same model family."
                ),
            )
            weight = strength_input(
                f"weight_{i}",
                1.0,
                "How much of this attribute is added. 0 leaves it out; a negative weight subtracts it.",
                optional=i > 1,
            )
            inputs += [attribute, weight]
        return io.Schema(
            node_id="SingularEditCombineSVD",
            display_name="Combine Attributes",
            category=ADVANCED,
            description=(
                "Adds up to four attributes of Latent SVD into one, each with a weight: a hat and half a smile. "
                "They may have been learned at different sizes."
            ),
            inputs=inputs,
            outputs=[
                SVDAttributeType.Output(
                    "attribute",
                    display_name="attribute",
                    tooltip="Their weighted sum, to edit with or to save.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        attribute_1: SVDAttribute,
        weight_1: float,
        attribute_2: SVDAttribute | None = None,
        weight_2: float = 1.0,
        attribute_3: SVDAttribute | None = None,
        weight_3: float = 1.0,
        attribute_4: SVDAttribute | None = None,
        weight_4: float = 1.0,
    ) -> io.NodeOutput:
        """Add the attributes."""
        slots = ((attribute_1, weight_1), (attribute_2, weight_2), (attribute_3, weight_3), (attribute_4, weight_4))
        weighted = []
        for i, (attribute, weight) in enumerate(slots, 1):
            if attribute is not None:
                weighted.append((weight, attribute_of(attribute, f"attribute_{i}")))
        return io.NodeOutput(combine_attributes(weighted))


class StrengthSweep(io.ComfyNode):
    """One code at several strengths."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditStrengthSweep",
            display_name="Strength Sweep",
            category=ADVANCED,
            description=(
                "Edits one half-finished picture at several strengths, as one batch. "
                "Finish it with one KSampler (Advanced). Strength Sheet does this for a picture of yours, with labels."
            ),
            inputs=[
                io.Latent.Input(
                    "latent",
                    tooltip=(
                        "The half-finished picture (a noisy latent, the code), at about "
                        "the step where the attribute was learned."
                    ),
                ),
                svd_attribute_input(
                    "attribute",
                    tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute.",
                ),
                strength_input(
                    "first",
                    -1.0,
                    "The first strength. 0 leaves the picture exactly as it is. Below 0 the attribute often stays.",
                ),
                strength_input("last", 2.0, "The last strength. Little more comes above 1."),
                io.Int.Input(
                    "count",
                    default=7,
                    min=1,
                    max=64,
                    tooltip="How many strengths, evenly spaced. 1 takes the first only.",
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
                    tooltip="One line for each picture: the attribute's name and the strength.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, latent: dict[str, Any], attribute: SVDAttribute, first: float, last: float, count: int
    ) -> io.NodeOutput:
        """Edit the code at each strength."""
        samples = latent_of(latent, "latent")
        attribute = attribute_of(attribute, "attribute")
        edited: list[Tensor] = []
        labels: list[str] = []
        strengths = [round(first + (last - first) * i / max(count - 1, 1), 6) for i in range(count)]
        if any(strengths):
            warn_where_foreign(samples, attribute)
        for strength in strengths:
            if strength == 0:
                # The input's own numbers.
                edited.append(latent["samples"].clone())
            else:
                edited.append(framed_like(latent["samples"], apply_attribute(samples, attribute, strength)))
            labels += [f"{attribute.name} {strength:+g}"] * len(samples)
        swept = {**latent, "samples": torch.cat(edited)}
        if "batch_index" in latent:
            swept["batch_index"] = list(latent["batch_index"]) * count
        if "noise_mask" in latent and len(latent["noise_mask"]) > 1:
            swept["noise_mask"] = torch.cat([latent["noise_mask"]] * count)
        return io.NodeOutput(swept, "\n".join(labels))


class AtomSwap(io.ComfyNode):
    """Atoms of one code in another."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditAtomSwap",
            display_name="Swap Singular Atoms",
            category=ADVANCED,
            description=(
                "Gives one half-finished picture patterns of another (singular atoms): "
                "its layout (coarse), its texture and colour (fine), or only their strengths. "
                "Both have one size and one step."
            ),
            inputs=[
                io.Latent.Input(
                    "latent",
                    tooltip="The picture that changes, from a KSampler (Advanced) that stops halfway.",
                ),
                io.Latent.Input(
                    "other",
                    tooltip=(
                        "The picture whose patterns are taken, of the same size, at the same step. "
                        "One picture, or as many as latent has."
                    ),
                ),
                io.Combo.Input(
                    "what",
                    options=list(SWAPS),
                    default="atoms",
                    tooltip=(
                        "atoms: the other's patterns, as strong as this picture's own. "
                        "values: this picture's patterns, as strong as the other's (its singular values). "
                        "both: the other's patterns at their own strength."
                    ),
                ),
                io.Combo.Input(
                    "band",
                    options=[*BANDS, RANGE],
                    default="coarse",
                    tooltip=(
                        "Which patterns: all, a third of them by size, or range, which reads first_atom and last_atom."
                    ),
                ),
                io.Int.Input(
                    "first_atom",
                    default=1,
                    min=1,
                    max=4096,
                    tooltip="The first pattern of a range; 1 is the largest. Read at band range only.",
                ),
                io.Int.Input(
                    "last_atom",
                    default=4,
                    min=1,
                    max=4096,
                    tooltip="The last pattern of a range, which is swapped too. Read at band range only.",
                ),
                io.Float.Input(
                    "amount",
                    default=1.0,
                    min=-2.0,
                    max=2.0,
                    step=0.05,
                    round=False,
                    tooltip="0 changes nothing, 1 swaps in full, and values between mix the two.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "swapped",
                    display_name="latent",
                    tooltip="The changed latent, with contrasts as before. Wire to the second KSampler (Advanced).",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        other: dict[str, Any],
        what: str,
        band: str,
        first_atom: int,
        last_atom: int,
        amount: float,
    ) -> io.NodeOutput:
        """Swap the atoms."""
        samples = latent_of(latent, "latent")
        given = latent_of(other, "other")
        count = min(samples.shape[-2:])
        if band == RANGE and not first_atom <= last_atom <= count:
            raise EditError(
                f"first_atom is {first_atom} and last_atom is {last_atom}; "
                f"this latent has atoms 1 to {count}, the first not after the last."
            )
        first, last = (first_atom - 1, last_atom) if band == RANGE else band_range(band, count)
        swapped = swap_atoms(samples, given, first, last, what, amount=amount)
        if amount == 0:
            # The input's own numbers.
            return io.NodeOutput({**latent, "samples": latent["samples"].clone()})
        return io.NodeOutput(with_samples(latent, swapped))


NODES = [CombineSVD, StrengthSweep, AtomSwap]
