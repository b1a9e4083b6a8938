"""Latent SVD Sampler: any stock sampler, with an attribute slid on its state on the way, in one run."""

from __future__ import annotations

import comfy.samplers
import torch
from comfy_api.latest import io

from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.noise import is_flow
from ..core.errors import EditError
from ..core.latent_svd.apply import apply_attribute
from ..core.latent_svd.attribute import SVDAttribute
from .inputs import CATEGORY, SVDAttributeType, atoms_inputs, attribute_of


def edited_steps(sigmas, highest: float, lowest: float) -> list[int]:
    """Steps whose sigma lies in the window; where none does, the first one below it (none after the last step)."""
    inside = [i for i, sigma in enumerate(sigmas[:-1].tolist()) if lowest < sigma <= highest]
    below = [i for i, sigma in enumerate(sigmas[:-1].tolist()) if 0 < sigma <= highest]
    return inside or below[:1]


def sample_svd_comfy(
    model,
    x,
    sigmas,
    extra_args=None,
    callback=None,
    disable=None,
    *,
    sampler,
    attribute: SVDAttribute,
    strength: float,
    start_percent: float,
    end_percent: float,
    rank: int,
    band: str,
    mask,
):
    """A KSAMPLER function. x: model space at sigmas[0]; it is brought to LATENT space, as a KSampler (Advanced) that stops there
    returns it, edited and brought back. Between edits the wrapped function runs on its part of the schedule.
    """
    base = model.inner_model.inner_model
    sampling = base.model_sampling
    steps = (
        edited_steps(
            sigmas, float(sampling.percent_to_sigma(start_percent)), float(sampling.percent_to_sigma(end_percent))
        )
        if strength
        else []
    )
    if is_flow(sampling) and any(float(sigmas[i]) >= 1 for i in steps):
        raise EditError(
            f"start_percent is {start_percent}, where a flow model's state is pure noise (sigma 1) and has no LATENT form; a start_percent later than that is accepted."
        )
    cuts = [0, *(i for i in steps if i), len(sigmas) - 1]

    def edit(state, i: int):
        latent = base.process_latent_out(sampling.inverse_noise_scaling(sigmas[i], state))
        edited = base.process_latent_in(
            apply_attribute(latent, attribute, strength / len(steps), rank, band, latent_mask(mask, state))
        )
        # As a KSampler (Advanced) that adds no noise takes it up.
        return sampling.noise_scaling(sigmas[i], torch.zeros_like(edited), edited, False)

    for part, (first, last) in enumerate(zip(cuts, cuts[1:])):
        if first in steps:
            x = edit(x, first)
        # A stochastic sampler that starts again from one seed would repeat its noise.
        arguments = {
            **(extra_args or {}),
            **(
                {"seed": extra_args["seed"] + part}
                if part and extra_args and extra_args.get("seed") is not None
                else {}
            ),
        }
        # Later parts count their steps from zero again.
        progress = (
            callback
            if callback is None or first == 0
            else lambda info, first=first: callback({**info, "i": info["i"] + first})
        )
        x = sampler.sampler_function(
            model,
            x,
            sigmas[first : last + 1],
            extra_args=arguments,
            callback=progress,
            disable=disable,
            **sampler.extra_options,
        )
    return x


class SVDSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditSVDSampler",
            display_name="Latent SVD Sampler",
            category=CATEGORY,
            description="Wraps a sampler and slides an SVD attribute on the code halfway, so that one SamplerCustom run does what two KSampler (Advanced) with Latent SVD "
            "Edit between them do. At strength 0 it is the wrapped sampler, bit for bit.",
            inputs=[
                io.Sampler.Input("wrapped", tooltip="The sampler to run: KSamplerSelect, or another SAMPLER."),
                SVDAttributeType.Input(
                    "attribute", tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute."
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=False,
                    tooltip="0 changes nothing, 1 is the whole attribute, negative removes. A window of steps shares it out evenly.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.68,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Sampling progress from which the code is edited: the one the attribute was learned at.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Every step from start_percent to here gets its share. At or below start_percent: one step only.",
                ),
                *atoms_inputs(),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler", display_name="sampler", tooltip="Wire to SamplerCustom or SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def execute(cls, wrapped, attribute, strength, start_percent, end_percent, rank, band, mask=None) -> io.NodeOutput:
        if not isinstance(wrapped, comfy.samplers.KSAMPLER):
            raise EditError(
                f"wrapped is a {type(wrapped).__name__}, which cannot be stopped on the way; a sampler from KSamplerSelect is accepted."
            )
        return io.NodeOutput(
            comfy.samplers.KSAMPLER(
                sample_svd_comfy,
                extra_options=dict(
                    sampler=wrapped,
                    attribute=attribute_of(attribute, "attribute"),
                    strength=strength,
                    start_percent=start_percent,
                    end_percent=end_percent,
                    rank=rank,
                    band=band,
                    mask=mask,
                ),
                inpaint_options=wrapped.inpaint_options,
            )
        )


NODES = [SVDSampler]
