"""The unit of strength: how far a direction really carries a picture, measured through the whole process.

A direction is fitted step by step, but what it does adds up along the way, differently for every attribute. Here the
edited pictures are compared with those of the target prompt,

    progress = <edited - source, target - source> / |target - source|^2     over finished pictures, model space

and a direction that moves h is scaled so that strength 1 makes nine tenths of the way. (Some pictures always make little
of it, and then push the others to more: the last tenth costs more identity than it brings.) A readout soon moves hardly
more, whatever its scale, so that its scale is found a little earlier, at eight tenths, and multiplied: it answers with a
mean, and going further costs it little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from .asyrp import sample_asyrp
from .direction import HDirection
from .strength import bottleneck_edit, prediction_change
from .trajectories import Endpoints
from .window import EditWindow

MAX_ROUNDS = 4
SCALE_RANGE = (0.1, 4.0)


class StrengthUnit(NamedTuple):
    """Strength 1 is ``times`` the scale that makes ``progress`` of the way."""

    progress: float
    times: float


UNIT, READ_UNIT = StrengthUnit(0.9, 1.0), StrengthUnit(0.8, 2.1)


def unit_of(direction: HDirection) -> StrengthUnit:
    """UNIT for a direction that moves h, READ_UNIT for readouts alone."""
    return UNIT if any(part.moves_h for _, part in direction.parts) else READ_UNIT


@torch.no_grad()
def calibrate(
    denoise: Denoiser,
    direction: HDirection,
    ends: Endpoints,
    window: EditWindow = EditWindow(),
    batch: int = 8,
    flow: bool = False,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> tuple[HDirection, float, float]:
    """The direction scaled to its unit; also the factor, and the progress measured at strength 1 / unit_of(direction).times.

    denoise: under the source prompt. Sampled ROUNDS times at most, ``batch`` at a time; callback() after each step. A
    direction that cannot get so far is left where it came nearest, within SCALES.
    """
    way, sigmas = ends.target - ends.source, ends.sigmas.to(device)
    progress, times = unit_of(direction)

    def finished(scale: float, x: Tensor) -> Tensor:
        edit, reading = bottleneck_edit(direction, scale, sigmas, window), prediction_change(direction, scale, window)
        return (
            sample_asyrp(
                denoise,
                x.to(device),
                sigmas,
                edit,
                window,
                flow=flow,
                reading=reading,
                callback=callback and (lambda *_: callback()),
            )
            .float()
            .cpu()
        )

    scale, tried = 1.0, []
    for _ in range(MAX_ROUNDS):
        moved = torch.cat([finished(scale, x) for x in ends.x.split(batch)]) - ends.source
        tried.append((scale, float((moved * way).sum() / way.square().sum())))
        if abs(tried[-1][1] - progress) < 0.02:
            break
        scale = min(max(_next_scale(tried, progress), SCALE_RANGE[0]), SCALE_RANGE[1])
    scale, made = min(tried, key=lambda pair: abs(pair[1] - progress))
    return direction.scaled(times * scale), times * scale, made


def _next_scale(tried: list[tuple[float, float]], progress: float) -> float:
    """Between the nearest scales on either side, where there are such; else in proportion, by a factor of two at most."""
    below, above = ([pair for pair in tried if (pair[1] > progress) == side] for side in (False, True))
    if below and above:
        (low, little), (high, much) = max(below, key=lambda pair: pair[1]), min(above, key=lambda pair: pair[1])
        return low + (high - low) * (progress - little) / (much - little)
    scale, made = tried[-1]
    return scale * min(max(progress / max(made, 1e-3), 0.5), 2.0)
