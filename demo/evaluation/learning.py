"""Learning on an embedded model, or on one that is brought: what core/recipes learn, bound to it.

What is learned from is drawn by a seed, and shows nothing of the pictures that edits are tried on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from ...core import HDirection, SVDAttribute, learn_attribute
from ...core.denoiser import PromptDenoisers
from ...core.hspace.trajectories import Trajectories, record_trajectories
from ...core.layers import AUTO
from ...core.prompt_evidence import PromptEvidence
from ...core.recipes import defaults, hspace, latent_svd, svd_pairs
from ...core.recipes.learning_cost import LearningPlan, plan_learning
from ...core.recipes.picture_codes import picture_codes
from ...core.recipes.settings import READOUT, LearnSettings, PairSettings
from ...core.recipes.svd_pairs import pair_evidence
from ...core.samplers import Run, Schedule
from .evaluated import EvaluatedModel, denoiser_at
from .session import starting_noise

BATCH = 32  # noises that are sampled at once


def prompts(model: EvaluatedModel, attribute: str, cfg: float, layer: str = AUTO) -> PromptDenoisers:
    """Return the model under the source prompt and under the one that names the attribute, with h at a layer."""
    source, target = (denoiser_at(model, layer, prompt, cfg) for prompt in (model.source, model.target(attribute)))
    return PromptDenoisers(source, target)


def schedule(model: EvaluatedModel, steps: int = defaults.STEPS) -> Schedule:
    """Return the model's schedule."""
    return Schedule(model.sigmas(steps), model.percent_to_sigma)


def pair_noise(model: EvaluatedModel, pair: PairSettings, seed: int) -> Tensor:
    """Draw the noises of pairs."""
    return starting_noise(model, pair.drawn, seed, model.sigmas(defaults.STEPS))


def _evidence(model: EvaluatedModel, attribute: str, pair: PairSettings, seed: int) -> PromptEvidence | None:
    """Return what pairs are chosen and accepted by."""
    unguided = prompts(model, attribute, 1.0)
    return pair_evidence(unguided, pair, model.sigmas(defaults.STEPS), model.latent_shape, seed)


def accepted_pairs(
    model: EvaluatedModel, attribute: str, seed: int, pair: PairSettings = PairSettings()
) -> tuple[Tensor, Tensor]:
    """Return codes of pair.count foreign pairs, [count, *latent_shape] each."""
    pairs = svd_pairs.accepted_pairs(
        prompts(model, attribute, defaults.LEARN_GUIDANCE),
        pair_noise(model, pair, seed),
        model.sigmas(defaults.STEPS),
        pair,
        evidence=_evidence(model, attribute, pair, seed),
        run=Run(BATCH, model.device),
    )
    return pairs.source, pairs.target


def svd_attribute(
    model: EvaluatedModel,
    attribute: str,
    seed: int,
    pair: PairSettings = PairSettings(),
    *,
    pictures: range = range(0),
    batch: int = BATCH,
) -> SVDAttribute:
    """Learn an attribute from pairs of codes: the mean edit of pair.count foreign faces.

    Args:
        model: The model.
        attribute: Its name.
        seed: Seed of the noises.
        pair: Where pairs come from.
        pictures: Seeds of pictures without the attribute, whose codes pairs begin at in place of noise; none: noise.
        batch: Pairs that are sampled at once.
    """
    both = prompts(model, attribute, defaults.LEARN_GUIDANCE)
    sigmas, run = model.sigmas(defaults.STEPS), Run(batch, model.device)
    starts: Tensor | Iterable[Tensor]
    if not pictures:
        starts = pair_noise(model, pair, seed)
    else:
        without = model.sample(pictures).with_attributes(**{attribute: False})
        latents = model.encode(model.render(without))
        starts = picture_codes(both.source, latents, sigmas, pair.drawn, seed=seed, run=run)
    return latent_svd.learn_from_prompts(
        both,
        starts,
        sigmas,
        pair,
        evidence=_evidence(model, attribute, pair, seed),
        info={
            "name": attribute,
            "latent_format": model.latent_format,
            "source_prompt": model.source,
            "target_prompt": model.target(attribute),
        },
        pictures=len(pictures),
        run=run,
    )


def single_pairs(model: EvaluatedModel, attribute: str, count: int, seed: int) -> list[SVDAttribute]:
    """Learn ``count`` attributes, each of one foreign pair."""
    sources, targets = accepted_pairs(model, attribute, seed, PairSettings(count=count))
    return [learn_attribute(x[None], z[None]) for x, z in zip(sources, targets, strict=True)]


def learning_plan(model: EvaluatedModel, attribute: str, settings: LearnSettings) -> LearningPlan:
    """Return how many noises an attribute is learned from, and what that takes."""
    learned_on = schedule(model)
    noise = starting_noise(model, 1, 0, learned_on.sigmas)
    return plan_learning(prompts(model, attribute, settings.cfg).source, settings, learned_on, noise, BATCH)


def trajectories(model: EvaluatedModel, attribute: str, settings: LearnSettings, seed: int = 0) -> Trajectories:
    """Record what directions that move h are learned from, for one or several of them."""
    settings = settings.for_bottleneck(model.bottleneck)
    learned_on = schedule(model)
    noise = starting_noise(model, settings.samples, seed, learned_on.sigmas)
    both = prompts(model, attribute, settings.cfg, settings.layer)
    run = Run(BATCH, model.device)
    start = hspace.start_of(both, noise, learned_on, settings, run=run)
    branch_sigma = learned_on.sigma_at(start.percent)
    return record_trajectories(both.source, both.target, noise, learned_on.sigmas, branch_sigma=branch_sigma, run=run)


def h_direction(
    model: EvaluatedModel,
    attribute: str,
    recorded: Trajectories,
    settings: LearnSettings,
    *,
    seed: int = 0,
    gain: str = "step",
) -> HDirection:
    """Learn a direction that moves h, at its measured unit."""
    settings = replace(settings, training=replace(settings.training, seed=seed))
    return hspace.learn_from_trajectories(
        denoiser_at(model, settings.layer, model.source, settings.cfg),
        recorded,
        schedule(model),
        settings,
        gain=gain,
        info={"name": attribute},
        run=Run(settings.training.batch, model.device),
    ).direction


def learned_readout(
    model: EvaluatedModel,
    attribute: str,
    settings: LearnSettings | None = None,
    *,
    seed: int = 0,
    run: Run | None = None,
) -> hspace.Learned:
    """Learn a readout, at its measured unit, with the losses of its training."""
    settings = (settings or LearnSettings.for_method(READOUT)).for_bottleneck(model.bottleneck)
    settings = replace(settings, training=replace(settings.training, seed=seed))
    learned_on = schedule(model)
    return hspace.learn_from_prompts(
        prompts(model, attribute, settings.cfg, settings.layer),
        starting_noise(model, settings.samples, seed, learned_on.sigmas),
        learned_on,
        settings,
        info={"name": attribute},
        run=run or Run(BATCH, model.device),
    )


def readout(
    model: EvaluatedModel,
    attribute: str,
    settings: LearnSettings | None = None,
    *,
    seed: int = 0,
    run: Run | None = None,
) -> HDirection:
    """Learn a readout, at its measured unit."""
    return learned_readout(model, attribute, settings, seed=seed, run=run).direction
