"""Deterministic samplers as slopes: every step is x' = x + (sigma' - sigma) * slope, which can be solved for x.

One slope a sampler, in the arithmetic of k-diffusion's function of that name. Euler is DDIM. Stochastic samplers have
no slope, and no inverse: the noise they drew is not in the picture. Model space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser, to_d
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
