"""A pair of codes of one picture, with and without an attribute: two prompts that share a trajectory until they part.

Two prompts from one noise make two pictures; while they share the first steps, where the layout forms, they make one
picture twice. How long they may depends on the attribute, for coarse ones are decided at noisier steps (arXiv
2502.02225, mobility in order), and on the picture: prompts that part early differ in what nobody asked for, and prompts
that part late no longer in the attribute. So several partings are tried, and each picture keeps the latest one that
still makes most of the change which the earliest makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError
from ..saliency import saliency_weight
from ..samplers import sample_euler

MIN_CHANGE_RATIO = 0.6  # of the size of the earliest parting's change


class PromptPair(NamedTuple):
    """Codes [B, C, H, W] in model space, the source's at sigmas[step], the target's at sigmas[step + delta]; ``parted`` [B]: the step where each pair's prompts part."""

    source: Tensor
    target: Tensor
    parted: Tensor


@torch.no_grad()
def sample_prompt_pair(
    source: Denoiser,
    target: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    step: int,
    partings: Sequence[int],
    delta: int = 0,
    enough: float = MIN_CHANGE_RATIO,
    callback: Callable[[], None] | None = None,
) -> PromptPair:
    """From x [B, C, H, W] (model space, at sigmas[0]) to ``step`` under both prompts, by euler.

    partings: the steps tried, each from 0 to step; one alone is taken as it is. delta: steps that the target goes on for.
    enough: how much of the earliest parting's change a later one must make, between 0 and 1, where the change is (core.focus).
    callback() once a step of the sampler. Raises EditError for steps that are not there.
    """
    if not 0 < step < len(sigmas) or not 0 <= delta < len(sigmas) - step:
        raise EditError(
            f"the pair is to be at step {step} (target {step + delta}), but this schedule has {len(sigmas) - 1} steps."
        )
    if not partings or not all(0 <= part < step for part in partings):
        raise EditError(
            f"prompts are to part at {', '.join(map(str, partings)) or 'no step'}; steps from 0 to {step - 1} are accepted, before the pair is taken at step {step}."
        )
    tick = callback and (lambda *_: callback())
    partings, states, at = sorted(partings), [], 0
    for part in [*partings, step]:
        x = sample_euler(source, x, sigmas[at : part + 1], tick)
        states.append(x)
        at = part
    plain = states.pop()
    tried = torch.stack(
        [sample_euler(target, state, sigmas[part : step + 1], tick) for part, state in zip(partings, states)]
    )
    sizes = torch.stack([_size(code - plain) for code in tried])
    latest = len(partings) - 1 - (sizes >= enough * sizes[0]).flip(0).int().argmax(dim=0)
    chosen = tried[latest, torch.arange(len(x), device=latest.device)]
    return PromptPair(
        plain, sample_euler(target, chosen, sigmas[step : step + delta + 1], tick), torch.tensor(partings)[latest.cpu()]
    )


def _size(change: Tensor) -> Tensor:
    """Of each sample's change [B, C, H, W], where it is: [B]."""
    return (saliency_weight(change) * change).flatten(1).norm(dim=1)
