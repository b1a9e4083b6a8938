"""Fixed-point inversion: the code from which a stock sampler returns the picture.

A step from sigma_hi to sigma_lo is x_lo = x_hi + (sigma_lo - sigma_hi) * slope(x_hi). DDIM inversion evaluates the
slope at x_lo instead of the unknown x_hi and so drifts. Here each step is solved for x_hi, as the fixed point of

    x_hi = x_lo + (sigma_hi - sigma_lo) * slope(x_hi)

by Anderson acceleration (anderson.py). A multistep sampler's slope depends on the steps above, which are not known yet,
so its whole trajectory is one fixed point. The idea to solve for the input is not new; the guesses, the iteration and
the stopping rule are ours. Everything is in model space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, HEdit, guidance_of, precision_of
from ..errors import check_latent, check_prediction
from ..samplers import SAMPLERS, Sampler, sampler_named, to_float64
from .anderson import PATIENCE, FixedPointMap, solve
from .ddim import remaining_sigmas
from .precision import reachable_residual
from .report import QUALITIES, InversionReport, OnInvertedStep, Quality

# Residuals are relative to the norm of what a step returns, and for an empty picture to a latent of this
# root mean square.
MIN_RMS = 1e-3

# States the solver remembers where a whole trajectory is one fixed point; chosen on the embedded model.
TRAJECTORY_DEPTH = 8

# Evaluations without improvement after which a step is stuck whose tolerance is below what the model's precision is
# known to reach: it has come to the rounding, where more of them only cost. The usual five take up to twice the calls
# for residuals that are a twentieth smaller: python benchmarks/half_precision.py --patience 5
ROUNDING_PATIENCE = 2


class _Problem(NamedTuple):
    """What is to be inverted: the picture ``end`` at the last of ``levels``, in the precision of the solver.

    ``reach`` is the residual to which the model's own rounding lets a step be solved.
    """

    denoise: Denoiser
    end: Tensor
    levels: Tensor
    report: InversionReport
    callback: OnInvertedStep | None
    measured: bool
    reach: float


@torch.no_grad()
def fixed_point_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    quality: Quality = QUALITIES["good"],
    *,
    stop_at_step: int = 0,
    sampler: str = "euler",
    measured: bool = False,
    callback: OnInvertedStep | None = None,
) -> tuple[Tensor, InversionReport]:
    """Invert a sampler by solving every step for its input.

    The state is float64 where the device has it; the model runs in the precision of x.

    Args:
        denoise: The model.
        x: Picture at sigmas[-1], [B, C, ..., H, W] in model space.
        sigmas: The sampler's own descending noise levels, [n + 1].
        quality: Each sample of a step is solved until |residual| < tolerance * |x_lo|, or for max_iterations
            evaluations.
        stop_at_step: The step at whose sigma the inversion stops; 0 goes all the way up.
        sampler: A name in SAMPLERS, or "ddim".
        measured: Whether the residuals of the report are measured at the answer, for up to one evaluation a step more,
            and not expected of an iterate after the last evaluation.
        callback: Called with (step, state) after each solved step, and with step 0 after each round over the
            trajectory of a multistep sampler.

    Returns:
        The code at sigmas[stop_at_step], like x, and the report, which names every step that could not be solved.

    Raises:
        EditError: The sigmas, stop_at_step or x are not accepted, the sampler has no inverse, or the model's
            prediction is not finite.
    """
    method = sampler_named(sampler)
    sigmas = remaining_sigmas(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    report = InversionReport("fixed_point", sigmas.tolist(), sampler, first_step=stop_at_step, samples=len(x))
    report.measured = measured
    report.precision = precision_of(denoise)
    report.reach = reachable_residual(report.precision, guidance_of(denoise))
    end = to_float64(x)
    dtype = x.dtype

    def counted(x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        report.calls += 1
        return denoise(x.to(dtype), sigma.to(sigmas)).to(x)

    problem = _Problem(counted, end, sigmas.to(end), report, callback, measured, report.reach)
    if method.multistep:
        guess = _solve_steps(problem._replace(measured=False), SAMPLERS["euler"], QUALITIES["fast"])
        states = _solve_trajectory(problem, method, quality, guess)
    else:
        states = _solve_steps(problem, method, quality)
    return states[0].to(dtype), report


def _solve_steps(problem: _Problem, sampler: Sampler, quality: Quality) -> list[Tensor]:
    """Solve each step for its input, from the last to the first, and return the states at all levels."""
    levels = problem.levels
    report = problem.report
    n = len(levels) - 1
    states = [problem.end] * (n + 1)
    effective: dict[int, Tensor] = {}
    report.residuals = [0.0] * n
    for i in reversed(range(n)):
        below = states[i + 1]

        # Residuals are relative to what the step returns: at the first sigmas of some schedules, x_hi is a thousand
        # times larger.
        size = below.flatten(1).norm(dim=1).clamp(min=MIN_RMS * below[0].numel() ** 0.5)
        g = _step_map(problem, sampler, i, below)
        solution = solve(
            g,
            _guess(below, effective, levels, i),
            quality.tolerance,
            quality.max_iterations,
            patience=PATIENCE if quality.tolerance > problem.reach else ROUNDING_PATIENCE,
            size=size,
            measured=problem.measured,
        )
        check_prediction(solution.residual, levels[i])

        states[i] = solution.x
        effective[i] = solution.x - levels[i] * (solution.x - below) / (levels[i] - levels[i + 1])
        report.residuals[i] = solution.residual.max().item()
        if not solution.solved.all():
            report.capped[i] = int((~solution.solved).sum())
        if problem.callback is not None:
            problem.callback(i, solution.x)
    return states


def _step_map(problem: _Problem, sampler: Sampler, i: int, below: Tensor) -> FixedPointMap:
    """Return the map whose fixed point is the state from which step i leads to ``below``."""
    levels = problem.levels
    gap = levels[i] - levels[i + 1]

    def g(x: Tensor) -> Tensor:
        slope, _ = sampler.slope(problem.denoise, x, levels, i, None)
        return below + gap * slope

    return g


def _guess(below: Tensor, effective: dict[int, Tensor], levels: Tensor, i: int) -> Tensor:
    """Guess the state from which step i leads to ``below``.

    The effective D of a step is x - sigma * slope. It is carried on linearly in log sigma from the last two solved
    steps, ``effective[i + 1]`` and ``effective[i + 2]``.
    """
    if i + 1 not in effective:
        return below
    high = levels[i]
    low = levels[i + 1]
    expected = effective[i + 1]
    if i + 2 in effective:
        ratio = (high / low).log() / (low / levels[i + 2]).log()
        expected = expected + (expected - effective[i + 2]) * ratio
    return (high * below - (high - low) * expected) / low


def _solve_trajectory(problem: _Problem, sampler: Sampler, quality: Quality, guess: list[Tensor]) -> list[Tensor]:
    """Solve for the states at all levels as one fixed point, and return them.

    A round takes all slopes at the old states, and then the new states that these slopes lead up to. The states are
    divided by sqrt(1 + sigma^2), so that each counts alike in the residual.
    """
    levels = problem.levels
    end = problem.end
    report = problem.report
    n = len(levels) - 1
    scale = (1 + levels[:-1] ** 2).sqrt().reshape(-1, *[1] * (end.ndim - 1))

    def g(stacked: Tensor) -> Tensor:
        slopes = []
        old_denoised = None
        for i, x in enumerate((stacked * scale).unbind(1)):
            slope, old_denoised = sampler.slope(problem.denoise, x, levels, i, old_denoised)
            slopes.append(slope)
        states = [end]
        for i in reversed(range(n)):
            states.append(states[-1] + (levels[i] - levels[i + 1]) * slopes[i])
        if problem.callback is not None:
            problem.callback(0, states[-1])
        # From the first level to the last but one; the picture itself is given.
        return torch.stack(states[:0:-1], dim=1) / scale

    # A trajectory may be far from contracting: it then makes no progress for a while and all of it afterwards. So it
    # is never given up early, as single steps are.
    solution = solve(
        g,
        torch.stack(guess[:-1], dim=1) / scale,
        quality.tolerance,
        quality.rounds,
        depth=TRAJECTORY_DEPTH,
        patience=quality.rounds,
        measured=problem.measured,
    )
    check_prediction(solution.residual, levels[0])
    report.residuals = [solution.residual.max().item()]
    report.capped = {}
    if not solution.solved.all():
        unsolved = int((~solution.solved).sum())
        report.notes.append(
            f"not solved to tolerance: the trajectory of {unsolved} of {len(end)}. The way back is off by about the "
            "residual above: lower the guidance, take more steps or a smoother schedule (karras), or invert for euler."
        )
    return [*(solution.x * scale).unbind(1), end]
