"""trajectories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_sigmas
from ..samplers import euler_step, sample_euler


@dataclass
class Trajectories:
    """Per step, over B source and B target trajectories: states and predictions under both prompts.

    x, source, target: [S, 2B, C, H, W]; sigmas: [S + 1]. h_difference: the mean of h(target) - h(source), [S, Ch, h, w]
    (a large model's bottlenecks, one by one, would fill the memory). On the CPU.
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
    onset: float = float("inf"),
    batch: int = 8,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> Trajectories:
    """Sample from noise [B, C, H, W] (model space, at sigmas[0]) under both prompts, which part where sigma <= onset.

    Until then both follow the source prompt and nothing is kept: the layout that forms first stays the source's,
    and with it every attribute that was not asked for. ``batch`` noises at a time; callback() after each of their
    steps. Raises EditError when no step lies below the onset.
    """
    first = branch_step_at(sigmas, onset)
    parts: list[list[tuple[Tensor, ...]]] = [[], []]
    shift: Tensor | float = 0.0
    for x in noise.split(batch):
        x = x.to(device)
        for i in range(first):
            x = euler_step(x, source(x, sigmas[i]), sigmas[i], sigmas[i + 1])
            if callback is not None:
                callback()
        for rows, prompt in zip(parts, (source, target)):
            *row, difference = _follow(prompt, (source, target), x, sigmas[first:], callback)
            rows.append(row)
            shift = shift + difference * (len(x) / (2 * len(noise)))
    return Trajectories(
        sigmas[first:].float().cpu(), *(torch.cat(column, dim=1) for column in zip(*parts[0], *parts[1])), shift
    )


def branch_step_at(sigmas: Tensor, onset: float) -> int:
    """The first step at or below the onset. Raises EditError when there is none, or for a schedule that is not one."""
    check_sigmas(sigmas)
    first = int((sigmas > onset).sum())
    if first >= len(sigmas) - 1:
        raise EditError(
            f"No step of this schedule starts at or below sigma {onset:.4g}, where the two prompts part; let them part earlier."
        )
    return first


def _follow(
    prompt: Denoiser, prompts: tuple[Denoiser, Denoiser], x: Tensor, sigmas: Tensor, callback
) -> tuple[Tensor, ...]:
    """One trajectory of x under ``prompt``: its states, both prompts' predictions there, [S, B, ...] each, and the
    difference of their mean bottlenecks, [S, Ch, h, w].
    """
    rows = []
    for i in range(len(sigmas) - 1):
        predictions, bottlenecks = zip(*(_with_bottleneck(denoise, x, sigmas[i]) for denoise in prompts))
        rows.append([part.float().cpu() for part in (x, *predictions, bottlenecks[1] - bottlenecks[0])])
        x = euler_step(x, predictions[prompts.index(prompt)], sigmas[i], sigmas[i + 1])
        if callback is not None:
            callback()
    return tuple(torch.stack(column) for column in zip(*rows))


def _with_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """D, and the mean bottleneck of the batch [Ch, h, w]."""
    seen: list[Tensor] = []

    def record(h: Tensor) -> Tensor:
        seen.append(h.detach().float().mean(dim=0))
        return h

    return denoise(x, sigma, record), torch.stack(seen).mean(dim=0)


class Endpoints(NamedTuple):
    """Trajectories under two prompts: the states x where the prompts part, at sigmas[0], and the finished pictures, [B, C, H, W] each. On the CPU."""

    sigmas: Tensor
    x: Tensor
    source: Tensor
    target: Tensor

    @classmethod
    def of(cls, t: Trajectories, count: int) -> Endpoints:
        """Of the first ``count`` noises of what was recorded for learning."""
        sampled = t.x.shape[1] // 2
        rows = torch.arange(min(count, sampled))
        ends = (
            euler_step(t.x[-1, part], prediction[-1, part], t.sigmas[-2], t.sigmas[-1])
            for part, prediction in ((rows, t.source), (sampled + rows, t.target))
        )
        return cls(t.sigmas, t.x[0, rows], *ends)


def sample_endpoints(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    onset: float = float("inf"),
    batch: int = 8,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> Endpoints:
    """Of noise [B, C, H, W] (model space, at sigmas[0]), where the prompts part at sigma <= onset; callback() before each step of a batch.

    Raises EditError when no step lies below the onset.
    """
    first, tick = branch_step_at(sigmas, onset), callback and (lambda *_: callback())
    rows = []
    for x in noise.split(batch):
        x = sample_euler(source, x.to(device), sigmas[: first + 1], tick)
        rows.append(
            [
                part.float().cpu()
                for part in (x, *(sample_euler(prompt, x, sigmas[first:], tick) for prompt in (source, target)))
            ]
        )
    return Endpoints(sigmas[first:].float().cpu(), *(torch.cat(column) for column in zip(*rows)))
