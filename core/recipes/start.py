"""Where learning begins: the latest sampling progress at which the target prompt still makes most of its change.

A later start keeps more of the layout and brings less of the attribute. Where it should be depends on the attribute and
on the model, so it is measured (core/branching.py), on some of the noises and in few steps.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..branching import branching_calls, change_shares
from ..denoiser import PromptDenoisers
from ..samplers import Run, Schedule
from . import defaults

# As a progress to start at: it is measured.
AUTOMATIC_START = -1.0


class Start(NamedTuple):
    """Where the two prompts branch.

    Attributes:
        percent: Sampling progress.
        share: The share of the target prompt's change that is still made from there; None where it was not measured.
    """

    percent: float
    share: float | None = None

    def text(self) -> str:
        """Return one sentence for people."""
        if self.share is None:
            return f"The prompts branch at progress {self.percent:g}."
        return (
            f"The prompts branch at progress {self.percent:g}: "
            f"from there the target prompt still makes {self.share:.0%} of its change."
        )


def measure_start(prompts: PromptDenoisers, noise: Tensor, schedule: Schedule, *, run: Run = Run()) -> Start:
    """Find the latest of START_PERCENTS whose share is START_SHARE or more.

    Args:
        prompts: The model under both prompts.
        noise: Starting noises at the first sigma, [B, C, H, W] in model space; start_noises(B) of them are taken.
        schedule: The schedule to learn on.
        run: on_step is called for each sampling step of each batch.

    Returns:
        The start. From the first of START_PERCENTS the share is 1, so that there always is one.
    """
    starts = start_shares(prompts, noise[: start_noises(len(noise))], schedule, run=run)
    return [start for start in starts if start.share is None or start.share >= defaults.START_SHARE][-1]


def start_noises(samples: int) -> int:
    """Return how many of the noises that are learned from the start is measured on."""
    return min(samples, max(defaults.START_MIN_NOISES, round(defaults.START_NOISES_SHARE * samples)))


def start_shares(prompts: PromptDenoisers, noise: Tensor, schedule: Schedule, *, run: Run = Run()) -> list[Start]:
    """Measure the share of the target prompt's change from each of START_PERCENTS on.

    Args:
        prompts: The model under both prompts.
        noise: Starting noises at the first sigma, [B, C, H, W] in model space.
        schedule: The schedule to learn on.
        run: As measure_start takes it.

    Returns:
        The starts, each with its share, in the order of START_PERCENTS.
    """
    kept, branch_steps = _measured_steps(schedule)
    sigmas = schedule.sigmas[torch.tensor(kept)]
    shares = change_shares(prompts.source, prompts.target, noise, sigmas, branch_steps, run=run).tolist()
    of_step = dict(zip(branch_steps, shares, strict=True))
    return [Start(percent, of_step[kept.index(_step_at(schedule, percent))]) for percent in defaults.START_PERCENTS]


def start_calls(schedule: Schedule) -> int:
    """Return how many model calls measure_start makes for each batch."""
    kept, branch_steps = _measured_steps(schedule)
    return branching_calls(len(kept) - 1, branch_steps)


def _measured_steps(schedule: Schedule) -> tuple[list[int], list[int]]:
    """Choose the steps of a schedule that are taken, and where among them the prompts may branch."""
    last = len(schedule.sigmas) - 1
    branches = sorted({_step_at(schedule, percent) for percent in defaults.START_PERCENTS})
    after = torch.linspace(branches[-1], last, min(defaults.START_STEPS_AFTER, last - branches[-1]) + 1)
    kept = sorted({0, *branches, *after.round().long().tolist()})
    return kept, [kept.index(step) for step in branches]


def _step_at(schedule: Schedule, percent: float) -> int:
    """Return the step at which prompts branch that are to branch at a progress; the last one where there is none."""
    return min(schedule.step_at(percent), len(schedule.sigmas) - 2)
