"""O-BELM, a leapfrog sampler that is inverted exactly: the inversion is the same formula read backwards.

Wang et al., "BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion Models"
(arXiv 2410.07273), the second-order O-BELM, here in sigma: with h = sigma_i - sigma_{i+1} and
h_old = sigma_{i-1} - sigma_i,

    x_{i+1} = (h/h_old)^2 x_{i-1} + (1 - (h/h_old)^2) x_i - h (h + h_old)/h_old d(x_i)

It makes one model call a step and no iteration, but it is a sampler of its own: its state is a pair of neighbouring
latents, so its code is a pair as well, and the stock samplers cannot start from one. It is here as a reference; Latent
Invert does not use it. Everything is in model space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_latent, check_same_shape, check_sigmas
from ..samplers import euler_step, to_d, to_float64

# The states at sigmas[0] and sigmas[1]
CodePair = tuple[Tensor, Tensor]


@torch.no_grad()
def sample_belm(denoise: Denoiser, code: Tensor | CodePair, sigmas: Tensor) -> Tensor:
    """Sample with O-BELM.

    Args:
        denoise: The model.
        code: A pair of codes at (sigmas[0], sigmas[1]), each [B, C, H, W]; a single code at sigmas[0] is completed by
            one Euler step.
        sigmas: Descending noise levels, [n + 1], of two steps or more.

    Returns:
        The latent at sigmas[-1], like the codes.

    Raises:
        EditError: The sigmas are no schedule of two steps or more, or the codes differ in size.
    """
    _check(sigmas)
    if isinstance(code, Tensor):
        code = (code, euler_step(code, denoise(code, sigmas[0]), sigmas[0], sigmas[1]))
    check_same_shape(*code, "the code at sigmas[0]", "the code at sigmas[1]")
    x_old, x = code
    for i in range(1, len(sigmas) - 1):
        old_factor, d_factor = _coefficients(sigmas, i)
        d = to_d(x, sigmas[i], denoise(x, sigmas[i]))
        x_new = old_factor * x_old + (1 - old_factor) * x - d_factor * d
        x_old = x
        x = x_new
    return x


@torch.no_grad()
def belm_inversion(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> CodePair:
    """Invert O-BELM: find the pair of codes from which sample_belm returns x, but for rounding.

    The last pair of states is x and one explicit step above it. Rounding errors grow as (h_0/h_last)^2, so the state
    is kept in float64 where the device has it.

    Args:
        denoise: The model.
        x: Picture at sigmas[-1], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1], of two steps or more.

    Returns:
        The codes at (sigmas[0], sigmas[1]), each like x and in the precision of the state.

    Raises:
        EditError: The sigmas are no schedule of two steps or more, or x is no latent.
    """
    _check(sigmas)
    check_latent(x, "latent_image")
    dtype = x.dtype
    x_new = to_float64(x)
    levels = sigmas.to(x_new)

    def d(y: Tensor, i: int) -> Tensor:
        return to_d(y, levels[i], denoise(y.to(dtype), sigmas[i]).to(y))

    x_above = x_new + (levels[-2] - levels[-1]) * d(x_new, len(sigmas) - 2)
    for i in reversed(range(1, len(sigmas) - 1)):
        old_factor, d_factor = _coefficients(levels, i)
        x_old = (x_new - (1 - old_factor) * x_above + d_factor * d(x_above, i)) / old_factor
        x_new = x_above
        x_above = x_old
    return x_above, x_new


def _coefficients(sigmas: Tensor, i: int) -> tuple[Tensor, Tensor]:
    """Return the factors of x_{i-1} and of d(x_i) in the formula."""
    h_old = sigmas[i - 1] - sigmas[i]
    h = sigmas[i] - sigmas[i + 1]
    return (h / h_old) ** 2, h * (h + h_old) / h_old


def _check(sigmas: Tensor) -> None:
    check_sigmas(sigmas)
    if len(sigmas) < 3:
        raise EditError(f"sigmas holds {len(sigmas) - 1} step; the two-step sampler needs at least two.")
