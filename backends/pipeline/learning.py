"""Learn an attribute from two prompts with a pipeline: what the node Learn Attribute does, by the same recipes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ...core.denoiser import PromptDenoisers
from ...core.errors import EditError
from ...core.hspace.direction import HDirection
from ...core.latent_svd.pair_notes import comes_seldom, notes
from ...core.layers import AUTO
from ...core.recipes import edit as edit_recipe
from ...core.recipes import hspace, latent_svd
from ...core.recipes.attributes import Attribute, advice, advised_strength, with_info
from ...core.recipes.defaults import LEARN_GUIDANCE
from ...core.recipes.learning_cost import learning_batch, plan_learning
from ...core.recipes.picture_codes import picture_codes
from ...core.recipes.settings import LearnSettings, PairSettings
from ...core.recipes.svd_pairs import pair_evidence
from ...core.recipes.verdict import ENOUGH, verdict_of
from ...core.samplers import OnStep, Run, Schedule
from ..conditioning import Conditioning
from ..previews import preview_text
from .arguments import check_texts
from .lesson import Lesson
from .model import PipelineModel, Prompt
from .pictures import pictures_of

LOGGER = logging.getLogger("singular_edit")


@torch.enable_grad()
def learn(model: PipelineModel, lesson: Lesson, name: str) -> Attribute:
    """Learn an attribute.

    Args:
        model: The pipeline.
        lesson: What is to be learned.
        name: What it is to be called.

    Returns:
        The attribute, on the CPU, with what its file says of itself.

    Raises:
        EditError: The settings are not accepted, or the prompts predict the same.
    """
    settings = lesson.settings_for(model)
    cfg, layer = (LEARN_GUIDANCE, AUTO) if isinstance(settings, PairSettings) else (settings.cfg, settings.layer)
    prompts = _prompts(model, lesson, cfg, layer)
    schedule = model.schedule(lesson.steps)
    pixels = model.pixels_per_latent
    pictures = None if lesson.pictures is None else pictures_of(lesson.pictures, model.sides, lesson.size)
    native = model.sides.native
    if pictures is None:
        height, width = model.sides.of(lesson.size, native, native)
        model.sides.log_rounded(lesson.size, [(height, width)])
    else:
        height, width = pictures.shape[-2:]
    size = (height // pixels, width // pixels)
    info = {
        "name": name,
        **model.family.info(),
        "cfg": f"{cfg:g}",
        "steps": str(lesson.steps),
        "width": str(width),
        "height": str(height),
    }
    with model.frozen():
        if isinstance(settings, PairSettings):
            attribute: Attribute = _learn_svd(model, lesson, pictures, prompts, schedule, settings, size, info)
        else:
            attribute = _learn_direction(model, prompts, schedule, settings, size, info)
    if isinstance(lesson.source, str) and isinstance(lesson.target, str):
        attribute = with_info(attribute, advice(attribute, lesson.source, lesson.target))
        attribute = with_info(attribute, {"preview": _preview(model, lesson, attribute, size)})
    return attribute


def _prompts(model: PipelineModel, lesson: Lesson, cfg: float, layer: str) -> PromptDenoisers:
    """Return the model under both prompts; the negative prompt is encoded where guidance asks for it."""
    source = model.encode_prompt(lesson.source, "source")
    target = model.encode_prompt(lesson.target, "target")
    for name, encoded in (("source", source), ("target", target)):
        if len(encoded.embeds) != 1:
            raise EditError(f"{name} holds {len(encoded.embeds)} prompts; one is accepted for learning.")
    negative = negative_of(model, "", cfg, source)
    return PromptDenoisers(*(model.denoiser(prompt, negative, cfg, layer) for prompt in (source, target)))


def negative_of(model: PipelineModel, negative: Prompt, guidance: float, prompt: Conditioning) -> Conditioning:
    """Return the encoded negative prompt; where guidance does not evaluate it, the prompt itself stands in for it."""
    if guidance != 1.0:
        return model.encode_prompt(negative, "negative")
    if not isinstance(negative, Tensor | Conditioning):
        check_texts(negative, "negative")
    return prompt


def layer_of(attributes: Iterable[Attribute]) -> str:
    """Return the layer that directions among attributes belong to; AUTO where there is none."""
    return next((one.layer for one in attributes if isinstance(one, HDirection)), AUTO)


def _learn_svd(  # noqa: PLR0917
    model: PipelineModel,
    lesson: Lesson,
    pictures: Tensor | None,
    prompts: PromptDenoisers,
    schedule: Schedule,
    settings: PairSettings,
    size: tuple[int, int],
    info: dict[str, str],
) -> Attribute:
    """Learn an SVD attribute from pairs of codes, which begin at noise or at pictures [N, 3, height, width]."""
    batch = learning_batch(size)
    sigmas, count, seed = schedule.sigmas, settings.drawn, lesson.seed or 0
    if pictures is not None:
        if said := settings.pictures_left_out(len(pictures)):
            LOGGER.warning("%s: %s", info["name"], said)
        pictures = pictures[:count]
    several = 0 if pictures is None else len(pictures)
    unguided = _prompts(model, lesson, 1.0, AUTO)
    evidence = pair_evidence(unguided, settings, sigmas, (model.latent_channels, *size), seed)
    calls = settings.all_calls(len(sigmas) - 1, batch, several)
    with ticking(model, f"Learning {info['name']}", calls) as tick:
        run = Run(batch, model.device, tick)
        starts: Tensor | Iterable[Tensor]
        if pictures is None:
            starts = model.starting_noise(count, size, sigmas[0], seed)
        else:
            latents = torch.cat([model.encode(part) for part in pictures.split(batch)])
            starts = picture_codes(prompts.source, latents, sigmas, count, seed=seed, run=run)
        learned = latent_svd.learn_from_prompts(
            prompts,
            starts,
            sigmas,
            settings,
            space=model.space,
            evidence=evidence,
            pictures=several,
            info=info,
            run=run,
        )
    say = LOGGER.warning if comes_seldom(learned.info) else LOGGER.info
    for note in notes(learned.info):
        say("%s: %s.", info["name"], note)
    return learned


def _learn_direction(  # noqa: PLR0917
    model: PipelineModel,
    prompts: PromptDenoisers,
    schedule: Schedule,
    settings: LearnSettings,
    size: tuple[int, int],
    info: dict[str, str],
) -> Attribute:
    """Learn a direction or a readout."""
    batch = learning_batch(size)
    seed = settings.training.seed
    first = model.starting_noise(1, size, schedule.sigmas[0], seed).to(model.device)
    plan = plan_learning(prompts.source, settings, schedule, first, batch)
    LOGGER.info("%s: %s", info["name"], plan.cost.text())
    noise = model.starting_noise(plan.settings.samples, size, schedule.sigmas[0], seed)
    with ticking(model, f"Learning {info['name']}", plan.cost.ticks) as tick:
        run = Run(batch, model.device, tick)
        learned = hspace.learn_from_prompts(prompts, noise, schedule, plan.settings, info=info, run=run)
    if learned.start is not None:
        LOGGER.info("%s: %s", info["name"], learned.start.text())
    said = verdict_of(learned.progress)
    say = LOGGER.warning if learned.progress is not None and learned.progress < ENOUGH else LOGGER.info
    say("%s: %s", info["name"], said)
    return with_info(learned.direction, {"verdict": said})


@torch.no_grad()
def _preview(model: PipelineModel, lesson: Lesson, attribute: Attribute, size: tuple[int, int]) -> str:
    """Draw one picture without and with an attribute, as the text that its file carries."""
    schedule = model.schedule(lesson.steps)
    source = model.encode_prompt(lesson.source)
    denoise = model.denoiser(source, model.encode_prompt(""), LEARN_GUIDANCE, layer_of([attribute]))
    noise = model.starting_noise(1, size, schedule.sigmas[0], 0).to(model.device)
    weighted = [(attribute, advised_strength(attribute))]
    edited = edit_recipe.editor(denoise, noise, schedule, weighted, space=model.space)
    pictures = [model.decode(edited(factor)) for factor in (0.0, 1.0)]
    return preview_text(torch.cat(pictures, dim=-1).movedim(1, -1))


@contextmanager
def ticking(model: PipelineModel, title: str, total: int) -> Iterator[OnStep]:
    """Show the pipeline's own progress bar, as set_progress_bar_config set it, and lend what counts one step."""
    with model.pipe.progress_bar(total=max(total, 1)) as bar:
        bar.set_description(title)

        def tick() -> None:
            # What is counted before is an upper bound, and never less than this.
            bar.update(min(1, bar.total - bar.n))

        yield tick
        bar.update(bar.total - bar.n)
