"""Measure the unit of strength: how far strength 1 carries a finished picture from source to target.

A direction is fitted step by step, but its effect adds up along the way, differently for every attribute. So its unit
is measured on finished pictures, from the same noises:

1. Finish each picture under the source prompt and under the target prompt (trajectories.Endpoints).
2. Finish each picture under the source prompt with the direction applied at some scale (sample_asyrp).
3. Measure how far the edited pictures have come:

       progress = <edited - source, target - source> / |target - source|^2        over all pictures, in model space

   0 is the source's pictures, 1 is as far as the target's.
4. Until progress is what UNIT asks for, choose another scale and repeat 2 and 3; MAX_ROUNDS rounds at most.
5. Multiply the direction by the scale that came nearest: strength 1 is now its unit.

UNIT asks for 0.9 of the way. Some pictures always respond weakly, and bringing them all the way would push the others
too far: the last tenth costs more identity than it brings.

A readout saturates: beyond some scale it changes little. Its scale is measured at 80 % progress and multiplied by 2.1
(READOUT_UNIT). A readout answers with a mean, so that going further costs little.

All of this is ours, not the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..samplers import Run
from .asyrp import sample_asyrp
from .direction import DeltaDirection, HDirection
from .strength import BoundEdit, bottleneck_edit, prediction_change
from .trajectories import Endpoints
from .window import EditWindow

# Rounds of sampling, at most.
MAX_ROUNDS = 4
# A scale outside of this range is not tried.
SCALE_RANGE = (0.1, 4.0)
# Progress this near to the wanted one is near enough.
PROGRESS_TOLERANCE = 0.02
# From one round to the next the scale is multiplied or divided by this at most.
MAX_RESCALING = 2.0
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


# Both were chosen on the embedded model.
UNIT = StrengthUnit(progress=0.9, times=1.0)
READOUT_UNIT = StrengthUnit(progress=0.8, times=2.1)


class Calibration(NamedTuple):
    """A direction at its unit of strength.

    Attributes:
        direction: The direction, scaled so that strength 1 is its unit.
        scale: What it was multiplied by.
        progress: The progress that was measured at strength 1 / unit_of(direction).times.
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
    moves_h = any(isinstance(part, DeltaDirection) for _, part in direction.parts)
    return UNIT if moves_h else READOUT_UNIT


@torch.no_grad()
def calibrate(
    denoise: Denoiser,
    direction: HDirection,
    endpoints: Endpoints,
    window: EditWindow = EditWindow(),
    *,
    run: Run = Run(),
) -> Calibration:
    """Scale a direction so that strength 1 is its unit; the module's head says how that is measured.

    Args:
        denoise: The model under the source prompt.
        direction: What was learned: a direction, a readout, or a sum of them.
        endpoints: Pictures of both prompts, from the noises that it is measured on.
        window: Where the direction is applied.
        run: on_step is called for each step of each batch of each round.

    Returns:
        The scaled direction. One that cannot get so far is left at the scale that came nearest, within SCALE_RANGE.
    """
    wanted, times = unit_of(direction)
    way = endpoints.target - endpoints.source
    scale = 1.0
    rounds: list[_Round] = []
    for _ in range(MAX_ROUNDS):
        moved = _edited_pictures(denoise, direction, scale, endpoints, window=window, run=run) - endpoints.source
        progress = float((moved * way).sum() / way.square().sum())
        rounds.append(_Round(scale, progress))
        if abs(progress - wanted) < PROGRESS_TOLERANCE:
            break
        scale = min(max(_next_scale(rounds, wanted), SCALE_RANGE[0]), SCALE_RANGE[1])
    nearest = min(rounds, key=lambda tried: abs(tried.progress - wanted))
    final_scale = times * nearest.scale
    return Calibration(direction.scaled(final_scale), final_scale, nearest.progress)


def _edited_pictures(
    denoise: Denoiser, direction: HDirection, scale: float, endpoints: Endpoints, *, window: EditWindow, run: Run
) -> Tensor:
    """Finish the pictures from where the prompts branch, with the direction applied at a scale, [B, C, H, W]."""
    sigmas = endpoints.sigmas.to(run.device)
    edit = BoundEdit(
        h_edit=bottleneck_edit(direction, scale, sigmas, window),
        change=prediction_change(direction, scale, window),
    )
    pictures = []
    for x in endpoints.x.split(run.batch):
        x = x.to(run.device)
        pictures.append(sample_asyrp(denoise, x, sigmas, edit, window, callback=run.on_state).float().cpu())
    return torch.cat(pictures)


def _next_scale(rounds: list[_Round], wanted: float) -> float:
    """Choose the scale to try next.

    Between the nearest rounds on either side of the wanted progress where there are such, by linear interpolation;
    else in proportion to what is missing.
    """
    below = [tried for tried in rounds if tried.progress <= wanted]
    above = [tried for tried in rounds if tried.progress > wanted]
    if below and above:
        low = max(below, key=lambda tried: tried.progress)
        high = min(above, key=lambda tried: tried.progress)
        return low.scale + (high.scale - low.scale) * (wanted - low.progress) / (high.progress - low.progress)
    last = rounds[-1]
    factor = wanted / max(last.progress, MIN_PROGRESS)
    return last.scale * min(max(factor, 1 / MAX_RESCALING), MAX_RESCALING)
