"""Sample a pair of codes of one picture, with and without an attribute, and choose when the two prompts branch.

Two prompts from one noise make two pictures. If they share the first steps, where the layout forms, they make one
picture twice. At the *branch step* the target prompt leaves the trajectory of the source prompt. If the prompts branch
early, unrelated content changes too; if they branch late, the attribute no longer appears. How late is too late depends
on the attribute, because coarse ones are decided at noisier steps (arXiv 2502.02225, section 3, mobility in order), and
on the picture.

So several branch steps are tried, and each picture takes the latest one that still makes MIN_CHANGE_RATIO of the change
that the earliest makes. Choosing the branch step picture by picture is ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError
from ..saliency import saliency_weight
from ..samplers import OnStep, Run, sample_euler, states_at

# Share of the earliest branch step's change that a later one must still make. Chosen by hand on the embedded model of
# drawn faces; another model may want another value: python benchmarks/latent_svd.py ablation --variants "change ratio"
MIN_CHANGE_RATIO = 0.6


class PromptPair(NamedTuple):
    """Codes of the same pictures under two prompts.

    Attributes:
        source: Codes of the source prompt at sigmas[step], [B, C, H, W] in model space.
        target: Codes of the target prompt at sigmas[step + delta], like source.
        branch_step: The step where the prompts of each pair branch, [B] on the CPU.
    """

    source: Tensor
    target: Tensor
    branch_step: Tensor


@torch.no_grad()
def sample_prompt_pair(  # noqa: PLR0913
    source: Denoiser,
    target: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    step: int,
    *,
    branch_steps: Sequence[int],
    delta: int = 0,
    min_change_ratio: float = MIN_CHANGE_RATIO,
    on_step: OnStep | None = None,
) -> PromptPair:
    """Sample to one step under both prompts, by Euler; the prompts of each picture branch as late as they may.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        x: State at sigmas[0], [B, C, H, W] in model space; noise, or an inverted picture.
        sigmas: Descending noise levels, [n + 1].
        step: The step where the pair is taken, 1 to n.
        branch_steps: The steps where the prompts may branch, each from 0 to step - 1, in any order; a single one is
            taken as it is.
        delta: Steps that the target code goes on for after ``step``.
        min_change_ratio: Share of the earliest branch step's change that a later one must still make, 0 to 1; 0 takes
            the latest branch step, 1 the earliest in most cases.
        on_step: Called once for each sampling step of either prompt.

    Returns:
        The codes, and the step where the prompts of each pair branch.

    Raises:
        EditError: A step is not in the schedule, or a branch step is not before ``step``.
    """
    if not 0 < step < len(sigmas) or not 0 <= delta < len(sigmas) - step:
        raise EditError(
            f"the pair is to be at step {step} (target {step + delta}), but this schedule has {len(sigmas) - 1} steps."
        )
    if not branch_steps or not all(0 <= branch_step < step for branch_step in branch_steps):
        raise EditError(
            f"prompts are to branch at {', '.join(map(str, branch_steps)) or 'no step'}; "
            f"steps from 0 to {step - 1} are accepted, before the pair is taken at step {step}."
        )
    branch_steps = sorted(branch_steps)
    callback = Run(on_step=on_step).on_state

    # The source prompt's trajectory, with its state at each branch step.
    states = states_at(source, x, sigmas, branch_steps, callback)
    source_code = sample_euler(source, states[-1], sigmas[branch_steps[-1] : step + 1], callback)

    # The target prompt from each of these states.
    candidates = []
    for branch_step, state in zip(branch_steps, states, strict=True):
        candidates.append(sample_euler(target, state, sigmas[branch_step : step + 1], callback))
    target_codes = torch.stack(candidates)

    # For each picture, the latest branch step whose change is large enough.
    sizes = torch.stack([_change_size(code - source_code) for code in target_codes])
    large_enough = sizes >= min_change_ratio * sizes[0]
    chosen = len(branch_steps) - 1 - large_enough.flip(0).int().argmax(dim=0)
    target_code = target_codes[chosen, torch.arange(len(x), device=chosen.device)]

    return PromptPair(
        source=source_code,
        target=sample_euler(target, target_code, sigmas[step : step + delta + 1], callback),
        branch_step=torch.tensor(branch_steps)[chosen.cpu()],
    )


def pair_calls(step: int, branch_steps: Sequence[int], delta: int = 0) -> int:
    """Return how many model calls sample_prompt_pair makes, with arguments of these names."""
    return step + sum(step - branch_step for branch_step in branch_steps) + delta


def _change_size(change: Tensor) -> Tensor:
    """Return the size of each sample's change [B, C, H, W] where most of it lies, [B]."""
    weighted = saliency_weight(change) * change
    size: Tensor = weighted.flatten(1).norm(dim=1)
    return size
