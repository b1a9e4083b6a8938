"""Pairs of codes that an SVD attribute is learned from: sampled until enough show what their prompts say.

Of a picture that has the attribute already, or of one that stays without, nothing can be learned. The model tells which
those are, by how much evidence for the target prompt the target prompt adds (core/prompt_evidence.py). That is little
in both cases. The level of the evidence itself says less: where a picture of an attribute begins lies at one value for
hats and at another for glasses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import PromptDenoisers
from ..latent_svd.pair_notes import SHOWN_SHARE
from ..latent_svd.prompt_pairs import sample_prompt_pair
from ..prompt_evidence import PromptEvidence
from ..samplers import Run
from .settings import PairSettings

# The share of the upper quartile's gain that a pair's must reach. Of 288 pairs of the embedded models those that the
# judge sees the attribute come in gain more than all others, in each of six cases. Where it comes in fewer than a
# third of the pairs, this cannot tell them.
MIN_GAIN = 0.25
UPPER_QUARTILE = 0.75


class Pairs(NamedTuple):
    """Pairs to learn from.

    Attributes:
        source: Codes of the source prompt, [count, C, H, W].
        target: Codes of the target prompt, like source.
        shown: In which of them the attribute comes, booleans [count]; the others come nearest to that. None where
            nobody was asked.
        evidence: How much each source, and each target, shows the attribute, [2, count]; None where nobody was asked.
        origin: Which noise or picture each of them began at, by number, [count].
    """

    source: Tensor
    target: Tensor
    shown: Tensor | None
    evidence: Tensor | None
    origin: Tensor

    def info(self) -> dict[str, str]:
        """Return what an attribute says of its pairs."""
        return {} if self.shown is None else {SHOWN_SHARE: f"{float(self.shown.double().mean()):.4g}"}


def pair_evidence(
    prompts: PromptDenoisers, settings: PairSettings, sigmas: Tensor, latent: Sequence[int], seed: int
) -> PromptEvidence | None:
    """Return what pairs are chosen by.

    Args:
        prompts: The model under both prompts, without guidance.
        settings: Where the pairs come from.
        sigmas: Descending noise levels, [n + 1].
        latent: Shape of one latent, (C, H, W).
        seed: Seed of the pairs. The noises that pictures are asked with are others than those that pairs start from.

    Returns:
        The evidence; None where the settings go by the size of the change.
    """
    if settings.evidence_noises == 0:
        return None
    generator = torch.Generator().manual_seed(seed ^ 1)
    noise = torch.randn(settings.evidence_noises, *latent, generator=generator)
    return PromptEvidence(prompts, noise, sigmas[list(settings.asked_steps(len(sigmas) - 1))])


@torch.no_grad()
def accepted_pairs(
    prompts: PromptDenoisers,
    starts: Tensor | Iterable[Tensor],
    sigmas: Tensor,
    settings: PairSettings = PairSettings(),
    *,
    evidence: PromptEvidence | None = None,
    pictures: int = 0,
    run: Run = Run(),
) -> Pairs:
    """Sample pairs of codes until there are enough that show what their prompts say.

    Args:
        prompts: The model under both prompts.
        starts: States at sigmas[0], [N, C, H, W] in model space, or batches of them: noises, or codes of pictures
            (picture_codes.py); more than settings.count where pairs are refused.
        sigmas: Descending noise levels, [n + 1].
        settings: Where the pairs come from.
        evidence: What pairs are chosen and accepted by (pair_evidence). Where too few show the attribute, those that
            come nearest to it fill up. None goes by the size of the change, and accepts all.
        pictures: How many pictures the starts are codes of, by turns; 0 where each start is of its own.
        run: on_step is called for each model call of each batch.

    Returns:
        The pairs; fewer than settings.count where the starts ran out.

    Raises:
        EditError: A step is not in the schedule.
    """
    sources, targets, asked = [], [], []
    for x in starts.split(run.batch) if isinstance(starts, Tensor) else starts:
        pair = sample_prompt_pair(
            prompts.source,
            prompts.target,
            x.to(run.device),
            sigmas,
            settings.step,
            branch_steps=settings.branch_steps,
            delta=settings.delta,
            evidence=evidence,
            min_evidence_share=settings.min_evidence_share,
            on_step=run.on_step,
        )
        sources.append(pair.source)
        targets.append(pair.target)
        # Where nobody is asked, all count alike.
        asked.append(torch.tensor([[0.0], [1.0]]).expand(2, len(x)) if pair.evidence is None else pair.evidence)
        evidences = torch.cat(asked, dim=1)
        gains = evidences[1] - evidences[0]
        shown = changed_enough(gains)
        if int(shown.sum()) >= settings.count:
            break
    # Those that show it, in the order they were drawn; then the others, by how much they gain.
    rank = torch.where(shown, torch.inf, gains)
    chosen = rank.argsort(descending=True, stable=True)[: settings.count]
    source, target = (torch.cat(codes)[chosen.to(codes[0].device)] for codes in (sources, targets))
    origin = chosen % pictures if pictures else chosen
    if evidence is None:
        return Pairs(source, target, None, None, origin)
    return Pairs(source, target, shown[chosen], evidences[:, chosen], origin)


def changed_enough(gains: Tensor) -> Tensor:
    """Return which pictures gained much evidence, next to those that gained most, [B].

    Args:
        gains: The evidence that the target prompt adds to each picture, [B].
    """
    return (gains > 0) & (gains >= MIN_GAIN * gains.quantile(UPPER_QUARTILE))
