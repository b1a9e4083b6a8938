"""LATENT dictionaries and MASKs as tensors, and the way between LATENT space and model space."""

from __future__ import annotations

from typing import Any, NamedTuple

import comfy.sample
import torch
from torch import Tensor
from torch.nn import functional as F

from ...core.errors import EditError, check_latent
from ..cropping import cropped
from .family import has_frame, stated_pixels_per_latent
from .frames import framed, framed_like, unframed, without_model


def latent_of(latent: dict[str, Any], name: str, model: Any = None) -> Tensor:
    """Return a checked copy of a LATENT's samples.

    Args:
        latent: A LATENT.
        name: The input it came from, for the error's sentence.
        model: The MODEL that is to work on it, whose channel count is checked; None leaves that out.

    Returns:
        [B, C, H, W] in LATENT space, in float32; [B, C, T, H, W] for video models. The single frame of a picture's
        latent is left out (frames.py).

    Raises:
        EditError: The samples are no finite latent, or have other channels than the MODEL works on.
    """
    samples = latent["samples"]
    nested = getattr(samples, "is_nested", False)
    if model is None:
        picture = samples if nested else without_model(samples)
        return check_latent(picture, name).clone().float()
    if not nested:
        samples = comfy.sample.fix_empty_latent_channels(model, samples)
    latent_format = model.get_model_object("latent_format")
    check_latent(samples, name, video=getattr(latent_format, "latent_dimensions", 2) == 3)
    if has_frame(model.model) and samples.ndim == 5 and samples.shape[2] != 1:
        raise EditError(
            f"{name} has {samples.shape[2]} frames {tuple(samples.shape)}; a latent of pictures, of one frame, is "
            "accepted."
        )
    wanted = latent_format.latent_channels
    if samples.shape[1] != wanted:
        raise EditError(
            f"{name} has {samples.shape[1]} channels but this MODEL works on {wanted}; "
            "use the VAE that belongs to the model."
        )
    return unframed(model.model, samples).clone().float()


def with_samples(latent: dict[str, Any], samples: Tensor) -> dict[str, Any]:
    """Return a copy of a LATENT with other samples.

    Args:
        latent: The LATENT.
        samples: [B, C, H, W], as latent_of returned the others.

    Returns:
        The copy; its samples have the dtype of the LATENT's, and the single frame that those have.
    """
    return {**latent, "samples": framed_like(latent["samples"], samples)}


def picture_latents(vae: Any, image: Tensor, name: str, model: Any) -> Tensor:
    """Encode pictures.

    Args:
        vae: The model's VAE.
        image: IMAGE [B, H, W, 3].
        name: The input it came from, for the error's sentence.
        model: The MODEL that is to work on them.

    Returns:
        [B, C, h, w] in LATENT space, in float32.

    Raises:
        EditError: As latent_of does, or the VAE makes latents of another size than the model's format says.
    """
    # A VAE of videos would take a batch for the frames of one.
    rows = image.split(1) if has_frame(model.model) else [image]
    samples = latent_of({"samples": torch.cat([vae.encode(row) for row in rows])}, name, model)
    pixels = stated_pixels_per_latent(model.model)
    wanted = None if pixels is None else tuple(side // pixels for side in image.shape[1:3])
    if wanted is not None and samples.shape[-2:] != wanted:
        raise EditError(
            f"vae makes latents of {tuple(samples.shape[-2:])} of a picture of {tuple(image.shape[1:3])}, but this "
            f"MODEL works on {wanted}; use the VAE that belongs to the model."
        )
    return samples


def latent_mask(mask: Tensor | None, samples: Tensor, *, crop: bool = False) -> Tensor | None:
    """Bring a MASK to a latent's size.

    Args:
        mask: A MASK, [H, W] or [M, H, W] in [0, 1]; None is handed on.
        samples: The latent, [..., h, w].
        crop: Whether what its aspect has too much is cut off, as Prepare Picture does with pictures; else it is
            stretched, as ComfyUI does.

    Returns:
        [M, 1, h, w] in float32.
    """
    if mask is None:
        return None
    rows = mask.reshape(-1, 1, *mask.shape[-2:]).float().clamp(0, 1)
    size = samples.shape[-2:]
    return F.interpolate(cropped(rows, *size) if crop else rows, size=size, mode="area")


def to_model_space(model: Any, samples: Tensor) -> Tensor:
    """Bring samples from LATENT space to model space as ComfyUI's guider does: an all-zero latent is left as it is."""
    if torch.count_nonzero(samples) == 0:
        return samples
    return process_in(model.model, samples)


def process_in(base_model: Any, samples: Tensor) -> Tensor:
    """Bring samples, with or without a frame, from LATENT space to model space."""
    x: Tensor = base_model.process_latent_in(framed(base_model, samples))
    return x.view_as(samples)


def process_out(base_model: Any, x: Tensor) -> Tensor:
    """Bring samples, with or without a frame, from model space to LATENT space."""
    samples: Tensor = base_model.process_latent_out(framed(base_model, x))
    return samples.view_as(x)


class ComfySpace(NamedTuple):
    """The way between LATENT space and model space; see core.recipes.latent_svd.Space.

    Attributes:
        base_model: ComfyUI's BaseModel.
        sampling: Its model_sampling.
    """

    base_model: Any
    sampling: Any

    @classmethod
    def of(cls, model: Any) -> ComfySpace:
        """Return that of a MODEL, with its patches."""
        return cls(model.model, model.get_model_object("model_sampling"))

    def to_latent(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Bring a sampler's state to LATENT space, as a KSampler (Advanced) that stops there returns it."""
        return process_out(self.base_model, self.sampling.inverse_noise_scaling(sigma, x))

    def to_model(self, latent: Tensor, sigma: Tensor) -> Tensor:
        """Bring a latent to model space, as a KSampler (Advanced) that adds no noise takes it up."""
        x = process_in(self.base_model, latent)
        return self.sampling.noise_scaling(sigma, torch.zeros_like(x), x, False)


def latent_from_code(model: Any, latent: dict[str, Any], code: Tensor, sigma: Tensor) -> dict[str, Any]:
    """Make a LATENT from which samplers that add no noise start at ``code``.

    Args:
        model: The MODEL that samples from it.
        latent: The LATENT that is copied. Its noise mask is left out, because ComfyUI would paste the code itself
            outside of it.
        code: A noisy latent in model space at sigma, [B, C, ..., H, W].
        sigma: Noise level of the code, a scalar tensor.

    Returns:
        The copy, whose samples are the code in LATENT space.
    """
    copy = {key: value for key, value in latent.items() if key != "noise_mask"}
    copy["samples"] = framed(model.model, ComfySpace.of(model).to_latent(code.float().cpu(), sigma.cpu()))
    return copy


def code_from_latent(model: Any, samples: Tensor, sigma: Tensor) -> Tensor:
    """Return the code that latent_from_code, or a sampler that stops at sigma, made samples of.

    Args:
        model: The MODEL that sampled.
        samples: In LATENT space, [B, C, ..., H, W].
        sigma: Noise level, a scalar tensor.

    Returns:
        [B, C, ..., H, W] in model space, on the CPU.
    """
    return ComfySpace.of(model).to_model(samples.float().cpu(), sigma.cpu())


def latent_picture(base_model: Any, samples: Tensor, scale: int) -> Tensor | None:
    """Draw a latent roughly, without a VAE: each latent pixel in its mean colour.

    Args:
        base_model: ComfyUI's BaseModel.
        samples: [B, C, h, w] in LATENT space.
        scale: What the drawing is enlarged by.

    Returns:
        IMAGE [B, scale * h, scale * w, 3]; None where ComfyUI does not know the colours of this latent format.
    """
    factors = base_model.latent_format.latent_rgb_factors
    if factors is None:
        return None
    bias = getattr(base_model.latent_format, "latent_rgb_factors_bias", None)
    x = process_in(base_model, unframed(base_model, samples)).float().cpu()
    colours = torch.einsum("bchw,cr->brhw", x, torch.tensor(factors))
    if bias is not None:
        colours = colours + torch.tensor(bias)[:, None, None]
    drawn = F.interpolate((colours + 1) / 2, scale_factor=scale, mode="bilinear", antialias=False)
    return drawn.clamp(0, 1).movedim(1, -1)
