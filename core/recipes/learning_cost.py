"""What learning in h-space takes, before it starts: evaluations of the model, memory, and the length of a progress bar.

One *evaluation* is one picture under one prompt through the network; guidance doubles it, because the negative prompt
is evaluated too. Every count is an upper bound: training and measuring may end early.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, read_bottleneck
from ..hspace.calibration import MAX_ROUNDS, measured_sigmas
from ..hspace.prediction_changes import learned_steps, recorded_batches
from ..hspace.trajectories import branch_step_at
from ..samplers import Schedule
from .settings import CLIP, READOUT, LearnSettings
from .start import start_calls, start_noises

# A readout's training asks nothing of the model. So many of its steps take about as long as one model call of a batch,
# so that a progress bar which counts both runs evenly: python benchmarks/learning_cost.py sizes
TRAINING_STEPS_PER_TICK = 20
# Bytes of a number in half precision, as recorded, and in float32.
HALF = 2
FLOAT = 4
# Latents of each measured noise that are held at once: the state where the prompts branch, three finished pictures and
# what is computed of them.
MEASURED_LATENTS = 8

# Latent pixels that are sampled at once while learning, at most, and pictures.
BATCH_PIXELS = 8 * 64 * 64
MAX_BATCH = 8


@dataclass(frozen=True)
class LearningCost:
    """What learning takes, at most.

    Attributes:
        samples: Noises that are learned from.
        evaluations: Evaluations of the model.
        gradient_evaluations: Evaluations that gradients flow through as well, counted apart; none for a readout.
        host_bytes: Host memory that is held at once for what is recorded.
        ticks: How often Run.on_step is called: once a model call of a batch, and for a readout once every
            TRAINING_STEPS_PER_TICK training steps.
    """

    samples: int
    evaluations: int
    gradient_evaluations: int
    host_bytes: int
    ticks: int

    def text(self) -> str:
        """Return one sentence for people."""
        gradients = f" and {self.gradient_evaluations:,} with gradients" if self.gradient_evaluations else ""
        return (
            f"learning from {self.samples} noises takes at most {self.evaluations:,} evaluations of the model"
            f"{gradients}, each of one picture under one prompt, and {self.host_bytes / 1e6:,.0f} MB of host memory"
        )


class LearningPlan(NamedTuple):
    """Settings that say how many noises are drawn, and what learning by them takes.

    Attributes:
        settings: Settings whose ``samples`` is 1 or more.
        cost: What learning takes.
    """

    settings: LearnSettings
    cost: LearningCost


def plan_learning(
    source: Denoiser, settings: LearnSettings, schedule: Schedule, noise: Tensor, batch: int
) -> LearningPlan:
    """Say how many noises are learned from and what that takes; a readout's plan takes one evaluation.

    Args:
        source: The model under the source prompt.
        settings: How to learn. ``samples`` 0 chooses the number of noises by the size of the bottleneck.
        schedule: The schedule to learn on.
        noise: One starting noise at the first sigma, [1, C, H, W] in model space.
        batch: Noises that are sampled at once.

    Returns:
        The plan. Its cost includes the evaluation that it took.

    Raises:
        EditError: The prompt divides the picture into areas, or no step of the schedule lies in the window.
    """
    bottleneck = torch.Size()
    if settings.method == READOUT:
        with torch.no_grad():
            bottleneck = read_bottleneck(source, noise, schedule.sigmas[0])[1].shape[1:]
    settings = settings.for_bottleneck(bottleneck)
    return LearningPlan(settings, learning_cost(settings, schedule, noise.shape[1:], bottleneck, batch=batch))


def learning_cost(
    settings: LearnSettings,
    schedule: Schedule,
    latent: tuple[int, ...],
    bottleneck: tuple[int, ...],
    *,
    batch: int = 8,
) -> LearningCost:
    """Count what learning takes, at most.

    Args:
        settings: How to learn. ``samples`` 0 counts what is chosen for this bottleneck.
        schedule: The schedule to learn on.
        latent: Shape of one latent, (C, H, W).
        bottleneck: Shape of one picture's bottleneck, (Ch, h, w); read for a readout only.
        batch: Noises that are sampled at once.

    Returns:
        The cost.

    Raises:
        EditError: No step of the schedule lies in the window.
    """
    settings = settings.for_bottleneck(bottleneck)
    costs = []
    for percent in settings.starts:
        one = replace(settings, start_percent=percent)
        if settings.method == READOUT:
            costs.append(_readout_cost(one, schedule, _numbers(latent), _numbers(bottleneck), batch))
        else:
            costs.append(_direction_cost(one, schedule, _numbers(latent), batch))
    start = _start_cost(settings, schedule, batch)
    return LearningCost(
        samples=settings.samples,
        evaluations=max(cost.evaluations for cost in costs) + start.evaluations,
        gradient_evaluations=max(cost.gradient_evaluations for cost in costs),
        host_bytes=max(cost.host_bytes for cost in costs),
        ticks=max(cost.ticks for cost in costs) + start.calls,
    )


def _readout_cost(
    settings: LearnSettings, schedule: Schedule, latent: int, bottleneck: int, batch: int
) -> LearningCost:
    """Count what a readout takes; latent and bottleneck: numbers in one of them."""
    first, end = learned_steps(
        schedule.sigmas, schedule.sigma_at(settings.start_percent), schedule.sigma_at(settings.end_percent)
    )
    # The plan looks at the bottleneck once.
    calls = 0
    evaluations = 1
    states = 0
    for size, steps in recorded_batches(settings.samples, batch, first, end):
        recorded = sum(step >= first for step in steps)
        calls += len(steps) + recorded
        evaluations += size * (len(steps) + recorded)
        states += size * recorded
    measured = measured_sigmas(schedule.sigmas, first, end)
    before = int((measured > schedule.sigmas[first]).sum())
    after = len(measured) - 1 - before
    # Two ends of the way, the rounds, and one at the full scale.
    measuring = before + (2 + MAX_ROUNDS + 1) * after
    calls += measuring * len(_batches(settings.measured, batch))
    evaluations += measuring * settings.measured
    held = HALF * states * (bottleneck + latent) + FLOAT * settings.samples * latent
    return LearningCost(
        samples=settings.samples,
        evaluations=_prompts(settings) * evaluations,
        gradient_evaluations=0,
        host_bytes=held + FLOAT * MEASURED_LATENTS * settings.measured * latent,
        ticks=calls + training_ticks(settings.training.steps),
    )


def _direction_cost(settings: LearnSettings, schedule: Schedule, latent: int, batch: int) -> LearningCost:
    """Count what a direction that moves h takes; latent: numbers in one of them."""
    steps = len(schedule.sigmas) - 1
    first = branch_step_at(schedule.sigmas, schedule.sigma_at(settings.start_percent))
    edited = int((schedule.sigmas[first:-1] > schedule.sigma_at(settings.end_percent)).sum())
    # Both prompts are asked at each state of both trajectories.
    recording = first + 4 * (steps - first)
    # An edited step asks the model twice.
    measuring = (MAX_ROUNDS + 1) * (steps - first + edited)
    training = 0 if settings.method == "difference" else settings.training.steps
    evaluations = recording * settings.samples + measuring * settings.measured
    if settings.method == CLIP:
        evaluations += training * settings.training.batch
    calls = recording * len(_batches(settings.samples, batch)) + measuring * len(_batches(settings.measured, batch))
    recorded = 3 * 2 * (steps - first) * settings.samples
    held = latent * (HALF * recorded + FLOAT * settings.samples + FLOAT * MEASURED_LATENTS * settings.measured)
    return LearningCost(
        samples=settings.samples,
        evaluations=_prompts(settings) * evaluations,
        gradient_evaluations=_prompts(settings) * training * settings.training.batch,
        host_bytes=held,
        ticks=calls + training,
    )


class _Calls(NamedTuple):
    """Model calls of a batch, and evaluations."""

    calls: int
    evaluations: int


def _start_cost(settings: LearnSettings, schedule: Schedule, batch: int) -> _Calls:
    """Count what it takes to measure where learning begins."""
    if not settings.measures_start:
        return _Calls(0, 0)
    noises = start_noises(settings.samples)
    calls = start_calls(schedule)
    return _Calls(calls * len(_batches(noises, batch)), _prompts(settings) * calls * noises)


def training_ticks(steps: int) -> int:
    """Return how often a readout's training ticks a progress bar, at most."""
    return steps // TRAINING_STEPS_PER_TICK


def _prompts(settings: LearnSettings) -> int:
    """Return how many prompts one prediction evaluates: with guidance, the negative one too."""
    return 1 if settings.cfg == 1 else 2


def learning_batch(size: tuple[int, int] | list[int]) -> int:
    """Return how many latents of a size, (height, width), are sampled at once while learning."""
    height, width = size
    return min(MAX_BATCH, max(1, BATCH_PIXELS // (height * width)))


def _batches(count: int, batch: int) -> list[int]:
    """Return the sizes of the batches that so many noises make."""
    return [min(batch, count - begin) for begin in range(0, count, batch)]


def _numbers(shape: tuple[int, ...]) -> int:
    """Return how many numbers a tensor of this shape holds."""
    return torch.Size(shape).numel()
