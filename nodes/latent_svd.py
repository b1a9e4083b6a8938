"""Latent SVD: apply an attribute to a latent, as a node or as a latent operation. No MODEL is needed."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.frames import framed_like, without_model
from ..backends.comfyui.latents import latent_mask, latent_of, with_samples
from ..backends.comfyui.svd_sampling import apply_to_latent
from ..core.latent_svd.attribute import SVDAttribute
from ..core.recipes.defaults import THERE
from .inputs import ADVANCED, SVD_STRENGTH_TOOLTIP, atoms_inputs, attribute_of, strength_input, svd_attribute_input


def _strength_input() -> io.Float.Input:
    return strength_input(
        "strength",
        THERE,
        SVD_STRENGTH_TOOLTIP,
    )


class LatentSVDEdit(io.ComfyNode):
    """An attribute applied to a code."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditLatentSVDEdit",
            display_name="Latent SVD Edit",
            category=ADVANCED,
            description=(
                "Slides an attribute on a half-finished picture, between two KSampler (Advanced) nodes: "
                "the first stops halfway with leftover noise, the second goes on from there with the same prompt. "
                "Edit Picture and Apply Attribute do the same with fewer wires."
            ),
            inputs=[
                io.Latent.Input(
                    "latent",
                    tooltip=(
                        "The half-finished picture (a noisy latent, the code), at about "
                        "the step where the attribute was learned."
                    ),
                ),
                svd_attribute_input("attribute", tooltip="From SVD Attribute Learn or Load SVD Attribute."),
                _strength_input(),
                *atoms_inputs(),
            ],
            outputs=[
                io.Latent.Output(
                    "edited",
                    display_name="latent",
                    tooltip="The edited latent, still noisy. Wire to the second KSampler (Advanced).",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: dict[str, Any],
        attribute: SVDAttribute,
        strength: float,
        rank: int,
        band: str,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        """Apply the attribute."""
        samples = latent_of(latent, "latent")
        attribute = attribute_of(attribute, "attribute")
        edited = apply_to_latent(samples, attribute, strength, rank=rank, band=band, mask=latent_mask(mask, samples))
        if strength == 0:
            # The input's own numbers, in its own dtype.
            return io.NodeOutput({**latent, "samples": latent["samples"].clone()})
        return io.NodeOutput(with_samples(latent, edited))


class LatentSVDOperation(io.ComfyNode):
    """An attribute as a latent operation."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditLatentSVDOperation",
            display_name="Latent SVD Operation",
            category=ADVANCED,
            description=(
                "The edit of Latent SVD Edit as a latent operation, "
                "for LatentApplyOperation and other nodes that take one."
            ),
            inputs=[
                svd_attribute_input(
                    "attribute",
                    tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute.",
                ),
                _strength_input(),
                *atoms_inputs(),
            ],
            outputs=[
                io.LatentOperation.Output(
                    "operation",
                    display_name="operation",
                    tooltip="Wire to LatentApplyOperation, between two KSampler (Advanced).",
                )
            ],
        )

    @classmethod
    def execute(
        cls, attribute: SVDAttribute, strength: float, rank: int, band: str, mask: Tensor | None = None
    ) -> io.NodeOutput:
        """Return the operation."""
        attribute = attribute_of(attribute, "attribute")

        def operation(latent: Tensor, **kwargs: Any) -> Tensor:
            x = without_model(latent)
            edited = apply_to_latent(x, attribute, strength, rank=rank, band=band, mask=latent_mask(mask, x))
            return framed_like(latent, edited)

        return io.NodeOutput(operation)


NODES = [LatentSVDEdit, LatentSVDOperation]
