"""Deterministic samplers as slopes: every step is x' = x + (sigma' - sigma) * slope, which can be solved for x.

One slope a sampler, in the arithmetic of k-diffusion's function of that name. Euler is DDIM. Stochastic samplers have
no slope, and no inverse: the noise they drew is not in the picture. Model space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import EditError

# (denoise, x, sigmas, i, D of the step before or None) -> (slope of step i, its D)
Slope = Callable[[Denoiser, Tensor, Tensor, int, "Tensor | None"], tuple[Tensor, Tensor]]


class Sampler(NamedTuple):
    """``calls``: model calls a slope; ``multistep``: whether a slope depends on the D of the step before."""

    slope: Slope
    calls: int = 1
    multistep: bool = False


def _euler(denoise, x, sigmas, i, old):
    denoised = denoise(x, sigmas[i])
    return to_d(x, sigmas[i], denoised), denoised


def _heun(denoise, x, sigmas, i, old):
    """Karras et al. (2022), algorithm 1: the mean of the slopes at both ends; plain Euler down to 0."""
    denoised = denoise(x, sigmas[i])
    d = to_d(x, sigmas[i], denoised)
    if sigmas[i + 1] == 0:
        return d, denoised
    x_2 = x + d * (sigmas[i + 1] - sigmas[i])
    return (d + to_d(x_2, sigmas[i + 1], denoise(x_2, sigmas[i + 1]))) / 2, denoised


def _dpm_2(denoise, x, sigmas, i, old):
    """DPM-Solver-2 (Lu et al. 2022): the slope halfway, in log sigma; plain Euler down to 0."""
    denoised = denoise(x, sigmas[i])
    d = to_d(x, sigmas[i], denoised)
    if sigmas[i + 1] == 0:
        return d, denoised
    middle = sigmas[i].log().lerp(sigmas[i + 1].log(), 0.5).exp()
    x_2 = x + d * (middle - sigmas[i])
    return to_d(x_2, middle, denoise(x_2, middle)), denoised


def _dpmpp_2m(denoise, x, sigmas, i, old):
    """DPM-Solver++(2M) (Lu et al. 2022): Euler's slope with D carried on linearly, in log sigma, from the step before."""
    denoised = denoise(x, sigmas[i])
    if old is None or sigmas[i + 1] == 0:
        return to_d(x, sigmas[i], denoised), denoised
    r = (sigmas[i - 1] / sigmas[i]).log() / (sigmas[i] / sigmas[i + 1]).log()
    return to_d(x, sigmas[i], denoised + (denoised - old) / (2 * r)), denoised


SAMPLERS = {
    "euler": Sampler(_euler),
    "heun": Sampler(_heun, 2),
    "dpm_2": Sampler(_dpm_2, 2),
    "dpmpp_2m": Sampler(_dpmpp_2m, multistep=True),
}


def sampler_named(name: str) -> Sampler:
    """Raises EditError for a sampler that has no inverse here."""
    name = {"ddim": "euler"}.get(name, name)
    if name not in SAMPLERS:
        raise EditError(
            f"sampler is '{name}', which cannot be inverted here (stochastic and ancestral samplers draw noise that is not in the "
            f"picture); {', '.join(SAMPLERS)} and ddim (which is euler) can."
        )
    return SAMPLERS[name]


@torch.no_grad()
def sample(denoise: Denoiser, x: Tensor, sigmas: Tensor, sampler: str = "euler") -> Tensor:
    """From x [B, C, H, W] at sigmas[0] to sigmas[-1] by a sampler of SAMPLERS. Raises EditError for another one."""
    slope, old = sampler_named(sampler).slope, None
    for i in range(len(sigmas) - 1):
        d, old = slope(denoise, x, sigmas, i, old)
        x = x + d * (sigmas[i + 1] - sigmas[i])
    return x


def to_float64(x: Tensor) -> Tensor:
    """X in float64, or in float32 on Apple's GPUs, which have no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma (Karras et al. 2022, equation 3)."""
    return (x - denoised) / sigma


def euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One Euler step, which is one DDIM step; in the order of operations of k-diffusion's sample_euler."""
    d = to_d(x, sigma, denoised)
    dt = sigma_next - sigma
    return x + d * dt


def euler_fraction(sigma: Tensor, sigma_next: Tensor, flow: bool = False) -> Tensor:
    """How much of a change of D an Euler step makes, in units of x0: (1 - sigma'/sigma)/a', elementwise; a' as in core.asyrp."""
    share = 1 - sigma_next / sigma
    return share / (1 - sigma_next).clamp(min=1e-3) if flow else share


@torch.no_grad()
def sample_euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, callback=None) -> Tensor:
    """Algorithm 2 of Karras et al. (2022) without churn. x: model space at sigmas[0]; returns it at sigmas[-1].

    callback(i, x, denoised) is called before each step.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        if callback is not None:
            callback(i, x, denoised)
        x = euler_step(x, denoised, sigmas[i], sigmas[i + 1])
    return x
