"""Trajectories from noise under two prompts: what directions are learned from and measured on.

All start from the same noise. Until the two prompts branch, the picture follows the source prompt: the layout that
forms first stays the source's, and with it every attribute that was not asked for. From there on one trajectory follows
each prompt, by Euler steps.

Asyrp (arXiv 2210.10960) learns on inverted pictures with CLIP. Learning from two prompts, without data, and prompts
that branch late are ours. Every tensor is in model space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, place_size_of, record_bottleneck
from ..errors import EditError, check_sigmas
from ..samplers import Run, euler_step, sample_euler

# What is recorded fills the memory, so it is kept in half precision.
RECORDED = torch.float16


@dataclass
class Trajectories:
    """What a model did at every step of B source and B target trajectories, from where the prompts branch. On the CPU.

    States and predictions are in float16: its rounding, 0.05 %, is far below what one picture's change differs by from
    another's.

    Rows 0 to B - 1 belong to the trajectories that follow the source prompt, rows B to 2B - 1 to those that follow the
    target prompt. Of the bottleneck only a mean is kept, because a large model's would fill the memory.

    Attributes:
        sigmas: Descending noise levels from the branch step on, [S + 1].
        x: States, [S, 2B, C, H, W] in float16.
        source: Predictions under the source prompt at these states, like x.
        target: Predictions under the target prompt at these states, like x.
        h_difference: Mean over all states of a step of h(target) - h(source), [S, Ch, h, w].
    """

    sigmas: Tensor
    x: Tensor
    source: Tensor
    target: Tensor
    h_difference: Tensor


@torch.no_grad()
def record_trajectories(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    branch_sigma: float = float("inf"),
    run: Run = Run(),
) -> Trajectories:
    """Sample from noise under both prompts and keep what the model does under either, step by step.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        noise: Starting noises at sigmas[0], [B, C, H, W].
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: The prompts branch at the first step with sigma <= branch_sigma. Nothing above it is kept.
        run: on_step is called for each model call of each batch.

    Returns:
        The trajectories from the branch step on.

    Raises:
        EditError: No step lies at or below branch_sigma, or sigmas is not a descending schedule.
    """
    first = branch_step_at(sigmas, branch_sigma)
    prompts = (source, target)
    count = len(noise)
    shape = (len(sigmas) - 1 - first, 2 * count, *noise.shape[1:])
    recorded = Trajectories(
        sigmas=sigmas[first:].float().cpu(),
        x=torch.empty(shape, dtype=RECORDED),
        source=torch.empty(shape, dtype=RECORDED),
        target=torch.empty(shape, dtype=RECORDED),
        h_difference=torch.zeros(()),
    )
    for rows in torch.arange(count).split(run.batch):
        x = sample_euler(source, noise[rows].to(run.device), sigmas[: first + 1], run.on_state)
        for followed in range(len(prompts)):
            own = rows + followed * count
            difference = _follow_prompt(prompts, followed, x, recorded, rows=own, run=run)
            recorded.h_difference = recorded.h_difference + difference * (len(rows) / (2 * count))
    return recorded


def branch_step_at(sigmas: Tensor, branch_sigma: float) -> int:
    """Find the step at which two prompts branch.

    Args:
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: The noise level to branch at, or below.

    Returns:
        The first step with sigma <= branch_sigma.

    Raises:
        EditError: There is no such step, or sigmas is not a descending schedule.
    """
    check_sigmas(sigmas)
    first = int((sigmas > branch_sigma).sum())
    if first >= len(sigmas) - 1:
        raise EditError(
            f"No step of this schedule starts at or below sigma {branch_sigma:.4g}, where the two prompts branch; "
            "let them branch earlier."
        )
    return first


def _follow_prompt(
    prompts: tuple[Denoiser, Denoiser], followed: int, x: Tensor, recorded: Trajectories, *, rows: Tensor, run: Run
) -> Tensor:
    """Sample one trajectory of x under prompts[followed], and ask both prompts at each of its states.

    States and predictions are written into these rows of ``recorded``; the mean difference of h is returned,
    [S, Ch, h, w].
    """
    sigmas = recorded.sigmas.to(x.device)
    differences = []
    for i in range(len(sigmas) - 1):
        predictions = []
        bottlenecks = []
        for denoise in prompts:
            denoised, recorder = record_bottleneck(denoise, x, sigmas[i])
            predictions.append(denoised)
            bottlenecks.append(recorder.mean(x, place_size_of(denoise)))
            run.tick()
        recorded.x[i, rows] = x.to("cpu", RECORDED)
        recorded.source[i, rows] = predictions[0].to("cpu", RECORDED)
        recorded.target[i, rows] = predictions[1].to("cpu", RECORDED)
        differences.append((bottlenecks[1] - bottlenecks[0]).cpu())
        x = euler_step(x, predictions[followed], sigmas[i], sigmas[i + 1])
    return torch.stack(differences)


class Endpoints(NamedTuple):
    """Where trajectories under two prompts begin to differ and where they end. On the CPU.

    Attributes:
        sigmas: Descending noise levels from the branch step on, [S + 1].
        x: States at sigmas[0], where the prompts branch, [B, C, H, W].
        source: Finished pictures under the source prompt, like x.
        target: Finished pictures under the target prompt, like x.
    """

    sigmas: Tensor
    x: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def of(cls, trajectories: Trajectories, count: int) -> Endpoints:
        """Take the endpoints of trajectories that were recorded for learning.

        Args:
            trajectories: What record_trajectories returned, from B noises.
            count: Noises to take; all B where there are fewer.

        Returns:
            The endpoints of the first ``count`` noises.
        """
        t = trajectories
        noises = t.x.shape[1] // 2
        source_rows = torch.arange(min(count, noises))
        target_rows = noises + source_rows
        return cls(
            sigmas=t.sigmas,
            x=t.x[0, source_rows].float(),
            source=_last_step(t, t.source, source_rows),
            target=_last_step(t, t.target, target_rows),
        )


def _last_step(t: Trajectories, predictions: Tensor, rows: Tensor) -> Tensor:
    """Make the last step of some trajectories under one prompt's predictions."""
    return euler_step(t.x[-1, rows].float(), predictions[-1, rows].float(), t.sigmas[-2], t.sigmas[-1])


def sample_endpoints(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    branch_sigma: float = float("inf"),
    run: Run = Run(),
) -> Endpoints:
    """Sample from noise under both prompts and keep the endpoints alone.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        noise: Starting noises at sigmas[0], [B, C, H, W].
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: The prompts branch at the first step with sigma <= branch_sigma.
        run: on_step is called for each step of each batch, under the source prompt and then under both.

    Returns:
        The endpoints of every noise.

    Raises:
        EditError: No step lies at or below branch_sigma, or sigmas is not a descending schedule.
    """
    first = branch_step_at(sigmas, branch_sigma)
    states = []
    source_pictures = []
    target_pictures = []
    for x in noise.split(run.batch):
        x = sample_euler(source, x.to(run.device), sigmas[: first + 1], run.on_state)
        states.append(x.float().cpu())
        source_pictures.append(sample_euler(source, x, sigmas[first:], run.on_state).float().cpu())
        target_pictures.append(sample_euler(target, x, sigmas[first:], run.on_state).float().cpu())
    return Endpoints(
        sigmas=sigmas[first:].float().cpu(),
        x=torch.cat(states),
        source=torch.cat(source_pictures),
        target=torch.cat(target_pictures),
    )
