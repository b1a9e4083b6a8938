"""DDIM inversion, the explicit baseline: the sampler run backwards, one model call a step.

Song et al., "Denoising diffusion implicit models" (2021), section 4.3. A step from sigma_hi to sigma_lo takes the slope
at x_hi. Backwards, x_hi is not known yet and the slope is taken at x_lo instead, so that the way back drifts.
Everything is in model space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_latent, check_prediction, check_sigmas
from ..samplers import to_d
from .report import InversionReport, OnInvertedStep


def remaining_sigmas(sigmas: Tensor, stop_at_step: int) -> Tensor:
    """Check a schedule and return the part of it that an inversion walks.

    Args:
        sigmas: Descending noise levels, [n + 1].
        stop_at_step: The step at whose sigma the inversion stops, 0 to n - 1; 0 goes all the way up.

    Returns:
        The noise levels from that step on, [n + 1 - stop_at_step].

    Raises:
        EditError: The sigmas are no schedule, or it has no such step.
    """
    check_sigmas(sigmas)
    if not 0 <= stop_at_step < len(sigmas) - 1:
        raise EditError(f"stop_at_step is {stop_at_step}; this schedule accepts 0 (all the way) to {len(sigmas) - 2}.")
    return sigmas[stop_at_step:]


@torch.no_grad()
def ddim_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    stop_at_step: int = 0,
    callback: OnInvertedStep | None = None,
) -> tuple[Tensor, InversionReport]:
    """Invert the Euler sampler by explicit steps.

    Args:
        denoise: The model.
        x: Picture at sigmas[-1], [B, C, ..., H, W] in model space.
        sigmas: The sampler's own descending noise levels, [n + 1].
        stop_at_step: The step at whose sigma the inversion stops; 0 goes all the way up.
        callback: Called with (step, state) after each step.

    Returns:
        The code at sigmas[stop_at_step], like x, and the report.

    Raises:
        EditError: The sigmas, stop_at_step or x are not accepted, or the model predicts NaN.
    """
    sigmas = remaining_sigmas(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    report = InversionReport("ddim", sigmas.tolist(), first_step=stop_at_step, samples=len(x))
    for i in reversed(range(len(sigmas) - 1)):
        high = sigmas[i]
        low = sigmas[i + 1]
        # The slope has no value at sigma 0.
        at = low if low > 0 else high
        x = x + (high - low) * to_d(x, at, check_prediction(denoise(x, at), at))
        report.calls += 1
        if callback is not None:
            callback(i, x)
    return x, report
