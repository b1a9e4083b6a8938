"""A picture that is ready to be edited, and how it is edited: what three artist nodes have in common.

Prompt, guidance, schedule, code and trace travel together, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
from torch import Tensor

from ..backends.comfyui.family import check_fits
from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.noise import InvertedNoise
from ..backends.comfyui.progress import Progress, previewer
from ..backends.comfyui.session import Prompts
from ..core.errors import EditError
from ..core.inversion.traced import Trace
from ..core.recipes.attributes import Attribute, guidance_factor, with_scale
from ..core.recipes.slide import Slide, sampled_scales
from .attribute_patch import with_attribute
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

    @property
    def steps(self) -> int:
        """Sampling steps of the way back."""
        return len(self.sigmas) - 1


def picture_of(value: Any, name: str) -> PreparedPicture:
    """Check that an input is a prepared picture.

    Args:
        value: What came over the wire.
        name: The input's name, for the error.

    Returns:
        The value.

    Raises:
        EditError: It is something else.
    """
    if not isinstance(value, PreparedPicture):
        raise EditError(f"{name} is a {type(value).__name__}; wire Prepare Picture.")
    return value


def edited_pictures(
    picture: PreparedPicture,
    attribute: Attribute,
    strengths: Sequence[float],
    *,
    until: float,
    absolute: bool = False,
    fade: bool = False,
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
        fade: Whether finished pictures are mixed.
        mask: A MASK of where it may change; None is everywhere.
        progress: Ticks once a step.

    Returns:
        IMAGE [B, height, width, 3] for each strength.

    Raises:
        EditError: The attribute does not fit the model.
    """
    plain_attribute, factor = with_scale(attribute), guidance_factor(attribute, picture.prompts.cfg)
    check_fits(attribute, picture.model.model)

    def sample(scale: float) -> Tensor:
        if scale == 0:
            return picture.rebuilt.clone()
        return _sampled(picture, plain_attribute, factor * scale, until=until, mask=mask, progress=progress)

    slide = Slide(sample, attribute.response)
    edited = [slide.at(strength, absolute=absolute, fade=fade) for strength in strengths]
    # What is mixed may lie beyond white; strength 0 is left bit for bit.
    return [one.clamp(0, 1) for one in edited] if fade else edited


def sampled_steps(
    picture: PreparedPicture,
    attribute: Attribute,
    strengths: Sequence[float],
    *,
    absolute: bool = False,
    fade: bool = False,
) -> int:
    """Return how often edited_pictures ticks."""
    return picture.steps * len(sampled_scales(attribute.response, strengths, absolute=absolute, fade=fade) - {0.0})


def _sampled(
    picture: PreparedPicture,
    attribute: Attribute,
    scale: float,
    *,
    until: float,
    mask: Tensor | None,
    progress: Progress,
) -> Tensor:
    """Sample the way back with an attribute at a scale; IMAGE [B, height, width, 3]."""
    model = with_attribute(picture.model, attribute, scale, end=until)
    if picture.trace is not None:
        sampler = traced_sampler(picture.trace)
    else:
        sampler = comfy.samplers.sampler_object(picture.sampler)
    noise = InvertedNoise(model, picture.code, float(picture.sigmas[0])).generate_noise({"samples": picture.latent})
    preview = previewer(model)

    def report(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        progress.tick(preview(denoised))

    edited = comfy.sample.sample_custom(
        model,
        noise,
        picture.prompts.cfg,
        sampler,
        picture.sigmas,
        picture.prompts.positive,
        picture.prompts.negative,
        picture.latent,
        noise_mask=latent_mask(mask, picture.latent),
        callback=report,
        disable_pbar=True,
        seed=0,
    )
    return decoded(picture.vae, edited)


def decoded(vae: Any, latent: Tensor) -> Tensor:
    """Decode a latent in LATENT space to an IMAGE, [B, height, width, 3]."""
    pictures = vae.decode(latent)
    # A VAE of videos gives frames.
    return pictures.reshape(-1, *pictures.shape[-3:]).float().cpu()
