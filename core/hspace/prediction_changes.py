"""Record what a readout is learned from: bottlenecks under the source prompt, and what the target prompt would change.

Each noise is carried under the source prompt to where the prompts branch, and is then recorded on a few steps only:
a new noise is more informative than the next step of the same one. From there on half of the trajectories drift
towards the target, as an edited one will: at most of their recorded steps they follow the target prompt.

All of this is ours, not the paper's. Every tensor but h is in model space.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, guidance_of, read_bottleneck
from ..errors import EditError, check_sigmas
from ..samplers import Run, euler_step

# Steps of a noise that are recorded, where the window holds so many. At equal evaluations two steps of many noises
# teach more than more steps of fewer: python benchmarks/learning_cost.py states
STATES = 2
# Probability that a trajectory is one of those that drift towards the target. This and the next number were chosen on
# the embedded model.
DRIFTING = 0.5
# Probability that a drifting trajectory follows the target prompt at a recorded step.
FOLLOWING = 0.8
# Recorded rows are kept in half precision: they fill the memory, and a regression averages their rounding away.
# bfloat16 holds any number that a model computes in float32; float16 would overflow beyond 65504.
RECORDED = torch.bfloat16
# Numbers that are looked at once, so that no float32 copy of everything that was recorded is made.
CHUNK = 1 << 22


@dataclass
class PredictionChanges:
    """What a readout is learned from: N recorded states. On the CPU.

    Attributes:
        sigmas: Noise levels of every step in the window, recorded or not, descending, [S].
        h: Bottleneck under the source prompt, [N, Ch, h, w] in bfloat16.
        change: (D_target - D_source) / guidance, [N, C, H, W] in bfloat16.
        sigma: Noise level of each state, [N].
        noise: Which starting noise each state comes from, [N].
    """

    sigmas: Tensor
    h: Tensor
    change: Tensor
    sigma: Tensor
    noise: Tensor


class RecordedBatch(NamedTuple):
    """Noises that are recorded together.

    Attributes:
        size: How many noises.
        steps: The steps that they take, in rising order, the first of them from pure noise.
    """

    size: int
    steps: list[int]


def recorded_batches(count: int, batch: int, first: int, end: int) -> list[RecordedBatch]:
    """Divide noises into batches, and say which steps each takes.

    Args:
        count: Noises.
        batch: Noises that are sampled at once, at most. Batches are smaller where few noises could not show every
            step otherwise.
        first: The first step that is recorded. Those before it are taken under the source prompt alone.
        end: The step at which recording ends.

    Returns:
        The batches. Each begins one step later than the one before, so that together they record every step.
    """
    stride = max(1, -(-(end - first) // STATES))
    size = max(1, min(batch, count // stride))
    sizes = [min(size, count - begin) for begin in range(0, count, size)]
    return [RecordedBatch(rows, sorted({0, *range((first + k) % stride, end, stride)})) for k, rows in enumerate(sizes)]


def learned_steps(sigmas: Tensor, branch_sigma: float, end_sigma: float) -> tuple[int, int]:
    """Return the first step with end_sigma < sigma <= branch_sigma, and the one after the last.

    Args:
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: Steps above this sigma are not recorded.
        end_sigma: Steps at or below this sigma are not recorded.

    Raises:
        EditError: No step lies there, or sigmas is not a descending schedule.
    """
    check_sigmas(sigmas)
    window = [i for i, sigma in enumerate(sigmas[:-1].tolist()) if end_sigma < sigma <= branch_sigma]
    if not window:
        raise EditError(
            f"No step of this schedule lies between sigma {branch_sigma:.4g}, where the two prompts branch, and "
            f"{end_sigma:.4g}, where learning ends; widen the window."
        )
    return window[0], window[-1] + 1


@torch.no_grad()
def record_prediction_changes(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    branch_sigma: float = float("inf"),
    end_sigma: float = 0.0,
    seed: int = 0,
    run: Run = Run(),
) -> PredictionChanges:
    """Sample from noise, and record the bottleneck and what the target prompt would change.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        noise: Starting noises at sigmas[0], [B, C, H, W].
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: Steps above this sigma are not recorded.
        end_sigma: Steps at or below this sigma are not recorded.
        seed: Seed of which trajectories drift, and where.
        run: on_step is called for each model call of each batch.

    Returns:
        The recorded states, with end_sigma < sigma <= branch_sigma.

    Raises:
        EditError: No step lies there, sigmas is not a descending schedule, or the prompt divides the picture into
            areas.
    """
    first, end = learned_steps(sigmas, branch_sigma, end_sigma)
    generator = torch.Generator().manual_seed(seed)
    batches = recorded_batches(len(noise), run.batch, first, end)
    count = sum(size * sum(i >= first for i in steps) for size, steps in batches)
    h_rows = _Rows(count)
    change_rows = _Rows(count)
    levels = []
    origins = []
    all_rows = torch.arange(len(noise)).split([size for size, _ in batches])
    for rows, (_, steps) in zip(all_rows, batches, strict=True):
        x = noise[rows].to(run.device)
        drifting = torch.rand(len(x), 1, 1, 1, generator=generator) < DRIFTING
        for i, i_next in zip(steps, [*steps[1:], end], strict=True):
            run.tick()
            if i < first:
                x = euler_step(x, source(x, sigmas[i]), sigmas[i], sigmas[i_next])
                continue
            denoised, h = read_bottleneck(source, x, sigmas[i])
            run.tick()
            change = target(x, sigmas[i]) - denoised
            h_rows.add(h)
            change_rows.add(change / guidance_of(source))
            levels.append(sigmas[i].float().cpu().expand(len(x)))
            origins.append(rows)
            follows = drifting & (torch.rand(len(x), 1, 1, 1, generator=generator) < FOLLOWING)
            x = euler_step(x, denoised + follows.to(x) * change, sigmas[i], sigmas[i_next])
    return PredictionChanges(
        sigmas=sigmas[first:end].float().cpu(),
        h=h_rows.tensor,
        change=change_rows.tensor,
        sigma=torch.cat(levels),
        noise=torch.cat(origins),
    )


class _Rows:
    """Rows that come in parts and are written where they will stay, so that joining them takes no second copy.

    Args:
        count: Rows that will come.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.filled = 0
        self.tensor = torch.empty(0)

    def add(self, part: Tensor) -> None:
        """Write the next rows, [R, ...], in half precision."""
        if not self.filled:
            self.tensor = torch.empty((self.count, *part.shape[1:]), dtype=RECORDED)
        self.tensor[self.filled : self.filled + len(part)] = part.to(RECORDED)
        self.filled += len(part)


def standard_deviation(rows: Tensor) -> float:
    """Return the standard deviation over everything, computed in parts."""
    total = 0.0
    squares = 0.0
    for part in _in_parts(rows):
        total += float(part.sum())
        squares += float(part.square().sum())
    count = rows.numel()
    return math.sqrt(max(squares / count - (total / count) ** 2, 0.0))


def root_mean_square(rows: Tensor) -> float:
    """Return the root mean square over everything, computed in parts."""
    return math.sqrt(sum(float(part.square().sum()) for part in _in_parts(rows)) / rows.numel())


def _in_parts(rows: Tensor) -> Iterator[Tensor]:
    """Yield the rows in float32, a few at a time."""
    for part in rows.split(max(1, CHUNK // max(1, rows[0].numel()))):
        yield part.float()
