"""Asyrp Sampler: euler with the U-Net's bottleneck edited in the predicted picture, not in the noise."""

from __future__ import annotations

import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import io

from ..backends.comfyui.denoiser import ComfyDenoiser, require_bottleneck
from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.noise import is_flow
from ..core.hspace.asyrp import sample_asyrp
from ..core.hspace.direction import HDirection
from ..core.hspace.strength import bind_edit
from ..core.hspace.window import EditWindow
from .inputs import CATEGORY, HDirectionType, direction_of, seed_input

# ComfyUI draws a sampler's noise from the same seed as the start noise; the boost must not repeat it.
SEED_SALT = 0x5E17A9


def sample_asyrp_comfy(
    model,
    x,
    sigmas,
    extra_args=None,
    callback=None,
    disable=None,
    *,
    direction: HDirection,
    strength: float,
    edit_percent: float,
    boost_percent: float = 1.0,
    eta: float = 1.0,
    edit_uncond: bool = False,
    noise_seed: int = 0,
    symmetric: bool = False,
    mask: torch.Tensor | None = None,
):
    """A KSAMPLER function: core.sample_asyrp behind k-diffusion's signature. Raises EditError without a bottleneck."""
    base_model = model.inner_model.inner_model
    sampling = base_model.model_sampling
    window = EditWindow(
        float(sampling.percent_to_sigma(edit_percent)), float(sampling.percent_to_sigma(boost_percent)), direction.start
    )
    edit, amount, reading = bind_edit(direction, strength, sigmas, window)
    if edit is not None or reading is not None:
        require_bottleneck(base_model)
    generator = torch.Generator().manual_seed((noise_seed + SEED_SALT) % 2**64)

    def report(i, state, denoised):
        if callback is not None:
            callback({"x": state, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})

    return sample_asyrp(
        ComfyDenoiser(model, extra_args or {}, edit_uncond=edit_uncond),
        x,
        sigmas,
        edit,
        window,
        eta=eta,
        flow=is_flow(sampling),
        noise=lambda state: torch.randn(state.shape, generator=generator).to(state),
        symmetric=symmetric,
        amount=amount,
        reading=reading,
        mask=None if mask is None else _mask_like(mask, x),
        callback=report,
    )


def _mask_like(mask: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A MASK, [H, W] or [M, H, W], at the size of x [B, C, h, w]: [B, 1, h, w]. Fewer masks than pictures are repeated."""
    return comfy.utils.repeat_to_batch_size(latent_mask(mask, x), len(x)).to(x)


class AsyrpSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditAsyrpSampler",
            display_name="Asyrp Sampler",
            category=CATEGORY,
            description="An euler sampler that edits the picture along an h-space direction while it forms (Asyrp). Start it from an inverted code to edit "
            "a picture. At strength 0 it is the stock euler sampler, bit for bit. For U-Net models (SD 1.x, SD 2.x, SDXL).",
            inputs=[
                HDirectionType.Input("direction", tooltip="From h-Space Direction Learn or Load h-Direction."),
                io.Float.Input(
                    "strength",
                    default=1.5,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=False,
                    tooltip="0 changes nothing, 1 is as learned. More carries on what 1 does and convinces the last pictures; less keeps more; negative removes.",
                ),
                io.Float.Input(
                    "edit_percent",
                    default=0.9,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Edit while sampling progress is below this. Earlier end: coarser edit, better kept identity.",
                ),
                io.Float.Input(
                    "boost_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="From this progress on, fresh noise sharpens texture (quality boost). 1 = off.",
                ),
                io.Float.Input(
                    "eta",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Amount of fresh noise in boosted steps.",
                ),
                io.Boolean.Input(
                    "edit_uncond",
                    default=False,
                    tooltip="Edit the negative prompt's half too. Off: guidance strengthens the edit as it does a prompt.",
                ),
                seed_input("noise_seed", "Seed of the boost's noise, apart from the start noise."),
                io.Boolean.Input(
                    "symmetric",
                    default=False,
                    optional=True,
                    tooltip="Edit the direction to the noise as well as the predicted picture, as plain sampling would. For comparison: most of the edit cancels.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Edit only where the mask is white. What is not edited may still answer to what is.",
                ),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler", display_name="sampler", tooltip="Wire to SamplerCustom or SamplerCustomAdvanced."
                )
            ],
        )

    @classmethod
    def execute(
        cls, direction, strength, edit_percent, boost_percent, eta, edit_uncond, noise_seed, symmetric=False, mask=None
    ) -> io.NodeOutput:
        return io.NodeOutput(
            comfy.samplers.KSAMPLER(
                sample_asyrp_comfy,
                extra_options=dict(
                    direction=direction_of(direction, "direction"),
                    strength=strength,
                    edit_percent=edit_percent,
                    boost_percent=boost_percent,
                    eta=eta,
                    edit_uncond=edit_uncond,
                    noise_seed=noise_seed,
                    symmetric=symmetric,
                    mask=mask,
                ),
            )
        )


NODES = [AsyrpSampler]
