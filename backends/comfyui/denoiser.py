"""The core inside ComfyUI: any MODEL as a denoiser, through ComfyUI's own guider and sampling loop.

LoRA, ControlNet, regional prompts, hooks and other patches are in place by construction, because every prediction is
the one a stock sampler would ask for. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...core.denoiser import HEdit
from ...core.errors import EditError


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


def with_trainable_decoder(model):
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
