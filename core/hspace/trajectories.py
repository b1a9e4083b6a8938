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

from ..denoiser import BottleneckRecorder, Denoiser
from ..errors import EditError, check_sigmas
from ..samplers import Run, euler_step, sample_euler


@dataclass
class Trajectories:
    """What a model did at every step of B source and B target trajectories, from where the prompts branch. On the CPU.

    Rows 0 to B - 1 belong to the trajectories that follow the source prompt, rows B to 2B - 1 to those that follow the
    target prompt. Of the bottleneck only a mean is kept, because a large model's would fill the memory.

    Attributes:
        sigmas: Descending noise levels from the branch step on, [S + 1].
        x: States, [S, 2B, C, H, W].
        source: Predictions under the source prompt at these states, like x.
        target: Predictions under the target prompt at these states, like x.
        h_difference: Mean over all states of a step of h(target) - h(source), [S, Ch, h, w].
    """

    sigmas: Tensor
    x: Tensor
    source: Tensor
    target: Tensor
    h_difference: Tensor


class _Followed(NamedTuple):
    """One batch of trajectories: states and both predictions [S, B, C, H, W], difference of mean h [S, Ch, h, w]."""

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
        run: on_step is called for each step of each batch, under the source prompt and then under both.

    Returns:
        The trajectories from the branch step on.

    Raises:
        EditError: No step lies at or below branch_sigma, or sigmas is not a descending schedule.
    """
    first = branch_step_at(sigmas, branch_sigma)
    prompts = (source, target)
    source_parts: list[_Followed] = []
    target_parts: list[_Followed] = []
    h_difference = torch.zeros(())
    for x in noise.split(run.batch):
        x = sample_euler(source, x.to(run.device), sigmas[: first + 1], run.on_state)
        part_of_all = len(x) / (2 * len(noise))
        for followed, parts in enumerate((source_parts, target_parts)):
            part = _follow_prompt(prompts, followed, x, sigmas[first:], run)
            parts.append(part)
            h_difference = h_difference + part.h_difference * part_of_all
    parts = source_parts + target_parts
    return Trajectories(
        sigmas=sigmas[first:].float().cpu(),
        x=torch.cat([part.x for part in parts], dim=1),
        source=torch.cat([part.source for part in parts], dim=1),
        target=torch.cat([part.target for part in parts], dim=1),
        h_difference=h_difference,
    )


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


def _follow_prompt(prompts: tuple[Denoiser, Denoiser], followed: int, x: Tensor, sigmas: Tensor, run: Run) -> _Followed:
    """Sample one trajectory of x under prompts[followed], and ask both prompts at each of its states."""
    states = []
    source_predictions = []
    target_predictions = []
    differences = []
    for i in range(len(sigmas) - 1):
        predictions = []
        bottlenecks = []
        for denoise in prompts:
            recorder = BottleneckRecorder()
            predictions.append(denoise(x, sigmas[i], recorder))
            bottlenecks.append(recorder.mean())
        states.append(x.float().cpu())
        source_predictions.append(predictions[0].float().cpu())
        target_predictions.append(predictions[1].float().cpu())
        differences.append((bottlenecks[1] - bottlenecks[0]).cpu())
        x = euler_step(x, predictions[followed], sigmas[i], sigmas[i + 1])
        run.tick()
    return _Followed(
        torch.stack(states),
        torch.stack(source_predictions),
        torch.stack(target_predictions),
        torch.stack(differences),
    )


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
            x=t.x[0, source_rows],
            source=euler_step(t.x[-1, source_rows], t.source[-1, source_rows], t.sigmas[-2], t.sigmas[-1]),
            target=euler_step(t.x[-1, target_rows], t.target[-1, target_rows], t.sigmas[-2], t.sigmas[-1]),
        )


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
