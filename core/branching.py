"""How late two prompts may branch and still make the attribute.

Coarse attributes are decided at noisier steps than fine ones (arXiv 2502.02225, section 3, mobility in order), and each
model decides at steps of its own. So it is measured, on finished pictures from the same noises, what share of its
change the target prompt still makes when it takes over at a later step:

    share(b) = <target_b - source, target_0 - source> / |target_0 - source|^2        over all pictures, in model space

source is finished under the source prompt, target_b under the source prompt until step b and under the target prompt
from there. share(0) is 1, and a step after which nothing changes any more has 0. Ours, in neither paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import check_branch_steps, check_sigmas
from .samplers import Run, sample_euler, states_at

# A change whose square is below this is none.
MIN_CHANGE = 1e-12


@torch.no_grad()
def change_shares(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    branch_steps: Sequence[int],
    *,
    run: Run = Run(),
) -> Tensor:
    """Measure what share of its change the target prompt makes from each of some steps on.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        noise: Starting noises at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        branch_steps: Steps from 0 to n - 1, rising.
        run: on_step is called for each sampling step of each batch.

    Returns:
        The share of each step, [len(branch_steps)] on the CPU; 1 throughout where the prompts make the same picture.

    Raises:
        EditError: sigmas is no descending schedule, or a step is not in it.
    """
    check_sigmas(sigmas)
    check_branch_steps(branch_steps, len(sigmas) - 1)
    along = torch.zeros(len(branch_steps), dtype=torch.float64)
    whole = torch.zeros((), dtype=torch.float64)
    for x in noise.split(run.batch):
        x = x.to(run.device)
        whole_target = sample_euler(target, x, sigmas, run.on_state)
        states = states_at(source, x, sigmas, branch_steps, run.on_state)
        source_picture = sample_euler(source, states[-1], sigmas[branch_steps[-1] :], run.on_state)
        change = (whole_target - source_picture).cpu().double()
        whole += change.square().sum().cpu()
        for k, (step, state) in enumerate(zip(branch_steps, states, strict=True)):
            late = whole_target if step == 0 else sample_euler(target, state, sigmas[step:], run.on_state)
            along[k] += ((late - source_picture).cpu().double() * change).sum()
    return along / whole if whole > MIN_CHANGE else torch.ones_like(along)


def branching_calls(steps: int, branch_steps: Sequence[int]) -> int:
    """Return how many model calls change_shares makes for each batch, on a schedule of so many steps."""
    return 2 * steps + sum(steps - step for step in branch_steps if step > 0)
