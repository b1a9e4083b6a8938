"""Models of single pictures whose latents have an axis of frames, such as Qwen-Image.

ComfyUI samples them as [B, C, 1, H, W]. All of this pack works on [B, C, H, W]: the frame is put in where ComfyUI is
called and taken out where it answers. Models of videos keep their frames. This module may be imported only where
ComfyUI runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import Tensor

from .family import has_frame


def framed(base_model: Any, x: Tensor) -> Tensor:
    """Return a batch of pictures as a model's sampler takes it: [B, C, 1, H, W] where it has a frame."""
    return x.unsqueeze(2) if has_frame(base_model) and x.ndim == 4 else x


def unframed(base_model: Any, x: Tensor) -> Tensor:
    """Return a batch of pictures as [B, C, H, W]; what has no single frame stays as it is."""
    return x.squeeze(2) if has_frame(base_model) and x.ndim == 5 else x


def without_model(samples: Tensor) -> Tensor:
    """Return a picture's latent, of a model that is not known here, as [B, C, H, W]; of several frames as it is."""
    return samples.squeeze(2) if samples.ndim == 5 and samples.shape[2] == 1 else samples


def framed_like(samples: Tensor, x: Tensor) -> Tensor:
    """Return a batch of pictures [B, C, H, W] with the axis of frames, and the dtype, that samples have."""
    return (x.unsqueeze(2) if samples.ndim == 5 else x).to(samples.dtype)


def without_frame(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a sampler function, behind k-diffusion's signature, work on [B, C, H, W] where ComfyUI gives a frame too."""

    @wraps(sample)
    def sample_pictures(  # noqa: PLR0917
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: Any = None,
        callback: Any = None,
        disable: Any = None,
        **more: Any,
    ) -> Tensor:
        base_model = model.inner_model.inner_model

        def report(info: dict[str, Any]) -> Any:
            shown = {name: framed(base_model, info[name]) for name in ("x", "denoised") if name in info}
            return callback({**info, **shown})

        reported = None if callback is None else report
        pictures = unframed(base_model, x)
        return framed(base_model, sample(model, pictures, sigmas, extra_args, reported, disable, **more))

    return sample_pictures
