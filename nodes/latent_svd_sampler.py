"""Latent SVD Sampler: any stock sampler, with an attribute applied to its state on the way, in one run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.noise import is_flow_model
from ..backends.comfyui.session import sampler_name
from ..core.errors import EditError
from ..core.inversion.traced import Trace
from ..core.latent_svd.apply import apply_attribute
from ..core.latent_svd.attribute import SVDAttribute
from ..core.recipes.defaults import STEPS, SVD_STRENGTH, T_X_STEP
from ..core.samplers import is_euler
from .inputs import (
    CATEGORY,
    SVDAttributeType,
    atoms_inputs,
    attribute_of,
    percent_input,
    strength_input,
    trace_input,
    trace_of,
)
from .traced_sampler import traced_sampler


@dataclass(frozen=True)
class Edit:
    """What is applied on the way, and where.

    Attributes:
        attribute: The attribute.
        strength: Its strength, shared out among the edited steps.
        start_percent: Sampling progress from which steps are edited.
        end_percent: Sampling progress until which they are.
        rank: Leading atoms that are used, 0 for all.
        band: Which third of the atoms; one of BANDS.
        mask: A MASK that says where to edit, or None.
    """

    attribute: SVDAttribute
    strength: float
    start_percent: float
    end_percent: float
    rank: int
    band: str
    mask: Tensor | None

    def steps(self, sigmas: Tensor, sampling: Any) -> list[int]:
        """Return the steps that are edited.

        Args:
            sigmas: Descending noise levels, [n + 1].
            sampling: The MODEL's model_sampling.

        Returns:
            The steps whose sigma lies in the window. If there is none, the first one below it, or no step at all after
            the last one or at strength 0.

        Raises:
            EditError: A flow model's first step is among them.
        """
        if self.strength == 0:
            return []
        highest = float(sampling.percent_to_sigma(self.start_percent))
        lowest = float(sampling.percent_to_sigma(self.end_percent))
        levels = sigmas[:-1].tolist()
        below = [i for i, sigma in enumerate(levels) if 0 < sigma <= highest]
        inside = [i for i in below if levels[i] > lowest]
        steps = inside or below[:1]
        if is_flow_model(sampling) and any(levels[i] >= 1 for i in steps):
            raise EditError(
                f"start_percent is {self.start_percent}, where a flow model's state is pure noise (sigma 1) "
                "and has no LATENT form; a start_percent later than that is accepted."
            )
        return steps

    def apply(self, base_model: Any, x: Tensor, sigma: Tensor, strength: float) -> Tensor:
        """Apply the attribute to a sampler's state.

        Args:
            base_model: ComfyUI's BaseModel.
            x: State at sigma, [B, C, H, W] in model space. It is edited in LATENT space, as a KSampler (Advanced) that
                stops there returns it.
            sigma: Noise level, a scalar tensor.
            strength: This step's share of the strength.

        Returns:
            The edited state, like x, as a KSampler (Advanced) that adds no noise takes it up.
        """
        sampling = base_model.model_sampling
        latent = base_model.process_latent_out(sampling.inverse_noise_scaling(sigma, x))
        mask = latent_mask(self.mask, x)
        edited = apply_attribute(latent, self.attribute, strength, rank=self.rank, band=self.band, mask=mask)
        edited = base_model.process_latent_in(edited)
        return sampling.noise_scaling(sigma, torch.zeros_like(edited), edited, False)


def sample_svd_comfy(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    sampler: Any,
    edit: Edit,
) -> Tensor:
    """Run another sampler with an attribute applied on the way, behind k-diffusion's signature.

    Args:
        model: What ComfyUI hands to a sampler function.
        x: State at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        extra_args: Handed on to the sampler.
        callback: k-diffusion's, called with a dictionary once a step.
        disable: Handed on to the sampler.
        sampler: The SAMPLER that is run on each part of the schedule between edits.
        edit: What is applied, and where.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: A flow model's first step is to be edited, or the attribute does not fit.
    """
    base_model = model.inner_model.inner_model
    steps = edit.steps(sigmas, base_model.model_sampling)
    cuts = [0, *(i for i in steps if i > 0), len(sigmas) - 1]
    for part, (first, last) in enumerate(pairwise(cuts)):
        if first in steps:
            x = edit.apply(base_model, x, sigmas[first], edit.strength / len(steps))
        x = sampler.sampler_function(
            model,
            x,
            sigmas[first : last + 1],
            extra_args=_with_next_seed(extra_args or {}, part),
            callback=_from_step(callback, first),
            disable=disable,
            **sampler.extra_options,
        )
    return x


def _with_next_seed(extra_args: dict[str, Any], part: int) -> dict[str, Any]:
    """Return the arguments of a part: a stochastic sampler that starts again from one seed would repeat its noise."""
    seed = extra_args.get("seed")
    if part == 0 or seed is None:
        return dict(extra_args)
    return {**extra_args, "seed": seed + part}


def _from_step(callback: Any, first: int) -> Any:
    """Return the callback of a part, which counts its own steps from zero."""
    if callback is None or first == 0:
        return callback

    def call(info: dict[str, Any]) -> Any:
        return callback({**info, "i": info["i"] + first})

    return call


class SVDSampler(io.ComfyNode):
    """A SAMPLER that applies an SVD attribute on the way."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditSVDSampler",
            display_name="Latent SVD Sampler",
            category=CATEGORY,
            description=(
                "Wraps a sampler and slides an SVD attribute on the code halfway, "
                "so that one SamplerCustom run does what two KSampler (Advanced) "
                "with Latent SVD Edit between them do. "
                "At strength 0 it is the wrapped sampler, bit for bit."
            ),
            inputs=[
                io.Sampler.Input("wrapped", tooltip="The sampler to run: KSamplerSelect, or another SAMPLER."),
                SVDAttributeType.Input(
                    "attribute",
                    tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute.",
                ),
                strength_input(
                    "strength",
                    SVD_STRENGTH,
                    (
                        "0 changes nothing, 1 is the whole attribute, and a negative strength removes it. "
                        "If several steps are edited, each gets an equal share."
                    ),
                ),
                percent_input(
                    "start_percent",
                    T_X_STEP / STEPS,
                    (
                        "Sampling progress from which the code is edited: "
                        "the progress at which the attribute was learned."
                    ),
                ),
                percent_input(
                    "end_percent",
                    0.0,
                    (
                        "Every step from start_percent to here gets its share. "
                        "If this is at or below start_percent, one step is edited."
                    ),
                ),
                *atoms_inputs(),
                trace_input("wrapped must then be euler, and the picture comes back exactly at strength 0."),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="Wire to SamplerCustom or SamplerCustomAdvanced.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        wrapped: Any,
        attribute: SVDAttribute,
        strength: float,
        start_percent: float,
        end_percent: float,
        rank: int,
        band: str,
        mask: Tensor | None = None,
        trace: Trace | None = None,
    ) -> io.NodeOutput:
        """Return the sampler."""
        if not isinstance(wrapped, comfy.samplers.KSAMPLER):
            raise EditError(
                f"wrapped is a {type(wrapped).__name__}, which cannot be stopped on the way; "
                "a sampler from KSamplerSelect is accepted."
            )
        if trace is not None:
            wrapped = _following(trace_of(trace, "trace"), wrapped)
        attribute = attribute_of(attribute, "attribute")
        edit = Edit(attribute, strength, start_percent, end_percent, rank, band, mask)
        sampler = comfy.samplers.KSAMPLER(
            sample_svd_comfy,
            extra_options=dict(sampler=wrapped, edit=edit),
            inpaint_options=wrapped.inpaint_options,
        )
        return io.NodeOutput(sampler)


def _following(trace: Trace, wrapped: Any) -> Any:
    """Return the SAMPLER that follows a trace in place of a stock euler.

    Raises:
        EditError: ``wrapped`` is another sampler.
    """
    name = sampler_name(wrapped)
    if not is_euler(name):
        raise EditError(f"wrapped is '{name}', but a trace is of euler's steps; wire euler, or leave trace unwired.")
    return traced_sampler(trace)


NODES = [SVDSampler]
