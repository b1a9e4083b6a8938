"""The algebraically exact alternative: O-BELM, a leapfrog sampler whose inversion is the same formula read backwards.

Wang et al., "BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion Models"
(arXiv 2410.07273), the second-order O-BELM, in sigma: with h = sigma_i - sigma_{i+1} and h_old = sigma_{i-1} - sigma_i,

    x_{i+1} = (h/h_old)^2 x_{i-1} + (1 - (h/h_old)^2) x_i - h (h + h_old)/h_old d(x_i)

One model call a step and no iteration, but it is a sampler of its own: its state is a pair of neighbouring latents,
so the code is one too, and the stock samplers cannot start from it. A reference; Latent Invert does not use it.
Model space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_latent, check_same_shape, check_sigmas
from ..samplers import euler_step, to_d, to_float64

CodePair = tuple[Tensor, Tensor]


@torch.no_grad()
def sample_belm(denoise: Denoiser, code: Tensor | CodePair, sigmas: Tensor) -> Tensor:
    """From a pair of codes [B, C, H, W] at (sigmas[0], sigmas[1]) to the latent at sigmas[-1].

    A single code at sigmas[0] is completed by one Euler step. Raises EditError on fewer than two steps.
    """
    _check(sigmas)
    if isinstance(code, Tensor):
        code = (code, euler_step(code, denoise(code, sigmas[0]), sigmas[0], sigmas[1]))
    check_same_shape(*code, "the code at sigmas[0]", "the code at sigmas[1]")
    old, x = code
    for i in range(1, len(sigmas) - 1):
        kept, pushed = _coefficients(sigmas, i)
        old, x = x, kept * old + (1 - kept) * x - pushed * to_d(x, sigmas[i], denoise(x, sigmas[i]))
    return x


@torch.no_grad()
def belm_inversion(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> CodePair:
    """The pair of codes at (sigmas[0], sigmas[1]) from which sample_belm returns x, but for rounding.

    x: [B, C, H, W] at sigmas[-1]. The second member of the last pair is one explicit step above x. Rounding errors
    grow as (h_0/h_last)^2, so the state is kept in float64 where the device has it.
    """
    _check(sigmas)
    check_latent(x, "latent_image")
    dtype = x.dtype
    state = to_float64(x)
    levels = sigmas.to(state)

    def d(y: Tensor, i: int) -> Tensor:
        return to_d(y, levels[i], denoise(y.to(dtype), sigmas[i]).to(y))

    new, x = state, state + (levels[-2] - levels[-1]) * d(state, len(sigmas) - 2)
    for i in reversed(range(1, len(sigmas) - 1)):
        kept, pushed = _coefficients(levels, i)
        new, x = x, (new - (1 - kept) * x + pushed * d(x, i)) / kept
    return x, new


def _coefficients(sigmas: Tensor, i: int) -> tuple[Tensor, Tensor]:
    old, h = sigmas[i - 1] - sigmas[i], sigmas[i] - sigmas[i + 1]
    return (h / old) ** 2, h * (h + old) / old


def _check(sigmas: Tensor) -> None:
    check_sigmas(sigmas)
    if len(sigmas) < 3:
        raise EditError(f"sigmas holds {len(sigmas) - 1} step; the two-step sampler needs at least two.")
