"""From a picture to the code from which a stock sampler gives the picture back.

A step from sigma_hi to sigma_lo is x_lo = x_hi + (sigma_lo - sigma_hi) * slope(x_hi). DDIM inversion evaluates the slope
at x_lo instead of the unknown x_hi and so drifts; here each step is solved for x_hi. Everything is in model space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_latent
from ..samplers import SAMPLERS, Sampler, sampler_named, to_float64
from .anderson import Solution, solve
from .ddim import _descending
from .report import QUALITIES, InversionReport, Quality

METHODS = ("fixed_point", "ddim")


@torch.no_grad()
def fixed_point_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    tolerance: float = QUALITIES["good"].tolerance,
    max_iterations: int = QUALITIES["good"].max_iterations,
    stop_at_step: int = 0,
    sampler: str = "euler",
    callback: Callable[[int, Tensor], None] | None = None,
) -> tuple[Tensor, InversionReport]:
    """Solve every step of ``sampler`` for its input by Anderson-accelerated fixed-point iteration.

    x_hi = x_lo + (sigma_hi - sigma_lo) * slope(x_hi), from a guess that carries the denoised prediction on linearly in
    log sigma, until |residual| < tolerance * |x_lo| for every sample or max_iterations evaluations. A multistep
    sampler's slope depends on the steps above, which are not known yet, so its whole trajectory is one fixed point,
    begun at Euler's. Same arguments and return as ddim_inversion; what could not be solved is named in the report, never
    hidden. callback(i, x) comes after each solved step, and with i = 0 after each round of a multistep sampler.
    The state is float64 where the device has it, the model runs in x's own precision.
    Raises EditError as ddim_inversion does, for a sampler without inverse, and when the prediction is not finite.
    """
    method, sigmas = sampler_named(sampler), _descending(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    report = InversionReport("fixed_point", sigmas.tolist(), sampler, first_step=stop_at_step, samples=len(x))
    end = to_float64(x)
    levels, quality = sigmas.to(end), Quality(tolerance, max_iterations)

    def precise(y: Tensor, sigma: Tensor) -> Tensor:
        report.calls += 1
        return denoise(y.to(x.dtype), sigma.to(sigmas)).to(y)

    if method.multistep:
        start = _solve_in_turn(precise, end, levels, SAMPLERS["euler"], QUALITIES["fast"], report, callback)
        states = _solve_together(precise, start, levels, method, quality, report, callback)
    else:
        states = _solve_in_turn(precise, end, levels, method, quality, report, callback)
    return states[0].to(x.dtype), report


def _solve_in_turn(
    denoise: Denoiser,
    end: Tensor,
    levels: Tensor,
    sampler: Sampler,
    quality: Quality,
    report: InversionReport,
    callback,
) -> list[Tensor]:
    """The states of all levels, each step solved for its input from the last to the first."""
    n = len(levels) - 1
    states, effective = [end] * (n + 1), {}
    report.residuals = [0.0] * n
    for i in reversed(range(n)):
        below, gap = states[i + 1], levels[i] - levels[i + 1]

        def g(x: Tensor) -> Tensor:
            return below + gap * sampler.slope(denoise, x, levels, i, None)[0]

        # Relative to what the step returns: at the first sigmas of some schedules, x is a thousand times larger.
        size = (
            below.flatten(1).norm(dim=1).clamp(min=1e-3 * below[0].numel() ** 0.5)
        )  # of an empty picture, a thousandth
        solution = solve(g, _guess(below, effective, levels, i), *quality, size=size)
        _check_finite(solution, levels[i])
        states[i] = solution.x
        effective[i] = solution.x - levels[i] * (solution.x - below) / gap
        report.residuals[i] = solution.residual.max().item()
        if not solution.solved.all():
            report.capped[i] = int((~solution.solved).sum())
        if callback is not None:
            callback(i, solution.x)
    return states


def _guess(below: Tensor, effective: dict[int, Tensor], levels: Tensor, i: int) -> Tensor:
    """The x_hi that steps to ``below`` if its effective D, x - sigma * slope, lies on the line, in log sigma, through the last two."""
    if i + 1 not in effective:
        return below
    expected, high, low = effective[i + 1], levels[i], levels[i + 1]
    if i + 2 in effective:
        expected = expected + (expected - effective[i + 2]) * ((high / low).log() / (low / levels[i + 2]).log())
    return (high * below - (high - low) * expected) / low


def _solve_together(
    denoise: Denoiser,
    states: list[Tensor],
    levels: Tensor,
    sampler: Sampler,
    quality: Quality,
    report: InversionReport,
    callback,
) -> list[Tensor]:
    """The states of all levels as one fixed point: all slopes at the old states, then the states they lead up to."""
    n, end = len(levels) - 1, states[-1]
    scale = (1 + levels[:-1] ** 2).sqrt().reshape(-1, *[1] * (end.ndim - 1))

    def g(stacked: Tensor) -> Tensor:
        slopes, old = [], None
        for i, x in enumerate((stacked * scale).unbind(1)):
            slope, old = sampler.slope(denoise, x, levels, i, old)
            slopes.append(slope)
        above = [end]
        for i in reversed(range(n)):
            above.append(above[-1] + (levels[i] - levels[i + 1]) * slopes[i])
        if callback is not None:
            callback(0, above[-1])
        return torch.stack(above[:0:-1], dim=1) / scale

    # What is far from contracting makes no progress for a while and then all of it: patience is for single steps.
    solution = solve(
        g, torch.stack(states[:-1], dim=1) / scale, quality.tolerance, quality.rounds, depth=8, patience=quality.rounds
    )
    _check_finite(solution, levels[0])
    report.residuals, report.capped = [solution.residual.max().item()], {}
    if not solution.solved.all():
        report.notes.append(
            f"not solved to tolerance: the trajectory of {int((~solution.solved).sum())} of {len(end)}. The way back is off by about the "
            f"residual above: lower the guidance, take more steps or a smoother schedule (karras), or invert for euler."
        )
    return [*(solution.x * scale).unbind(1), end]


def _check_finite(solution: Solution, sigma: Tensor) -> None:
    if not torch.isfinite(solution.residual).all():
        raise EditError(
            f"The model's prediction is not finite at sigma {float(sigma):.4g}; check the model, its precision and the latent."
        )
