"""latents."""

from __future__ import annotations

import comfy.sample
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import EditError, check_latent


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
