"""Asyrp Sampler: euler with an edit of h in the predicted picture, not in the noise."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.family import check_fits
from ..backends.comfyui.frames import without_frame
from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.session import step_reporter
from ..core.hspace.direction import HDirection, moves_h
from ..core.inversion.trace import Trace
from ..core.recipes import hspace
from ..core.recipes.defaults import THERE
from ..core.recipes.settings import EditSettings
from ..core.samplers import Schedule
from .inputs import (
    ADVANCED,
    direction_input,
    direction_of,
    percent_input,
    seed_input,
    strength_input,
    trace_input,
    trace_of,
    with_advanced,
    with_search_words,
)
from .traced_sampler import denoiser_on_trace

DEFAULTS = EditSettings()
# ComfyUI draws a sampler's noise from the same seed as the start noise; the boost must not repeat it.
SEED_SALT = 0x5E17A9


@without_frame
def sample_asyrp_comfy(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    direction: HDirection,
    settings: EditSettings,
    edit_uncond: bool = False,
    noise_seed: int = 0,
    mask: Tensor | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """Sample with a direction applied: recipes.hspace.edit as a KSAMPLER function, behind k-diffusion's signature.

    Args:
        model: What ComfyUI hands to a sampler function.
        x: State at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        extra_args: Handed on to the model.
        callback: k-diffusion's, called with a dictionary once a step.
        disable: k-diffusion's; there is no progress bar of our own.
        direction: What to edit along.
        settings: How strongly, and until when.
        edit_uncond: Whether the prediction of the negative prompt is edited too.
        noise_seed: Seed of the boost's noise.
        mask: A MASK that says where to edit.
        trace: What the sampler follows; None for stock Euler steps.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: The model has no h at the direction's layer, or one of another width; or the latent, the schedule or
            the start is not the trace's.
    """
    base_model = model.inner_model.inner_model
    if any(settings.strength * weight for weight, _ in direction.parts):
        check_fits(direction, base_model)
    extra_args = extra_args or {}
    rows = None if mask is None else _mask_like(mask, x)
    generator = torch.Generator().manual_seed((noise_seed + SEED_SALT) % 2**64)

    def draw(state: Tensor) -> Tensor:
        return torch.randn(state.shape, generator=generator).to(state)

    # A readout reads the prompt's rows, as it was learned from them.
    edit_uncond = edit_uncond and moves_h(direction)
    edited = hspace.edit(
        denoiser_on_trace(model, x, sigmas, extra_args, trace, edit_uncond=edit_uncond, layer=direction.layer),
        x,
        Schedule(sigmas, base_model.model_sampling.percent_to_sigma),
        direction,
        settings,
        noise=draw,
        mask=rows,
        callback=step_reporter(callback, sigmas),
    )
    if direction.response is not None and sigmas[-1] == 0:
        # Runs that only measured may have been reported last; ComfyUI keeps what is reported last as denoised_output.
        step_reporter(callback, sigmas)(len(sigmas) - 2, edited, edited)
    return edited


def _mask_like(mask: Tensor, x: Tensor) -> Tensor:
    """Bring a MASK, [H, W] or [M, H, W], to the size of x, [B, 1, h, w]; masks are repeated if they are too few."""
    rows = latent_mask(mask, x)
    return comfy.utils.repeat_to_batch_size(rows, len(x)).to(x)


class AsyrpSampler(io.ComfyNode):
    """A SAMPLER that edits along an h-space direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditAsyrpSampler",
            display_name="Asyrp Sampler",
            category=ADVANCED,
            description=(
                "An euler sampler that slides an attribute on the picture while it forms (Asyrp, in h-space). "
                "Start it from Latent Invert to edit a picture of yours. "
                "At strength 0 it draws exactly what euler draws. For SD 1.x, SD 2.x, SDXL, SD3, Flux and Qwen-Image. "
                "Edit Picture and Apply Attribute do the same with fewer wires."
            ),
            inputs=[
                direction_input(
                    "direction", tooltip="What to slide, from h-Space Direction Learn or Load h-Direction."
                ),
                strength_input(
                    "strength",
                    THERE,
                    (
                        "How much of the attribute: 0 none, 1 there; of a file of an earlier version 1.5. "
                        "Less keeps more of the picture. "
                        "Below 0 takes it away where it is, less surely than it is added. Stay between -2 and 3."
                    ),
                ),
                percent_input(
                    "edit_percent",
                    DEFAULTS.edit_percent,
                    (
                        "The share of the steps in which the picture is edited. "
                        "Less keeps more of the face and leaves fine details out of the edit."
                    ),
                ),
                percent_input(
                    "boost_percent",
                    DEFAULTS.boost_percent,
                    "From this share of the steps on, fresh noise sharpens texture (quality boost). 1 turns it off.",
                ),
                io.Float.Input(
                    "eta",
                    default=DEFAULTS.eta,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="How much fresh noise the boost adds. Read when boost_percent is below 1.",
                ),
                io.Boolean.Input(
                    "edit_uncond",
                    default=False,
                    tooltip=(
                        "Edit what the negative prompt draws too. "
                        "Off, a higher cfg makes the edit stronger, as it does with a prompt."
                    ),
                ),
                seed_input("noise_seed", "Seed of the boost's noise. Nothing reads it while boost_percent is 1."),
                io.Boolean.Input(
                    "symmetric",
                    default=DEFAULTS.symmetric,
                    optional=True,
                    tooltip=(
                        "For comparison only; leave it off. "
                        "On, both halves of a step are edited, as in plain sampling, and most of the edit cancels."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip=(
                        "Where the picture may change: white. "
                        "Elsewhere it may still change a little, because the model sees the edit."
                    ),
                ),
                trace_input("the picture then comes back exactly where nothing is edited, at any cfg."),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="Wire to SamplerCustom or SamplerCustomAdvanced.",
                )
            ],
        )
        return with_search_words(
            with_advanced(schema, "boost_percent", "eta", "edit_uncond", "noise_seed", "symmetric"),
            "h-space",
            "concept slider",
            "edit face",
            "glasses",
        )

    @classmethod
    def execute(
        cls,
        direction: HDirection,
        strength: float,
        edit_percent: float,
        boost_percent: float,
        eta: float,
        edit_uncond: bool,
        noise_seed: int,
        symmetric: bool = DEFAULTS.symmetric,
        mask: Tensor | None = None,
        trace: Trace | None = None,
    ) -> io.NodeOutput:
        """Return the sampler."""
        options = dict(
            direction=direction_of(direction, "direction"),
            settings=EditSettings(strength, edit_percent, boost_percent, eta, symmetric),
            edit_uncond=edit_uncond,
            noise_seed=noise_seed,
            mask=mask,
            trace=None if trace is None else trace_of(trace, "trace"),
        )
        return io.NodeOutput(comfy.samplers.KSAMPLER(sample_asyrp_comfy, extra_options=options))


NODES = [AsyrpSampler]
