"""Tensors that tests draw, and distances between them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def noise(shape: tuple[int, ...] = (2, 4, 8, 8), seed: int = 0) -> Tensor:
    """Gaussian noise of one seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, in float64."""
    difference = a.double() - b.double()
    return (difference.norm() / b.double().norm()).item()


def psnr(a: Tensor, b: Tensor, peak: float = 4.0) -> float:
    """Peak signal-to-noise ratio over everything, in dB."""
    return 10 * math.log10(peak**2 / max((a - b).square().mean().item(), 1e-20))
