"""The noise that ComfyUI's samplers start from, drawn as they draw it or chosen so that they start at a given code."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_sampling
import comfy.sample
import torch
from torch import Tensor

from ...core.errors import EditError
from ...core.inversion.trace import Trace
from .frames import framed, unframed
from .latents import to_model_space

# A start that is off from a trace correlates with the noise it was made of by 1 where noise was added to the code, by
# 0.7 where another noise took its place, and by 0 or less where the code was edited.
MAX_NOISE_CORRELATION = 0.5
# Relative distance up to which a start is the trace's, whatever it correlates with.
MAX_ROUNDING = 0.1


def is_flow_model(model_sampling: Any) -> bool:
    """Return whether a model_sampling is that of a flow model (SD3, Flux), x = (1 - sigma)*x0 + sigma*n."""
    return isinstance(model_sampling, comfy.model_sampling.CONST)


def is_max_denoise(model_sampling: Any, sigma: float) -> bool:
    """Return whether ComfyUI treats sampling that starts at sigma as full denoising."""
    sigma_max = float(model_sampling.sigma_max)
    return math.isclose(sigma_max, sigma, rel_tol=1e-05) or sigma > sigma_max


def starting_noise(model_sampling: Any, like: Tensor, count: int, sigma: Tensor, seed: int) -> Tensor:
    """Draw the pure noises that a stock sampler starts from at sigma.

    Args:
        model_sampling: The MODEL's model_sampling.
        like: A latent of the wanted size, [B, C, ..., H, W].
        count: How many noises are drawn.
        sigma: Noise level, a scalar tensor.
        seed: Seed of the noise.

    Returns:
        [count, C, ..., H, W] in model space at sigma, on the CPU.
    """
    noise = torch.randn((count, *like.shape[1:]), generator=torch.Generator().manual_seed(seed))
    full = is_max_denoise(model_sampling, float(sigma))
    return model_sampling.noise_scaling(sigma.cpu(), noise, torch.zeros_like(noise), full)


def check_start(trace: Trace, x: Tensor, sigmas: Tensor, noise: Tensor | None) -> None:
    """Check that a sampler starts at a trace's code, or at an edit of it.

    Args:
        trace: What is to be followed.
        x: State at sigmas[0], [B, C, ..., H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        noise: The noise that ComfyUI made x of, like x; None where it is not known.

    Raises:
        EditError: The latent or the schedule is not the trace's, or x is made of another noise.
    """
    trace.check(x, sigmas)
    if noise is None:
        return
    state = trace.state_at(sigmas[0], x).flatten(1)
    moved = x.flatten(1) - state
    correlation = torch.cosine_similarity(moved, noise.to(x).flatten(1))
    away = moved.norm(dim=1) > MAX_ROUNDING * state.norm(dim=1)
    if (away & (correlation > MAX_NOISE_CORRELATION)).any():
        raise EditError(
            "The sampler adds noise to the trace's code, or starts from another noise; "
            "turn add_noise off, or wire the noise output of the Latent Invert that the trace comes from."
        )


class InvertedNoise:
    """A NOISE that makes ComfyUI's samplers start exactly at ``code``, whatever latent is wired beside it.

    noise = (code - noise_scaling(sigma, 0, latent)) / noise_scaling(sigma, 1, 0): exact for every family and for
    partial schedules.

    Args:
        model: The MODEL that samples.
        code: A noisy latent in model space at sigma, [B, C, ..., H, W].
        sigma: Noise level of the code.
        seed: The seed that ComfyUI's samplers read of a NOISE; the noise does not depend on it.
    """

    def __init__(self, model: Any, code: Tensor, sigma: float, seed: int = 0) -> None:
        self.model = model
        self.code = code.cpu()
        self.sigma = sigma
        self.seed = seed

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        """Return the noise that a sampler must add to this LATENT to start at the code.

        Raises:
            EditError: The LATENT's size is not the code's.
        """
        samples = comfy.sample.fix_empty_latent_channels(self.model, input_latent["samples"])
        samples = unframed(self.model.model, samples)
        if samples.shape != self.code.shape:
            raise EditError(
                f"The inverted noise has shape {tuple(self.code.shape)} but the latent wired to the sampler has "
                f"{tuple(samples.shape)}; wire a latent of the same size."
            )
        sampling = self.model.get_model_object("model_sampling")
        sigma = torch.tensor(self.sigma)
        full = is_max_denoise(sampling, self.sigma)
        latent = to_model_space(self.model, samples.float().cpu())
        zeros = torch.zeros_like(self.code)
        ones = torch.ones_like(self.code)
        # Each call gets a noise of its own, because noise_scaling may work in place.
        shift = sampling.noise_scaling(sigma, zeros.clone(), latent, full)
        scale = sampling.noise_scaling(sigma, ones, zeros, full)
        return framed(self.model.model, (self.code - shift) / scale)
