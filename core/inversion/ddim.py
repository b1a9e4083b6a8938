"""ddim."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_latent, check_sigmas
from ..samplers import to_d
from .report import InversionReport


def _descending(sigmas: Tensor, stop_at_step: int) -> Tensor:
    check_sigmas(sigmas)
    if not 0 <= stop_at_step < len(sigmas) - 1:
        raise EditError(f"stop_at_step is {stop_at_step}; this schedule accepts 0 (all the way) to {len(sigmas) - 2}.")
    return sigmas[stop_at_step:]


@torch.no_grad()
def ddim_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    stop_at_step: int = 0,
    callback: Callable[[int, Tensor], None] | None = None,
) -> tuple[Tensor, InversionReport]:
    """The explicit baseline (Song et al. 2021, section 4.3 run backwards): one call a step, for euler.

    x: model space [B, C, ..., H, W] at sigmas[-1]; sigmas: the sampler's own, descending [n + 1]. Returns the code
    at sigmas[stop_at_step]. Where sigma_lo is 0, d is taken at sigma_hi: it has no value at 0.
    Raises EditError on bad sigmas, stop_at_step or x.
    """
    sigmas = _descending(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    report = InversionReport("ddim", sigmas.tolist(), first_step=stop_at_step, samples=len(x))
    for i in reversed(range(len(sigmas) - 1)):
        high, low = sigmas[i], sigmas[i + 1]
        at = low if low > 0 else high
        x = x + (high - low) * to_d(x, at, denoise(x, at))
        report.calls += 1
        if callback is not None:
            callback(i, x)
    return x, report
