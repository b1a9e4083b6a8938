"""What Learn Attribute does: learn by any method, with a report, and draw what was learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..backends.comfyui.frames import framed
from ..backends.comfyui.latents import latent_picture, picture_latents
from ..backends.comfyui.learning import learn_direction_in_session, learn_svd_in_session
from ..backends.comfyui.progress import Progress
from ..backends.comfyui.session import Prompts
from ..backends.sheets import side_by_side
from ..core.recipes.attributes import SVD_METHOD, Attribute, advised_strength, with_info
from ..core.recipes.settings import LearnSettings, PairSettings
from ..core.recipes.verdict import verdict_of
from ..core.samplers import Schedule
from .attribute_patch import with_attribute
from .hspace_report import report_learned

# What may help where an attribute comes less than half of the way.
REMEDY = "Effort best may help, or method latent svd."
# A preview made of latents is enlarged by this.
PREVIEW_SCALE = 4


@dataclass(frozen=True)
class Lesson:
    """What is learned, and how.

    Attributes:
        name: What the attribute is called.
        method: One of Learn Attribute's.
        effort: What multiplies the noises and the pairs.
        seed: Seed of the noises.
        layer: Name of the layer that h is at; latent svd does not read it.
        pictures: IMAGE that latent svd learns from, fitted to the model, or None.
        vae: The VAE that encodes them.
    """

    name: str
    method: str
    effort: float
    seed: int
    layer: str
    pictures: Tensor | None = None
    vae: Any = None


def learn_in_graph(
    model: Any, prompts: Prompts, latent: Tensor, sigmas: Tensor, lesson: Lesson
) -> tuple[Attribute, str]:
    """Learn an attribute.

    Args:
        model: A MODEL.
        prompts: The texts without and with the attribute, at the guidance that pairs are drawn at.
        latent: Empty latents, as many as fit into one batch, [B, C, H, W] in LATENT space.
        sigmas: The schedule to learn on.
        lesson: What, and how.

    Returns:
        The attribute, and a report of a few lines.

    Raises:
        EditError: The texts predict the same, or the model does not fit the method.
    """
    if lesson.method == SVD_METHOD:
        sampling = model.get_model_object("model_sampling")
        pairs = PairSettings.for_schedule(Schedule(sigmas, sampling.percent_to_sigma), lesson.effort)
        pictures = said = None
        if lesson.pictures is not None:
            said = pairs.pictures_left_out(len(lesson.pictures))
            pictures = picture_latents(lesson.vae, lesson.pictures[: pairs.drawn], "learn_from", model)
        attribute = learn_svd_in_session(
            model, prompts, latent, sigmas, pairs, name=lesson.name, seed=lesson.seed, pictures=pictures
        )
        return attribute, "\n".join(filter(None, (attribute.report(), said)))
    settings = LearnSettings.for_method(lesson.method)
    training = replace(settings.training, seed=lesson.seed)
    settings = replace(settings, effort=lesson.effort, training=training, layer=lesson.layer)
    # They are learned at the guidance of their settings.
    own_prompts = prompts._replace(cfg=settings.cfg)
    learned, plan = learn_direction_in_session(model, own_prompts, latent, sigmas, settings, name=lesson.name)
    said = verdict_of(learned.progress)
    return with_info(learned.direction, {"verdict": said}), report_learned(learned, plan, REMEDY)


def draw_preview(model: Any, attribute: Attribute, prompts: Prompts, latent: Tensor, sigmas: Tensor) -> Tensor | None:
    """Draw one picture without and with an attribute, as IMAGE; None where latents cannot be shown without a VAE."""
    progress = Progress(f"Drawing {attribute.name}, before and after", 2 * (len(sigmas) - 1))
    latent = framed(model.model, latent)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    drawn = []
    for strength in (0.0, advised_strength(attribute)):
        samples = comfy.sample.sample_custom(
            with_attribute(model, attribute, strength),
            noise,
            prompts.cfg,
            comfy.samplers.sampler_object("euler"),
            sigmas,
            prompts.positive,
            prompts.negative,
            latent,
            callback=lambda *step: progress.tick(),
            disable_pbar=True,
            seed=0,
        )
        picture = latent_picture(model.model, samples, PREVIEW_SCALE)
        if picture is None:
            return None
        drawn.append(picture)
    progress.finish(f"{attribute.name}: before and after")
    return side_by_side(*drawn)
