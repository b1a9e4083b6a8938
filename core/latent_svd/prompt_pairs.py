"""Sample a pair of codes of one picture, with and without an attribute, and choose when the two prompts branch.

Two prompts from one noise make two pictures. If they share the first steps, where the layout forms, they make one
picture twice. At the *branch step* the target prompt leaves the trajectory of the source prompt. If the prompts branch
early, unrelated content changes too; if they branch late, the attribute no longer appears. How late is too late depends
on the attribute, because coarse ones are decided at noisier steps (arXiv 2502.02225, section 3, mobility in order), and
on the picture.

So several branch steps are tried, and each picture takes the latest one that still makes the attribute. The model tells
whether it does, in what it predicts from the code of each branch: from the branch step that adds most evidence for the
target prompt (core/prompt_evidence.py) a picture goes on to later ones, as long as each adds MIN_EVIDENCE_SHARE of
that. Where no evidence is asked for, it is the latest that makes MIN_CHANGE_RATIO of the change that the earliest
makes. Choosing the branch step picture by picture is ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_branch_steps
from ..prompt_evidence import PromptEvidence
from ..saliency import saliency_weight
from ..samplers import OnStep, Run, sample_euler, states_at

# Share of the most evidence that a branch step adds to a picture that a later one must still add. From .65 to .8 own
# pairs of the embedded models come out alike:
# python benchmarks/latent_svd.py ablation --first 60000 --variants default "evidence"
MIN_EVIDENCE_SHARE = 0.7
# Share of the earliest branch step's change that a later one must still make, where no evidence is asked for. Chosen by
# hand on the embedded U-Net; what others do is recorded in benchmarks/results/latent_svd.txt.
MIN_CHANGE_RATIO = 0.6


class PromptPair(NamedTuple):
    """Codes of the same pictures under two prompts.

    Attributes:
        source: Codes of the source prompt at sigmas[step], [B, C, H, W] in model space.
        target: Codes of the target prompt at sigmas[step + delta], like source.
        branch_step: The step where the prompts of each pair branch, [B] on the CPU.
        evidence: For the target prompt in what is predicted from source and target, [2, B] on the CPU; None if it was
            not asked for.
    """

    source: Tensor
    target: Tensor
    branch_step: Tensor
    evidence: Tensor | None = None


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
    evidence: PromptEvidence | None = None,
    min_evidence_share: float = MIN_EVIDENCE_SHARE,
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
        evidence: How much a picture shows the target; None goes by the size of the change.
        min_evidence_share: Share of the most evidence that a branch step adds that a later one must still add, 0 to 1.
            Read with evidence alone.
        min_change_ratio: Share of the earliest branch step's change that a later one must still make, 0 to 1; 0 takes
            the latest branch step, 1 the earliest in most cases. Not read with evidence.
        on_step: Called once for each model call.

    Returns:
        The codes, and the step where the prompts of each pair branch.

    Raises:
        EditError: A step is not in the schedule, or a branch step is not before ``step``.
    """
    if not 0 < step < len(sigmas) or not 0 <= delta < len(sigmas) - step:
        raise EditError(
            f"the pair is to be at step {step} (target {step + delta}), but this schedule has {len(sigmas) - 1} steps."
        )
    check_branch_steps(branch_steps, step)
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

    # For each picture, the latest branch step that makes enough of the attribute.
    if evidence is None:
        asked = None
        sizes = torch.stack([_change_size(code - source_code) for code in target_codes])
        chosen = _latest(sizes >= min_change_ratio * sizes[0])
    else:
        codes = torch.cat([source_code[None], target_codes])
        asked = torch.stack([evidence.of_code(code, sigmas[step], source, on_step) for code in codes])
        chosen = _latest_from_most(asked[1:] - asked[0], min_evidence_share)
    chosen = chosen.to(x.device)
    pictures = torch.arange(len(x), device=chosen.device)
    target_code = target_codes[chosen, pictures]

    return PromptPair(
        source=source_code,
        target=sample_euler(target, target_code, sigmas[step : step + delta + 1], callback),
        branch_step=torch.tensor(branch_steps)[chosen.cpu()],
        evidence=None if asked is None else torch.stack([asked[0], asked[1:][chosen, pictures]]).cpu(),
    )


def pair_calls(step: int, branch_steps: Sequence[int], delta: int = 0, evidence_calls: int = 0) -> int:
    """Return how many model calls sample_prompt_pair makes.

    Args:
        step: As sample_prompt_pair takes it.
        branch_steps: As sample_prompt_pair takes them.
        delta: As sample_prompt_pair takes it.
        evidence_calls: The ``calls`` of the evidence; 0 without.
    """
    pair = step + sum(step - branch_step for branch_step in branch_steps) + delta
    asked = len(branch_steps) + 1 if evidence_calls else 0
    return pair + asked * (1 + evidence_calls)


def _latest(enough: Tensor) -> Tensor:
    """Return the last branch step of each picture that is enough, [branches, B]; the first where none is."""
    enough = enough.clone()
    enough[0] = True
    return len(enough) - 1 - enough.flip(0).int().argmax(dim=0)


def _latest_from_most(gains: Tensor, share: float) -> Tensor:
    """Return the branch step of each picture that is reached from that of most evidence, one after the other, [B].

    The earliest branch step does not always add the most evidence, because it may change more than the attribute. The
    evidence of a late one that lies beyond weaker ones does not say that the attribute is there.

    Args:
        gains: The evidence that each branch step adds, [branches, B].
        share: Share of the most evidence that each later branch step must add.
    """
    most, first = gains.max(dim=0)
    # Where none adds anything, no other than the earliest is known to be enough.
    first = torch.where(most > 0, first, 0)
    until_first = torch.arange(len(gains), device=gains.device)[:, None] <= first
    enough = until_first | ((gains >= share * most) & (most > 0))
    return enough.int().cumprod(dim=0).sum(dim=0) - 1


def _change_size(change: Tensor) -> Tensor:
    """Return the size of each sample's change [B, C, H, W] where most of it lies, [B]."""
    weighted = saliency_weight(change) * change
    size: Tensor = weighted.flatten(1).norm(dim=1)
    return size
