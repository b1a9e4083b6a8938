"""Traced Sampler: euler that follows the trace of Latent Invert, exact at one model call a step."""

from __future__ import annotations

import math
from typing import Any

import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.frames import unframed, without_frame
from ..backends.comfyui.noise import check_start
from ..backends.comfyui.progress import warn
from ..backends.comfyui.session import step_reporter
from ..core.denoiser import Denoiser
from ..core.inversion.trace import Trace
from ..core.inversion.traced import follow_trace
from ..core.layers import AUTO
from ..core.samplers import sample_euler
from .inputs import ADVANCED, TraceType, trace_of, with_search_words

SAME_GUIDANCE = 1e-3
OTHER_GUIDANCE = (
    "The sampler's cfg is {here:g} but the trace was made at cfg {there:g}; "
    "set both alike, or the picture changes also where nothing is edited."
)


def is_at_guidance(trace: Trace, guidance: float) -> bool:
    """Return whether a trace was made at a guidance."""
    return math.isclose(guidance, trace.guidance, rel_tol=SAME_GUIDANCE)


@without_frame
def sample_traced_comfy(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    trace: Trace,
) -> Tensor:
    """Sample along a trace, behind k-diffusion's signature.

    Args:
        model: What ComfyUI hands to a sampler function.
        x: State at sigmas[0], [B, C, ..., H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        extra_args: Handed on to the model.
        callback: k-diffusion's, called with a dictionary once a step.
        disable: k-diffusion's; there is no progress bar of our own.
        trace: What is followed.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: The latent or the schedule is not the trace's, or noise was added to the code.
    """
    denoise = denoiser_on_trace(model, x, sigmas, extra_args or {}, trace)
    return sample_euler(denoise, x, sigmas, step_reporter(callback, sigmas))


def denoiser_on_trace(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any],
    trace: Trace | None,
    *,
    edit_uncond: bool = False,
    layer: str = AUTO,
) -> Denoiser:
    """Return the denoiser of a sampler function, which follows a trace where there is one.

    On a trace, a noise mask keeps the picture exactly outside of it. ComfyUI would mix noise of its own in there.

    Args:
        model: What ComfyUI hands to a sampler function.
        x: State at sigmas[0], [B, C, ..., H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        extra_args: Handed on to the model, on a trace without the noise mask.
        trace: What is followed; None for the model itself.
        edit_uncond: As ComfyDenoiser takes it.
        layer: As ComfyDenoiser takes it.

    Returns:
        The denoiser.

    Raises:
        EditError: The latent or the schedule is not the trace's, or noise was added to the code.
    """
    if trace is None:
        return ComfyDenoiser(model, extra_args, edit_uncond=edit_uncond, layer=layer)
    check_start(trace, x, sigmas, getattr(model, "noise", None))
    mask = extra_args.get("denoise_mask")
    denoise = ComfyDenoiser(model, {**extra_args, "denoise_mask": None}, edit_uncond=edit_uncond, layer=layer)
    if not is_at_guidance(trace, denoise.guidance):
        # Another guidance may be wanted, as another prompt may.
        warn(OTHER_GUIDANCE.format(here=denoise.guidance, there=trace.guidance))
    return follow_trace(denoise, trace, x, sigmas, None if mask is None else unframed(denoise.base_model, mask))


class TracedSampler(io.ComfyNode):
    """A SAMPLER that follows a trace."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditTracedSampler",
            display_name="Traced Sampler",
            category=ADVANCED,
            description=(
                "An euler sampler that gives your picture back exactly, at any cfg: "
                "it follows the trace of Latent Invert, method traced. "
                "With another prompt it edits the picture; it also finishes what Latent SVD Edit has changed."
            ),
            inputs=[
                TraceType.Input(
                    "trace",
                    tooltip=(
                        "From Latent Invert, method traced. Start from its latent or noise, with its sigmas output."
                    ),
                ),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="Wire to SamplerCustom (add_noise off) or SamplerCustomAdvanced.",
                )
            ],
        )
        return with_search_words(schema, "inversion", "reconstruct", "direct inversion")

    @classmethod
    def execute(cls, trace: Trace) -> io.NodeOutput:
        """Return the sampler."""
        return io.NodeOutput(traced_sampler(trace_of(trace, "trace")))


def traced_sampler(trace: Trace) -> Any:
    """Return the SAMPLER that follows a trace."""
    return comfy.samplers.KSAMPLER(sample_traced_comfy, extra_options=dict(trace=trace))


NODES = [TracedSampler]
