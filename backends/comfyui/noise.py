"""noise."""

from __future__ import annotations

import math

import comfy.model_sampling
import comfy.sample
import torch
from torch import Tensor

from ...core.errors import EditError
from .latents import to_model_space


def is_flow(model_sampling) -> bool:
    """Flow models (SD3, Flux): x = (1 - sigma)*x0 + sigma*n."""
    return isinstance(model_sampling, comfy.model_sampling.CONST)


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
