"""The seam between the algorithms and a model: one callable, and the one recorder of its bottleneck.

Every tensor here is in model space. sigma is ComfyUI's: x = x0 + sigma*n for eps and v models,
x = (1 - sigma)*x0 + sigma*n for flow models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from .errors import EditError, check_prediction
from .layers import MIDDLE_BLOCK

HEdit = Callable[[Tensor], Tensor]


class Denoiser(Protocol):
    """A model with its guidance, prompts and patches already bound: ``denoise(x, sigma, h_edit=None) -> x0``.

    A denoiser may also have

    - ``denoise_pair(x, sigma, h_edit) -> (D, D_edit)``, to share work between the two predictions;
    - ``guidance``, a float: by how much guidance multiplies a change of the conditional prediction (1 if absent);
    - ``flow``, a bool: whether the model is a flow model (False if absent);
    - ``place_size``, an int: latent pixels along each side for one place of the bottleneck, by which a bottleneck of
      a part of the picture is told (0, not known, if absent);
    - ``layer``, a str: where its h is (core.layers); a U-Net's middle block if absent;
    - ``dtype``, a torch.dtype: what its network computes in (not known if absent);
    - ``mask``, a Tensor: where it lets the picture change, so that samplers mask nothing themselves (None if absent).
    """

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0.

        Args:
            x: State at sigma, [B, C, H, W].
            sigma: Noise level, a scalar tensor.
            h_edit: Called with the rows of h that are to be edited, [R, Ch, h, w]: the conditional rows, or both. h is
                a U-Net's bottleneck, or a transformer's image tokens as a grid. It may record them and returns their
                new value.

        Returns:
            The denoised prediction after guidance, like x; differentiable in what h_edit returns.
        """
        ...


class PromptDenoisers(NamedTuple):
    """One model under two prompts.

    Attributes:
        source: Under the source prompt.
        target: Under the target prompt.
        differentiable: Under the source prompt and differentiable in its bottleneck; None where ``source`` is that.
    """

    source: Denoiser
    target: Denoiser
    differentiable: Denoiser | None = None

    @property
    def student(self) -> Denoiser:
        """The denoiser that a direction is trained through."""
        return self.source if self.differentiable is None else self.differentiable


def place_size_of(denoise: Denoiser) -> int:
    """Return how many latent pixels along each side one place of the bottleneck has; 0 where it is not known."""
    return int(getattr(denoise, "place_size", 0))


def guidance_of(denoise: Denoiser) -> float:
    """Return by how much the denoiser's guidance multiplies a change of the conditional prediction."""
    return float(getattr(denoise, "guidance", 1.0))


def precision_of(denoise: Denoiser) -> torch.dtype | None:
    """Return what the denoiser's network computes in; None where it does not say."""
    return getattr(denoise, "dtype", None)


def is_flow(denoise: Denoiser) -> bool:
    """Return whether the denoiser is of a flow model, x = (1 - sigma)*x0 + sigma*n."""
    return bool(getattr(denoise, "flow", False))


def mask_of(denoise: Denoiser) -> Tensor | None:
    """Return where the denoiser lets its predictions change, broadcastable to a state, 0 to 1; None is everywhere."""
    return getattr(denoise, "mask", None)


def layer_of(denoise: Denoiser) -> str:
    """Return where the denoiser's h is; see core.layers."""
    return str(getattr(denoise, "layer", MIDDLE_BLOCK))


def denoise_pair(denoise: Denoiser, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
    """Predict x0 plainly and with the bottleneck edited.

    Args:
        denoise: The model.
        x: State at sigma, [B, C, H, W].
        sigma: Noise level, a scalar tensor.
        h_edit: What the edited prediction does to the bottleneck.

    Returns:
        (D, D_edit), each like x. D comes from the stock call, so that it is bit for bit what an unedited sampler sees.
    """
    pair = getattr(denoise, "denoise_pair", None)
    if pair is not None:
        return cast(tuple[Tensor, Tensor], pair(x, sigma, h_edit))
    return denoise(x, sigma), denoise(x, sigma, h_edit)


class BottleneckRecorder:
    """An h_edit that keeps every bottleneck it is called with and hands it on, edited or unchanged.

    Args:
        h_edit: The edit whose result is handed on; None hands on what came.
    """

    def __init__(self, h_edit: HEdit | None = None) -> None:
        self.h_edit = h_edit
        self.seen: list[Tensor] = []

    def __call__(self, h: Tensor) -> Tensor:
        """Record h [R, Ch, h, w] as it came, and return it edited."""
        self.seen.append(h.detach())
        return h if self.h_edit is None else self.h_edit(h)

    def per_picture(self, latent: Tensor, place_size: int = 0) -> Tensor:
        """Return the bottleneck of each picture, [B, Ch, h, w]: the mean where one has several rows.

        Args:
            latent: What the model was called with, [B, C, H, W].
            place_size: Latent pixels along each side for one place of the bottleneck; 0 where it is not known.

        Raises:
            EditError: Some of what was recorded is not of whole pictures, or nothing was.
        """
        self.check_whole(latent, place_size)
        rows: Tensor = torch.cat(self.seen).unflatten(0, (-1, len(latent)))
        return rows.mean(dim=0)

    def mean(self, latent: Tensor, place_size: int = 0) -> Tensor:
        """Return the mean of everything that was recorded, [Ch, h, w] in float32; per_picture says more."""
        self.check_whole(latent, place_size)
        return torch.stack([part.float().mean(dim=0) for part in self.seen]).mean(dim=0)

    def check_whole(self, latent: Tensor, place_size: int) -> None:
        """Check that everything that was recorded is of whole pictures; per_picture says what it takes.

        Raises:
            EditError: A prompt's area, a mask's bounds, or another patch gave it another size, or there is nothing.
        """
        sizes = {tuple(part.shape[2:]) for part in self.seen}
        wanted = {tuple(-(-side // place_size) for side in latent.shape[2:])} if place_size else sizes
        if len(sizes) != 1 or sizes != wanted or any(len(part) % len(latent) for part in self.seen):
            raise EditError(
                "The bottleneck is read for the whole picture at every step, but here it is not reached, or has the "
                "size of a part; use prompts without areas and ranges of steps, and no patch that shrinks it."
            )


def record_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, BottleneckRecorder]:
    """Predict x0 and record the bottleneck in the same call.

    Args:
        denoise: The model.
        x: State at sigma, [B, C, H, W].
        sigma: Noise level, a scalar tensor.

    Returns:
        D, like x, and the recorder.

    Raises:
        EditError: The model predicts NaN.
    """
    recorder = BottleneckRecorder()
    return check_prediction(denoise(x, sigma, recorder), sigma), recorder


def read_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Predict x0 and read the bottleneck in the same call.

    Args:
        denoise: The model.
        x: State at sigma, [B, C, H, W].
        sigma: Noise level, a scalar tensor.

    Returns:
        D, like x, and the bottleneck of each picture, [B, Ch, h, w].

    Raises:
        EditError: The prompt divides the picture into areas, or the model predicts NaN.
    """
    denoised, recorder = record_bottleneck(denoise, x, sigma)
    return denoised, recorder.per_picture(x, place_size_of(denoise))
