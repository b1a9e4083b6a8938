"""The unit of strength: how far a direction really carries a picture, measured through the whole process.

A direction is fitted step by step, but what it does adds up along the way, differently for every attribute. Here the
edited pictures are compared with those of the target prompt,

    progress = <edited - source, target - source> / |target - source|^2     over finished pictures, model space

and the direction is scaled so that strength 1 makes nine tenths of the way. (Some pictures always make little of it,
and then push the others to more: the last tenth costs more identity than it brings.)
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from .asyrp import Window, direction_edit, direction_reading, sample_asyrp
from .denoiser import Denoiser, euler_step
from .direction import HDirection
from .learning import Trajectories

PROGRESS = 0.9
ROUNDS = 4
COUNT = 32  # noises it is measured on
FEW = 16    # and a readout, which learns in less time than that
READ_UNIT = 1.5  # of this, a readout's strength 1: it answers with a mean, and going further costs it little
SCALES = (0.1, 4.0)


@torch.no_grad()
def calibrate(denoise: Denoiser, direction: HDirection, trajectories: Trajectories, window: Window = Window(), count: int = COUNT, batch: int = 8,
              flow: bool = False, progress: float = PROGRESS, device: torch.device | str = "cpu",
              callback: Callable[[], None] | None = None) -> tuple[HDirection, float, float]:
    """The direction scaled to make ``progress`` of the way at strength 1; also the factor, and the progress measured there.

    denoise: under the source prompt. The first ``count`` of the recorded noises are sampled, ROUNDS times at most,
    ``batch`` at a time; callback() after each of their steps. A direction that cannot get so far is left where it
    came nearest, within SCALES.
    """
    sampled = trajectories.x.shape[1] // 2
    rows = torch.arange(min(count, sampled))
    last = (trajectories.sigmas[-2], trajectories.sigmas[-1])
    source = euler_step(trajectories.x[-1, rows], trajectories.source[-1, rows], *last)
    way = euler_step(trajectories.x[-1, sampled + rows], trajectories.target[-1, sampled + rows], *last) - source
    sigmas = trajectories.sigmas.to(device)

    def finished(scale: float, x: Tensor) -> Tensor:
        edit, reading = direction_edit(direction, scale, sigmas, window), direction_reading(direction, scale, window)
        return sample_asyrp(denoise, x.to(device), sigmas, edit, window, flow=flow, reading=reading, callback=callback and (lambda *_: callback())).float().cpu()

    scale, tried = 1.0, []
    for _ in range(ROUNDS):
        moved = torch.cat([finished(scale, x) for x in trajectories.x[0, rows].split(batch)]) - source
        tried.append((scale, float((moved * way).sum() / way.square().sum())))
        if abs(tried[-1][1] - progress) < 0.02:
            break
        scale = min(max(_next_scale(tried, progress), SCALES[0]), SCALES[1])
    scale, made = min(tried, key=lambda pair: abs(pair[1] - progress))
    return direction.scaled(scale), scale, made


def _next_scale(tried: list[tuple[float, float]], progress: float) -> float:
    """Between the nearest scales on either side, where there are such; else in proportion, by a factor of two at most."""
    below, above = ([pair for pair in tried if (pair[1] > progress) == side] for side in (False, True))
    if below and above:
        (low, little), (high, much) = max(below, key=lambda pair: pair[1]), min(above, key=lambda pair: pair[1])
        return low + (high - low) * (progress - little) / (much - little)
    scale, made = tried[-1]
    return scale * min(max(progress / max(made, 1e-3), 0.5), 2.0)
