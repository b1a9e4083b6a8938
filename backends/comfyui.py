"""The core inside ComfyUI: any MODEL as a denoiser, through ComfyUI's own guider and sampling loop.

LoRA, ControlNet, regional prompts, hooks and other patches are in place by construction, because every prediction is
the one a stock sampler would ask for. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.denoiser import HEdit
from ..core.errors import EditError, check_latent

POSITIVE, TARGET = "positive", "target"


class ComfyDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` from the ``model`` that ComfyUI hands to a sampler function.

    Without h_edit this is the stock call, bit for bit. prompt chooses the conditioning of a PromptGuider, cfg its guidance
    (None: the session's).
    differentiable lets gradients flow from the bottleneck on; the weights must then be those of trainable().
    """

    def __init__(
        self,
        model,
        extra_args: dict[str, Any],
        *,
        edit_uncond: bool = False,
        prompt: str | None = None,
        cfg: float | None = None,
        differentiable: bool = False,
    ):
        self.model, self.extra_args = model, extra_args
        self.edit_uncond, self.prompt, self.cfg, self.differentiable = edit_uncond, prompt, cfg, differentiable

    @property
    def guidance(self) -> float:
        """The guider's cfg; 1 for guiders that have none, or several."""
        return getattr(self.model.inner_model, "cfg", 1.0) if self.cfg is None else self.cfg

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if self.prompt is not None:
            self.model.inner_model.prompt = self.prompt
        if self.cfg is not None:
            self.model.inner_model.set_cfg(self.cfg)
        sigmas = sigma * x.new_ones([x.shape[0]])
        if h_edit is None:
            return self.model(x, sigmas, **self.extra_args)
        require_bottleneck(self.model.inner_model.inner_model)
        patch = _BottleneckPatch(h_edit, self.edit_uncond, self.differentiable and torch.is_grad_enabled())
        options = _with_first_output_patch(self.extra_args["model_options"], patch)
        with torch.no_grad():  # the patch turns gradients on from the bottleneck onwards
            denoised = self.model(x, sigmas, **{**self.extra_args, "model_options": options})
        if not patch.fired:
            raise EditError(
                "This MODEL never reached its U-Net bottleneck during sampling; another patch replaces the U-Net's forward pass."
            )
        return denoised


class _BottleneckPatch:
    """An output_block_patch that acts on the middle block's output, which is what ("output", 0) receives as h."""

    def __init__(self, h_edit: HEdit, edit_uncond: bool, grad: bool):
        self.h_edit, self.edit_uncond, self.grad, self.fired = h_edit, edit_uncond, grad, False

    def __call__(self, h: Tensor, hsp: Tensor | None, transformer_options: dict) -> tuple[Tensor, Tensor | None]:
        if tuple(transformer_options.get("block", ())) != ("output", 0):
            return h, hsp
        self.fired = True
        torch.set_grad_enabled(self.grad)
        # Conditional (0) and unconditional (1) may share one batch, in any order and number of chunks.
        kinds = transformer_options["cond_or_uncond"]
        chunks = list(h.detach().chunk(len(kinds)))
        chosen = [i for i, kind in enumerate(kinds) if self.edit_uncond or kind == 0]
        if chosen:
            edited = self.h_edit(torch.cat([chunks[i] for i in chosen])).to(h.dtype).chunk(len(chosen))
            for i, part in zip(chosen, edited):
                chunks[i] = part
        return torch.cat(chunks), hsp


def _with_first_output_patch(model_options: dict, patch: Callable) -> dict:
    """A copy of the options with our patch before any other (FreeU and friends act on the same block)."""
    transformer = model_options.get("transformer_options", {}).copy()
    patches = transformer.get("patches", {}).copy()
    patches["output_block_patch"] = [patch, *patches.get("output_block_patch", [])]
    return {**model_options, "transformer_options": {**transformer, "patches": patches}}


def require_bottleneck(base_model) -> None:
    unet = getattr(base_model, "diffusion_model", None)
    if getattr(unet, "middle_block", None) is None or not hasattr(unet, "output_blocks"):
        raise EditError(
            f"This MODEL ({type(unet).__name__}) has no U-Net bottleneck, which h-space editing needs; use a U-Net model "
            "(SD 1.x, SD 2.x, SDXL), or Latent SVD Edit, which works with every model."
        )


def is_flow(model_sampling) -> bool:
    """Flow models (SD3, Flux): x = (1 - sigma)*x0 + sigma*n."""
    return isinstance(model_sampling, comfy.model_sampling.CONST)


def sampler_name(sampler) -> str:
    """What a SAMPLER from KSamplerSelect is called: the name of its sampling function; euler where none is wired.

    Raises EditError for one that draws noise on its way, by its options.
    """
    if sampler is None:
        return "euler"
    function = getattr(sampler, "sampler_function", sampler)
    name = getattr(function, "__name__", type(function).__name__)
    stock = (
        getattr(function, "__module__", "") == "comfy.k_diffusion.sampling"
    )  # another pack's sample_euler is not ours to know
    name = name.removeprefix("sample_") if stock else name
    if getattr(sampler, "extra_options", {}).get("s_churn", 0) > 0:
        raise EditError(
            f"sampler is '{name}' with s_churn, which draws noise that is not in the picture and cannot be inverted; set s_churn to 0."
        )
    return name


class PromptGuider(comfy.samplers.CFGGuider):
    """CFGGuider with a second positive conditioning, so that two prompts share one sampling session."""

    prompt = POSITIVE

    def set_prompts(self, positive, negative, target=None) -> None:
        self.inner_set_conds({POSITIVE: positive, "negative": negative} | ({} if target is None else {TARGET: target}))

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds[self.prompt],
            self.cfg,
            model_options=model_options,
            seed=seed,
        )


class _Runner(comfy.samplers.Sampler):
    """A sampler that runs a core algorithm on the latent, in model space, and keeps what it returns."""

    def __init__(self, algorithm):
        self.algorithm, self.result = algorithm, None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        self.result = self.algorithm(model, {**extra_args, "denoise_mask": None}, latent_image, sigmas)
        return latent_image


def run(
    model,
    positive,
    negative,
    cfg: float,
    latent: Tensor,
    sigmas: Tensor,
    algorithm: Callable,
    *,
    target=None,
    seed: int = 0,
):
    """``algorithm(model, extra_args, x, sigmas)`` inside ComfyUI's sampling session; returns its result.

    latent: LATENT space, handed over in model space. Whatever happens, ComfyUI's own cleanup runs.
    """
    guider = PromptGuider(model)
    guider.set_prompts(positive, negative, target)
    guider.set_cfg(cfg)
    runner = _Runner(algorithm)
    guider.sample(torch.zeros_like(latent), latent, runner, sigmas, disable_pbar=True, seed=seed)
    return runner.result


def latent_of(latent: dict, name: str, model=None) -> Tensor:
    """A copy of a LATENT's samples, checked; with a model also against its channel count. Video models have one axis more."""
    samples = latent["samples"]
    if not getattr(samples, "is_nested", False) and model is not None:
        samples = comfy.sample.fix_empty_latent_channels(model, samples)
    latent_format = None if model is None else model.get_model_object("latent_format")
    check_latent(samples, name, video=getattr(latent_format, "latent_dimensions", 2) == 3)
    if model is not None:
        wanted = latent_format.latent_channels
        if samples.shape[1] != wanted:
            raise EditError(
                f"{name} has {samples.shape[1]} channels but this MODEL works on {wanted}; use the VAE that belongs to the model."
            )
    return samples.clone().float()


def latent_mask(mask: Tensor | None, samples: Tensor) -> Tensor | None:
    """A MASK, [H, W] or [M, H, W], at the latent's size: [M, 1, h, w]."""
    return (
        mask
        if mask is None
        else F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).float(), size=samples.shape[-2:], mode="area")
    )


def to_model_space(model, samples: Tensor) -> Tensor:
    """As ComfyUI's guider does it: an all-zero latent is left alone."""
    return model.model.process_latent_in(samples) if torch.count_nonzero(samples) > 0 else samples


def latent_from_code(model, latent: dict, code: Tensor, sigma: Tensor) -> dict:
    """A LATENT that samplers which add no noise take up as ``code``, [B, ...] in model space at sigma: a copy of ``latent`` without its noise mask, which would paste the code itself."""
    scaled = model.get_model_object("model_sampling").inverse_noise_scaling(sigma.cpu(), code.float().cpu())
    return {k: v for k, v in latent.items() if k != "noise_mask"} | {"samples": model.model.process_latent_out(scaled)}


def is_max_denoise(model_sampling, sigma: float) -> bool:
    """Whether ComfyUI treats a run that starts at sigma as full denoising."""
    most = float(model_sampling.sigma_max)
    return math.isclose(most, sigma, rel_tol=1e-05) or sigma > most


def starting_noise(model_sampling, like: Tensor, count: int, sigma: Tensor, seed: int) -> Tensor:
    """``count`` pure noises as a stock sampler starts from at sigma, of the size of ``like`` [B, C, H, W]: model space, on the CPU."""
    noise = torch.randn((count, *like.shape[1:]), generator=torch.Generator().manual_seed(seed))
    return model_sampling.noise_scaling(
        sigma.cpu(), noise, torch.zeros_like(noise), is_max_denoise(model_sampling, float(sigma))
    )


class InvertedNoise:
    """A NOISE that makes ComfyUI's samplers start exactly at ``code``, whatever latent is wired beside it.

    noise = (code - noise_scaling(sigma, 0, latent)) / noise_scaling(sigma, 1, 0): exact for every family and for
    partial schedules. code: model space at sigma.
    """

    def __init__(self, model, code: Tensor, sigma: float, seed: int = 0):
        self.model, self.code, self.sigma, self.seed = model, code.cpu(), sigma, seed

    def generate_noise(self, input_latent: dict) -> Tensor:
        samples = comfy.sample.fix_empty_latent_channels(self.model, input_latent["samples"])
        if samples.shape != self.code.shape:
            raise EditError(
                f"The inverted noise has shape {tuple(self.code.shape)} but the latent wired to the sampler has {tuple(samples.shape)}; "
                "wire a latent of the same size."
            )
        sampling = self.model.get_model_object("model_sampling")
        latent = to_model_space(self.model, samples.float().cpu())
        zeros, ones, sigma = torch.zeros_like(self.code), torch.ones_like(self.code), torch.tensor(self.sigma)
        full = is_max_denoise(sampling, self.sigma)
        shift = sampling.noise_scaling(sigma, zeros.clone(), latent, full)
        scale = sampling.noise_scaling(sigma, ones, zeros, full)
        return (self.code - shift) / scale


def trainable(model):
    """A clone of the MODEL whose decoder weights autograd accepts; the original is untouched.

    Weights loaded inside torch.inference_mode() cannot be saved for backward, so each decoder weight is copied as it
    is used. Nothing is left behind when the clone goes.
    """
    require_bottleneck(model.model)
    clone = model.clone()
    for name, _ in model.model.named_parameters():
        if name.startswith(("diffusion_model.output_blocks.", "diffusion_model.out.")) and name.endswith(
            (".weight", ".bias")
        ):
            clone.add_weight_wrapper(name, lambda weight: weight.detach().clone())
    return clone
