"""The unit of strength: how far a direction really carries a picture, measured through the whole process.

A direction is fitted step by step, but what it does adds up along the way, differently for every attribute. Here the
edited pictures are compared with those of the target prompt,

    progress = <edited - source, target - source> / |target - source|^2     over finished pictures, model space

and the direction is scaled to the rate at which it made four fifths of the way: strength 1 is the whole way, as far
as progress stays proportional to strength, which it does not quite do towards the end.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor

from .asyrp import Window, direction_edit, sample_asyrp
from .denoiser import Denoiser, euler_step
from .direction import HDirection
from .learning import Trajectories

# Where the rate is measured: far enough to be about the whole edit, before it saturates.
PROGRESS = 0.8
ROUNDS = 4
COUNT = 32  # noises it is measured on
SCALES = (0.1, 4.0)


@torch.no_grad()
def calibrate(denoise: Denoiser, direction: HDirection, trajectories: Trajectories, window: Window = Window(), count: int = COUNT, batch: int = 8,
              flow: bool = False, progress: float = PROGRESS, device: torch.device | str = "cpu",
              callback: Callable[[], None] | None = None) -> tuple[HDirection, float, float]:
    """The direction scaled to unit progress per strength; also the factor, and the progress its rate was measured at.

    denoise: under the source prompt. The first ``count`` of the recorded noises are sampled, ROUNDS times at most,
    ``batch`` at a time; callback() after each of their steps. A direction that cannot get so far is measured where it
    came nearest, within SCALES, and is never scaled up by more than their upper end.
    """
    sampled = trajectories.x.shape[1] // 2
    rows = torch.arange(min(count, sampled))
    last = (trajectories.sigmas[-2], trajectories.sigmas[-1])
    source = euler_step(trajectories.x[-1, rows], trajectories.source[-1, rows], *last)
    way = euler_step(trajectories.x[-1, sampled + rows], trajectories.target[-1, sampled + rows], *last) - source
    sigmas = trajectories.sigmas.to(device)

    def finished(scale: float, x: Tensor) -> Tensor:
        edit = direction_edit(direction, scale, sigmas, window)
        return sample_asyrp(denoise, x.to(device), sigmas, edit, window, flow=flow, callback=callback and (lambda *_: callback())).float().cpu()

    scale, tried = 1.0, []
    for _ in range(ROUNDS):
        moved = torch.cat([finished(scale, x) for x in trajectories.x[0, rows].split(batch)]) - source
        made = float((moved * way).sum() / way.square().sum())
        tried.append((abs(made - progress), scale, made))
        if abs(made - progress) < 0.03:
            break
        # Nearly proportional, less so when large; what hardly moves, or backwards, is pushed harder.
        scale = min(max(scale * min(max(progress / max(made, 1e-3), 0.5), 2.0), SCALES[0]), SCALES[1])
    _, scale, made = min(tried)
    factor = min(scale / max(made, 1e-3), SCALES[1])
    return direction.scaled(factor), factor, made
