"""The seam between the algorithms and a model: one callable, and the Euler step that everything is built on.

All tensors here are in model space. sigma is ComfyUI's: x = x0 + sigma*n for eps and v models,
x = (1 - sigma)*x0 + sigma*n for flow models; d = (x - D)/sigma is dx/dsigma in both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .errors import EditError

HEdit = Callable[[Tensor], Tensor]


class Denoiser(Protocol):
    """``denoise(x, sigma, h_edit=None) -> x0``, with guidance, prompts and patches already bound.

    x: [B, C, H, W] in model space; sigma: a scalar tensor. h_edit receives the rows of the bottleneck
    activation that are to be edited ([R, Ch, h, w]: the conditional rows, or both), may record them and
    returns their new value; the result is differentiable in that value.

    A denoiser may also offer ``denoise_pair(x, sigma, h_edit) -> (D, D_edit)`` to share work between the two, and say
    its ``guidance`` (see guidance_of).
    """

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor: ...


def denoise_pair(denoise: Denoiser, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
    """(D, D_edit). D comes from the stock call, so that it is bit for bit what an unedited sampler sees."""
    pair = getattr(denoise, "denoise_pair", None)
    return pair(x, sigma, h_edit) if pair else (denoise(x, sigma), denoise(x, sigma, h_edit))


def read_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """D and, of the same call, the bottleneck of each picture, as bottleneck_of has it."""
    seen: list[Tensor] = []

    def record(h: Tensor) -> Tensor:
        seen.append(h.detach())
        return h

    return denoise(x, sigma, record), bottleneck_of(seen, x)


def bottleneck_of(seen: list[Tensor], x: Tensor) -> Tensor:
    """The bottleneck of each picture of x [B, ...] from what an h_edit has seen: [B, Ch, h, w], the mean where it saw several rows a picture.

    Raises EditError for a prompt that divides the picture into areas.
    """
    if not seen or any(part.shape[1:] != seen[0].shape[1:] or len(part) % len(x) for part in seen):
        raise EditError(
            "A readout looks at the whole picture, but this prompt divides it into areas; use a direction of method combined."
        )
    return torch.cat(seen).unflatten(0, (-1, len(x))).mean(dim=0)


def guidance_of(denoise: Denoiser) -> float:
    """By how much its guidance multiplies a change of the conditional prediction; 1 where a denoiser does not say."""
    return float(getattr(denoise, "guidance", 1.0))
