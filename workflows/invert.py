"""The workflow that inverts a picture and rebuilds it."""

from __future__ import annotations

from pieces import Node, Place

START = "1. A model and a picture"
INVERT = "2. Invert"
REBUILD = "3. Rebuild with the stock sampler"

NOTE = (
    "**Invert and rebuild.** Latent Invert finds the noise from which the stock sampler gives this very picture back. "
    "The report says how well each step was solved. Try heun or dpmpp_2m in *KSamplerSelect*.\n\n"
    "To use your own model: replace *Demo Face Model* with your checkpoint loader and *Demo Face* with *Load Image*. "
    "Model, prompts and cfg must be the same on both ways. "
    "The wires see to it that sampler and sigmas are the same too."
)


def invert_and_rebuild() -> list[Node]:
    """Describe the workflow."""
    inversion = Place(2, INVERT)
    euler = ("euler", 0)
    return [
        Place(0, START).note(NOTE),
        *Place(0, START).model(("source", "a face"), ("negative", "")),
        *Place(1, START).picture(8),
        inversion.schedule(),
        inversion.node("euler", "KSamplerSelect", "The stock sampler, for both ways", sampler_name="euler"),
        *inversion.invert(sampler=euler),
        Place(3, REBUILD).sample("rebuild", "SamplerCustom, add_noise off", euler, ("invert", 3), ("invert", 0)),
        *Place(4, REBUILD).decode("rebuilt", ("rebuild", 0), "The same picture, rebuilt from noise"),
    ]
