"""The seam between the algorithms and a model: one callable, and the one recorder of its bottleneck.

Every tensor here is in model space. sigma is ComfyUI's: x = x0 + sigma*n for eps and v models,
x = (1 - sigma)*x0 + sigma*n for flow models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor

from .errors import EditError
from .layers import MIDDLE_BLOCK

HEdit = Callable[[Tensor], Tensor]


class Denoiser(Protocol):
    """A model with its guidance, prompts and patches already bound: ``denoise(x, sigma, h_edit=None) -> x0``.

    A denoiser may also have

    - ``denoise_pair(x, sigma, h_edit) -> (D, D_edit)``, to share work between the two predictions;
    - ``guidance``, a float: by how much guidance multiplies a change of the conditional prediction (1 if absent);
    - ``flow``, a bool: whether the model is a flow model (False if absent);
    - ``layer``, a str: where its h is (core.layers); a U-Net's middle block if absent.
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


def guidance_of(denoise: Denoiser) -> float:
    """Return by how much the denoiser's guidance multiplies a change of the conditional prediction."""
    return float(getattr(denoise, "guidance", 1.0))


def is_flow(denoise: Denoiser) -> bool:
    """Return whether the denoiser is of a flow model, x = (1 - sigma)*x0 + sigma*n."""
    return bool(getattr(denoise, "flow", False))


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

    def per_picture(self, count: int) -> Tensor:
        """Return the bottleneck of each of ``count`` pictures, [count, Ch, h, w]: the mean where one has several rows.

        Raises:
            EditError: The prompt divides the picture into areas, so that no row holds the whole of it.
        """
        first = self.seen[0] if self.seen else None
        if first is None or any(part.shape[1:] != first.shape[1:] or len(part) % count for part in self.seen):
            raise EditError(
                "A readout looks at the whole picture, but this prompt divides it into areas; "
                "use a direction of method combined."
            )
        rows: Tensor = torch.cat(self.seen).unflatten(0, (-1, count))
        return rows.mean(dim=0)

    def mean(self) -> Tensor:
        """Return the mean of everything that was recorded, [Ch, h, w] in float32."""
        return torch.stack([part.float().mean(dim=0) for part in self.seen]).mean(dim=0)


def read_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Predict x0 and read the bottleneck in the same call.

    Args:
        denoise: The model.
        x: State at sigma, [B, C, H, W].
        sigma: Noise level, a scalar tensor.

    Returns:
        D, like x, and the bottleneck of each picture, [B, Ch, h, w].

    Raises:
        EditError: The prompt divides the picture into areas.
    """
    recorder = BottleneckRecorder()
    return denoise(x, sigma, recorder), recorder.per_picture(len(x))
