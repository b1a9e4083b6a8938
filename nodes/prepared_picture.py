"""A picture that is ready to be edited, and how it is edited: what three artist nodes have in common.

Prompt, guidance, schedule, code and trace travel together, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..backends.comfyui.family import check_fits
from ..backends.comfyui.frames import framed, unframed
from ..backends.comfyui.latents import code_from_latent, latent_from_code, latent_mask, process_in
from ..backends.comfyui.noise import InvertedNoise
from ..backends.comfyui.progress import Progress, previewer
from ..backends.comfyui.session import Prompts
from ..core.inversion.trace import Trace
from ..core.recipes.attributes import Attribute, guidance_factor, with_scale
from ..core.recipes.edit import cut_at, scale_after
from ..core.recipes.retries import retries_of
from ..core.recipes.sampled_steps import sampled_steps
from ..core.recipes.slide import slide_of
from ..core.samplers import Schedule
from .attribute_patch import with_attribute
from .inputs import checked
from .traced_sampler import traced_sampler


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """An inverted picture with everything that its way back needs.

    Attributes:
        model: The MODEL of the inversion.
        vae: Its VAE.
        prompts: The prompts and the guidance of the inversion.
        sigmas: The schedule, descending, [n + 1].
        latent: The picture, [B, C, H, W] in LATENT space.
        code: The code at sigmas[0], [B, C, H, W] in model space.
        trace: The trace of euler's steps; None for another sampler.
        sampler: Name of the sampler of the way back.
        rebuilt: What the way back gives without an edit, IMAGE [B, height, width, 3].
        original: The picture itself at its own size, of which rebuilt may show the middle, IMAGE [B, H, W, 3].
    """

    model: Any
    vae: Any
    prompts: Prompts
    sigmas: Tensor
    latent: Tensor
    code: Tensor
    trace: Trace | None
    sampler: str
    rebuilt: Tensor
    original: Tensor

    @property
    def steps(self) -> int:
        """Sampling steps of the way back."""
        return len(self.sigmas) - 1


# [B] by the number of retries
Factors = dict[int, Tensor]
# What retries found for a picture and an attribute, by where the edit ends, so that moving the strength does not ask
# again. It is kept beside the pictures, because a node changes no input, and goes with them.
_FACTORS: WeakKeyDictionary[PreparedPicture, WeakKeyDictionary[Attribute, dict[float, Factors]]] = WeakKeyDictionary()


def known_factors(picture: PreparedPicture, attribute: Attribute, until: float) -> Factors:
    """Return what retries found for an edit that ends at ``until``; what is added is kept."""
    return _FACTORS.setdefault(picture, WeakKeyDictionary()).setdefault(attribute, {}).setdefault(until, {})


def picture_of(value: Any, name: str) -> PreparedPicture:
    """Return an input's value as a prepared picture; see checked."""
    return checked(value, PreparedPicture, name, "Prepare Picture")


def edited_pictures(
    picture: PreparedPicture,
    attribute: Attribute,
    strengths: Sequence[float],
    *,
    until: float,
    absolute: bool = False,
    fade: float = 0.0,
    retries: int = 0,
    mask: Tensor | None = None,
    progress: Progress,
) -> list[Tensor]:
    """Sample the way back with an attribute applied, as core/recipes/slide.py does.

    Args:
        picture: The picture.
        attribute: What to edit along.
        strengths: 0 gives the rebuilt picture, without sampling; 1 is as learned, below 0 takes away.
        until: Sampling progress until which the picture is edited.
        absolute: Whether strengths say how much of the attribute the picture has in the end.
        fade: The sampling progress at which runs without and with the attribute are mixed.
        retries: How often pictures that the attribute changes too little are edited again, at most.
        mask: A MASK of where it may change, of the picture's size before or after Prepare Picture; None is everywhere.
        progress: Ticks once a step.

    Returns:
        IMAGE [B, height, width, 3] for each strength.

    Raises:
        EditError: The attribute does not fit the model.
    """
    plain_attribute, factor = with_scale(attribute), guidance_factor(attribute, picture.prompts.cfg)
    check_fits(attribute, picture.model.model)
    retries = retries_of(retries, until, mask)

    def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
        scale = scale_after(attribute, scale, first)
        if state is None and scale == 0 and picture.trace is not None:
            return _traced_state(picture, last)
        if state is not None and first == last:
            return state
        progress.expect(last - first)
        model = with_attribute(picture.model, plain_attribute, factor * scale, end=until) if scale else picture.model
        return _sampled(picture, model, picture.sigmas[first : last + 1], state, mask=mask, progress=progress)

    slide = slide_of(
        run,
        attribute.response,
        steps=picture.steps,
        cut=partial(_cut, picture, attribute),
        decode=partial(decoded, picture.vae, picture.model.model),
        known={0.0: picture.rebuilt.clone()},
        factors=known_factors(picture, attribute, until),
        comparable=partial(process_in, picture.model.model),
    )
    edited = [slide.at(strength, absolute=absolute, fade=fade, retries=retries) for strength in strengths]
    # What is mixed may lie beyond white; strength 0 is left bit for bit.
    return [one.clamp(0, 1) for one in edited] if fade else edited


def steps_to_sample(
    picture: PreparedPicture,
    attribute: Attribute,
    strengths: Sequence[float],
    *,
    until: float,
    absolute: bool = False,
    fade: float = 0.0,
    retries: int = 0,
    mask: Tensor | None = None,
) -> int:
    """Return how often edited_pictures ticks, where no picture is given more."""
    cut = partial(_cut, picture, attribute)
    retries = retries_of(retries, until, mask)
    there = dict(known={0.0}, traced=picture.trace is not None, factors=known_factors(picture, attribute, until))
    options = dict(absolute=absolute, fade=fade, retries=retries)
    return sampled_steps(attribute.response, strengths, picture.steps, cut=cut, **there, **options)


def weak_answer(
    picture: PreparedPicture,
    attribute: Attribute,
    strengths: Sequence[float],
    *,
    until: float,
    retries: int,
    mask: Tensor | None,
    **_: Any,
) -> str:
    """Return what to say where edited_pictures, so called, gave a picture more than a strength says, or nothing."""
    found = known_factors(picture, attribute, until).get(retries_of(retries, until, mask))
    most = 1.0 if found is None or max(strengths) <= 0 else float(found.max())
    return f"; the picture answers weakly and was edited at {most:g} times the strength" if most > 1 else ""


def _cut(picture: PreparedPicture, attribute: Attribute, place: float) -> int:
    """Return the step where runs are mixed."""
    sampling = picture.model.get_model_object("model_sampling")
    return cut_at(attribute, Schedule(picture.sigmas, sampling.percent_to_sigma), place)


def _traced_state(picture: PreparedPicture, step: int) -> Tensor:
    """Return the state of the picture's trace before a step, in LATENT space."""
    assert picture.trace is not None
    code = picture.trace.states[step]
    return unframed(picture.model.model, latent_from_code(picture.model, {}, code, picture.sigmas[step])["samples"])


def _sampled(
    picture: PreparedPicture,
    model: Any,
    sigmas: Tensor,
    start: Tensor | None,
    *,
    mask: Tensor | None,
    progress: Progress,
) -> Tensor:
    """Sample the way back, or a part of it; start is the state at sigmas[0], and what comes back the one at the end.

    Both are [B, C, H, W] in LATENT space. Without a start the picture's code is it.
    """
    latent = picture.latent
    code = picture.code if start is None else code_from_latent(model, start, sigmas[0])
    if picture.trace is not None:
        sampler = traced_sampler(picture.trace)
    else:
        sampler = comfy.samplers.sampler_object(picture.sampler)
    noise = InvertedNoise(model, code, float(sigmas[0])).generate_noise({"samples": latent})
    if picture.trace is not None and start is not None:
        # A traced sampler keeps the picture outside of a mask itself, and refuses a start that noise was added to.
        latent, noise = start, torch.zeros_like(noise)
    preview = previewer(model)

    def report(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        progress.tick(preview(denoised))

    sampled = comfy.sample.sample_custom(
        model,
        noise,
        picture.prompts.cfg,
        sampler,
        sigmas,
        picture.prompts.positive,
        picture.prompts.negative,
        framed(model.model, latent),
        noise_mask=latent_mask(mask, picture.latent, crop=True),
        callback=report,
        disable_pbar=True,
        seed=0,
    )
    return unframed(model.model, sampled)


def decoded(vae: Any, base_model: Any, latent: Tensor) -> Tensor:
    """Decode a model's latent in LATENT space to an IMAGE, [B, height, width, 3]."""
    pictures = vae.decode(framed(base_model, latent))
    # A VAE of videos gives frames.
    return pictures.reshape(-1, *pictures.shape[-3:]).float().cpu()
