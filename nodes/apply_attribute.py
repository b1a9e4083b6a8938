"""Apply Attribute: an attribute on a MODEL, which works like a LoRA."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..core.recipes.defaults import END_PERCENT
from .attribute_patch import with_attribute
from .inputs import (
    ARTIST,
    SLIDER_TOOLTIP,
    advanced,
    any_attribute_of,
    attribute_input,
    percent_input,
    slider_input,
    with_search_words,
)


class ApplyAttribute(io.ComfyNode):
    """A MODEL with an attribute applied."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditApplyAttribute",
            display_name="Apply Attribute",
            category=ARTIST,
            description=(
                "Slides an attribute in everything that the model draws, as a slider LoRA does: "
                "wire it between the model and any KSampler. Wire several one after another to use several. "
                "At strength 0 the model is unchanged."
            ),
            inputs=[
                io.Model.Input("model", tooltip="Your model. LoRAs, ControlNet and other patches stay in place."),
                attribute_input("From Learn Attribute or Load Attribute, learned on a model of this family."),
                slider_input(
                    f"{SLIDER_TOOLTIP} With such a file the sampler's cfg multiplies it: at a high cfg less is enough."
                ),
                advanced(
                    percent_input(
                        "start",
                        0.0,
                        (
                            "From which share of the steps it is applied; 0 is the first. "
                            "Leave it at 0 unless the method is readout."
                        ),
                    )
                ),
                advanced(
                    percent_input(
                        "end",
                        END_PERCENT,
                        (
                            "Until which share of the steps it is applied: 1 is the last. "
                            "An earlier end leaves fine details alone. "
                            "An attribute of method latent svd does not read it."
                        ),
                        lowest=0.01,
                    )
                ),
            ],
            outputs=[
                io.Model.Output(
                    "patched", display_name="MODEL", tooltip="Wire to any KSampler, or to one more Apply Attribute."
                )
            ],
        )
        return with_search_words(
            schema, "concept slider", "slider lora", "glasses", "smile", "attribute", "edit face", "h-space"
        )

    @classmethod
    def execute(cls, model: Any, attribute: Any, strength: float, start: float, end: float) -> io.NodeOutput:
        """Patch the model."""
        return io.NodeOutput(
            with_attribute(model, any_attribute_of(attribute, "attribute"), strength, start=start, end=end)
        )


NODES = [ApplyAttribute]
