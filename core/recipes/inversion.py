"""Invert a picture by any method, and measure how exactly it comes back. The one recipe of nodes and library."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError
from ..inversion.ddim import ddim_inversion, remaining_sigmas
from ..inversion.fixed_point import fixed_point_inversion
from ..inversion.report import QUALITIES, InversionReport, Quality, round_trip_psnr
from ..inversion.trace import Trace
from ..inversion.traced import sample_traced, traced_inversion
from ..samplers import OnState, OnStep, is_euler, sample, sampler_named

FIXED_POINT = "fixed_point"
DDIM = "ddim"
TRACED = "traced"
INVERSION_METHODS = (FIXED_POINT, DDIM, TRACED)


class Inverted(NamedTuple):
    """An inverted picture.

    Attributes:
        code: The code at the first remaining sigma, [B, C, ..., H, W] in model space.
        report: What the inversion cost, and how exactly the picture came back.
        trace: The trace, of method traced; None for the others.
        rebuilt: What the sampler gave back, like x, where that was measured.
    """

    code: Tensor
    report: InversionReport
    trace: Trace | None = None
    rebuilt: Tensor | None = None


@torch.no_grad()
def invert(  # noqa: C901, PLR0913
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    method: str = FIXED_POINT,
    *,
    quality: Quality = QUALITIES["good"],
    stop_at_step: int = 0,
    sampler: str = "euler",
    seed: int = 0,
    measure: bool = True,
    on_step: OnStep | None = None,
    callback: OnState | None = None,
) -> Inverted:
    """Invert pictures.

    Args:
        denoise: The model.
        x: Pictures at sigmas[-1], [B, C, ..., H, W] in model space.
        sigmas: The sampler's own descending noise levels, [n + 1].
        method: One of INVERSION_METHODS.
        quality: How exactly fixed_point solves its steps.
        stop_at_step: The step at whose sigma the inversion stops; 0 goes all the way up.
        sampler: The sampler of the way back: a name in SAMPLERS, or "ddim". Only fixed_point inverts others than euler.
        seed: Seed of the noise that method traced draws for its first step.
        measure: Whether the way back is sampled once, to report how exactly the pictures come back, and whether the
            residuals of fixed_point are measured, not estimated.
        on_step: Called for each inverted step and each measured one; see inversion_steps.
        callback: Called with (step, state, denoised) for each step of the measured way back.

    Returns:
        The code, the report, the trace, and the pictures that came back.

    Raises:
        EditError: The method is unknown or does not invert the sampler, or the inversion does not accept x or sigmas.
    """
    if method not in INVERSION_METHODS:
        raise EditError(f"method is '{method}'; {', '.join(INVERSION_METHODS)} are accepted.")
    if method != FIXED_POINT and not is_euler(sampler):
        raise EditError(
            f"method {method} inverts euler, but the sampler is '{sampler}'; use fixed_point, or sample by euler."
        )
    remaining = remaining_sigmas(sigmas, stop_at_step)

    def advance(*step: object) -> None:
        if on_step is not None:
            on_step()

    trace = None
    if method == TRACED:
        trace, report = traced_inversion(denoise, x, sigmas, stop_at_step=stop_at_step, seed=seed, callback=advance)
        code = trace.code.to(x)
    elif method == DDIM:
        code, report = ddim_inversion(denoise, x, sigmas, stop_at_step=stop_at_step, callback=advance)
    else:
        code, report = fixed_point_inversion(
            denoise,
            x,
            sigmas,
            quality,
            stop_at_step=stop_at_step,
            sampler=sampler,
            measured=measure,
            callback=advance,
        )
    if not measure:
        return Inverted(code, report, trace)

    def advance_back(i: int, state: Tensor, denoised: Tensor) -> None:
        advance()
        if callback is not None:
            callback(i, state, denoised)

    if trace is not None:
        rebuilt = sample_traced(denoise, trace, code, remaining, advance_back)
    else:
        rebuilt = sample(denoise, code, remaining, sampler, advance_back)
    report.round_trip = round_trip_psnr(x, rebuilt)
    return Inverted(code, report, trace, rebuilt)


def inversion_steps(sigmas: Tensor, method: str, quality: Quality, sampler: str, *, measure: bool) -> int:
    """Count how often invert calls on_step, at most: the total of a progress bar.

    Args:
        sigmas: The noise levels of the inverted steps, [n + 1].
        method: One of INVERSION_METHODS.
        quality: How exactly fixed_point solves its steps.
        sampler: The sampler of the way back.
        measure: Whether the way back is sampled once.

    Returns:
        Inverted steps, rounds over a whole trajectory, and steps of the way back.
    """
    steps = len(sigmas) - 1
    rounds = quality.rounds if method == FIXED_POINT and sampler_named(sampler).multistep else 0
    return steps + rounds + (steps if measure else 0)
