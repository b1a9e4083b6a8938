"""Measure the unit of strength: how far strength 1 carries a finished picture from source to target.

A direction is fitted step by step, but its effect adds up along the way, differently for every attribute. So its unit
is measured on finished pictures, from the same noises:

1. Finish each picture under the source prompt and under the target prompt (trajectories.Endpoints).
2. Finish each picture under the source prompt with the direction applied at some scale (sample_asyrp).
3. Measure how far the edited pictures have come:

       progress = <edited - source, target - source> / |target - source|^2        over all pictures, in model space

   0 is the source's pictures, 1 is as far as the target's.
4. Choose another scale and repeat 2 and 3, until the progress that UNIT asks for is met or lies between that of two
   rounds; MAX_ROUNDS rounds at most.
5. Multiply the direction by the scale that met it, or by the one between the two rounds: strength 1 is now its unit.

A picture is finished in few steps (measured_sigmas): what is measured is a share of the way, and the way is finished in
the same steps. How far noises respond differs much from one to the next, so that more noises tell more than more steps:
python benchmarks/learning_cost.py calibration

UNIT asks for 0.9 of the way. Some pictures always respond weakly, and bringing them all the way would push the others
too far: the last tenth costs more identity than it brings.

A readout saturates: beyond some scale it changes little. Its scale is measured at 80 % progress and multiplied by 1.4
(READOUT_UNIT). A readout answers with a mean, so that going further costs little.

Where the full scale is known, a last round measures it, and what all rounds found is kept with the direction as its
response (core/response.py), from which its strength gets its meaning.

All of this is ours, not the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..response import Response, root_mean_squares
from ..samplers import Run
from .asyrp import sample_asyrp
from .direction import HDirection, moves_h
from .readout_change import ReadoutChange
from .strength import BoundEdit, bind_edit, bottleneck_edit
from .trajectories import Endpoints
from .window import EditWindow

# Rounds of sampling, at most.
MAX_ROUNDS = 3
# Steps that a measured picture takes before the prompts branch, where the direction is applied, and after; chosen by:
# python benchmarks/learning_cost.py calibration
STEPS_BEFORE = 2
STEPS_WITHIN = 4
STEPS_AFTER = 1
# A scale outside of this range is not tried.
SCALE_RANGE = (0.1, 4.0)
# Progress this near to the wanted one is near enough.
PROGRESS_TOLERANCE = 0.02
# From one round to the next the scale is multiplied or divided by this at most.
MAX_RESCALING = 2.0
# A next scale goes this much further than in proportion, so that the wanted progress comes to lie between two rounds.
BEYOND = 1.1
# Between two rounds whose progress differs by no more than this, progress is taken to be linear in the scale.
NEARLY_LINEAR = 0.5
# Progress below this is taken for this where it is divided by.
MIN_PROGRESS = 1e-3


class StrengthUnit(NamedTuple):
    """What strength 1 is: ``times`` the scale at which the edited pictures make ``progress``.

    Attributes:
        progress: The wanted share of the way from source to target.
        times: What the scale that makes it is multiplied by.
    """

    progress: float
    times: float


# Chosen on the embedded model.
UNIT = StrengthUnit(progress=0.9, times=1.0)
# times: python benchmarks/learning_cost.py unit
READOUT_UNIT = StrengthUnit(progress=0.8, times=1.4)


class Calibration(NamedTuple):
    """A direction at its unit of strength.

    Attributes:
        direction: The direction, scaled so that strength 1 is its unit.
        scale: What it was multiplied by.
        progress: The progress at strength 1 / unit_of(direction).times: measured there, or between two scales at which
            it was measured.
    """

    direction: HDirection
    scale: float
    progress: float


class _Round(NamedTuple):
    """A scale that was tried and the progress it made."""

    scale: float
    progress: float


def unit_of(direction: HDirection) -> StrengthUnit:
    """Return UNIT for a direction that moves h, and READOUT_UNIT for readouts alone."""
    return UNIT if moves_h(direction) else READOUT_UNIT


@torch.no_grad()
def calibrate(
    denoise: Denoiser,
    direction: HDirection,
    endpoints: Endpoints,
    window: EditWindow = EditWindow(),
    *,
    full: float | None = None,
    run: Run = Run(),
) -> Calibration:
    """Scale a direction so that strength 1 is its unit; the module's head says how that is measured.

    Args:
        denoise: The model under the source prompt.
        direction: What was learned: a direction, a readout, or a sum of them.
        endpoints: Pictures of both prompts, from the noises that it is measured on.
        window: Where the direction is applied.
        full: The scale, in units of strength, at which the attribute is taken to be there; the direction then carries
            its response. None measures no response.
        run: on_step is called for each model call of each batch of each round.

    Returns:
        The scaled direction. One that cannot get so far is left at the scale that came nearest, within SCALE_RANGE.
    """
    wanted, times = unit_of(direction)
    rounds: list[_Round] = []
    scale = 1.0
    while len(rounds) < MAX_ROUNDS and not _found(rounds, wanted):
        edited = edited_pictures(denoise, direction, scale, endpoints, window=window, run=run)
        rounds.append(_Round(scale, _progress(edited, endpoints)))
        scale = min(max(_next_scale(rounds, wanted), SCALE_RANGE[0]), SCALE_RANGE[1])
    unit = _round_at(rounds, wanted)
    final_scale = times * unit.scale
    direction = direction.scaled(final_scale)
    if full is not None:
        edit = bind_edit(direction, full, endpoints.sigmas.to(run.device), window)
        edited = _finished(denoise, edit, endpoints, window=window, run=run)
        tried = [(scale / final_scale, progress) for scale, progress in rounds]
        change = float(root_mean_squares(edited - endpoints.source).mean())
        response = Response.measured([*tried, (full, _progress(edited, endpoints))], full, change)
        direction = direction.with_response(response)
    return Calibration(direction, final_scale, unit.progress)


def _progress(edited: Tensor, endpoints: Endpoints) -> float:
    """Return the share of the way that edited pictures have come, over all of them."""
    way = endpoints.target - endpoints.source
    return float(((edited - endpoints.source) * way).sum() / way.square().sum())


def measured_sigmas(sigmas: Tensor, first: int, end: int) -> Tensor:
    """Choose the few noise levels on which the unit of strength is measured.

    Args:
        sigmas: Descending noise levels of the schedule, [n + 1].
        first: The step at which the prompts branch.
        end: The step at which the direction is no longer applied.

    Returns:
        Some of these noise levels, among them the first, those of both steps and the last.
    """
    last = len(sigmas) - 1
    parts = [
        torch.linspace(begin, until, min(steps, until - begin) + 1)[1:]
        for begin, until, steps in ((0, first, STEPS_BEFORE), (first, end, STEPS_WITHIN), (end, last, STEPS_AFTER))
    ]
    return sigmas[torch.cat([torch.zeros(1), *parts]).round().long()]


def edited_pictures(
    denoise: Denoiser, direction: HDirection, scale: float, endpoints: Endpoints, *, window: EditWindow, run: Run
) -> Tensor:
    """Finish pictures from where the prompts branch, with a direction applied.

    Args:
        denoise: The model under the source prompt.
        direction: A direction, a readout, or a sum of them.
        scale: What the direction is multiplied by.
        endpoints: Where the pictures start, and their noise levels.
        window: Where the direction is applied.
        run: on_step is called for each model call of each batch.

    Returns:
        The pictures, [B, C, H, W] in model space, on the CPU.
    """
    sigmas = endpoints.sigmas.to(run.device)
    edit = BoundEdit(
        h_edit=bottleneck_edit(direction, scale, sigmas, window),
        change=ReadoutChange.of(direction, scale, window),
        layer=direction.layer,
    )
    return _finished(denoise, edit, endpoints, window=window, run=run)


def _finished(denoise: Denoiser, edit: BoundEdit, endpoints: Endpoints, *, window: EditWindow, run: Run) -> Tensor:
    """Finish pictures with an edit, as edited_pictures does."""
    sigmas = endpoints.sigmas.to(run.device)

    def tick(step: int, x: Tensor, denoised: Tensor) -> None:
        run.tick()
        # A direction that moves h asks the model twice.
        if edit.h_edit is not None and window.edits(sigmas[step]):
            run.tick()

    pictures = []
    for x in endpoints.x.split(run.batch):
        x = x.to(run.device)
        pictures.append(sample_asyrp(denoise, x, sigmas, edit, window, callback=tick).float().cpu())
    return torch.cat(pictures)


def _either_side(rounds: list[_Round], wanted: float) -> tuple[_Round, _Round] | None:
    """Return the nearest rounds below and above the wanted progress; None where there are not both."""
    below = [tried for tried in rounds if tried.progress <= wanted]
    above = [tried for tried in rounds if tried.progress > wanted]
    if not below or not above:
        return None
    return max(below, key=lambda tried: tried.progress), min(above, key=lambda tried: tried.progress)


def _found(rounds: list[_Round], wanted: float) -> bool:
    """Return whether the rounds tell at which scale the wanted progress is made."""
    if any(abs(tried.progress - wanted) < PROGRESS_TOLERANCE for tried in rounds):
        return True
    sides = _either_side(rounds, wanted)
    return sides is not None and sides[1].progress - sides[0].progress <= NEARLY_LINEAR


def _round_at(rounds: list[_Round], wanted: float) -> _Round:
    """Return the scale that makes the wanted progress: of the nearest round, or between two of them."""
    nearest = min(rounds, key=lambda tried: abs(tried.progress - wanted))
    sides = _either_side(rounds, wanted)
    if sides is None or abs(nearest.progress - wanted) < PROGRESS_TOLERANCE:
        return nearest
    return _Round(_between(*sides, wanted), wanted)


def _between(low: _Round, high: _Round, wanted: float) -> float:
    """Interpolate the scale linearly."""
    return low.scale + (high.scale - low.scale) * (wanted - low.progress) / (high.progress - low.progress)


def _next_scale(rounds: list[_Round], wanted: float) -> float:
    """Choose the scale to try next: between two rounds, else in proportion to what is missing and a little further."""
    sides = _either_side(rounds, wanted)
    if sides is not None:
        return _between(*sides, wanted)
    last = rounds[-1]
    factor = wanted / max(last.progress, MIN_PROGRESS)
    factor *= BEYOND if factor > 1 else 1 / BEYOND
    return last.scale * min(max(factor, 1 / MAX_RESCALING), MAX_RESCALING)
