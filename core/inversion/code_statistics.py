"""Measure whether a recovered code is the noise a sampler would have drawn.

An exact round trip does not say so: a code that returns the picture may still be far from Gaussian, and edits made on
it are then unlike those made on drawn noise. A code is measured against N(0, 1), and for a generated picture against
the noise that the picture was made from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics of each channel of a code, over the batch and all places.

    Attributes:
        mean: Mean, [C]; 0 for Gaussian noise.
        std: Standard deviation, [C]; 1 for Gaussian noise.
        kurtosis: Excess kurtosis, [C]; 0 for Gaussian noise.
        correlation: Mean of the lag-1 autocorrelations along height and width, [C]; 0 for Gaussian noise.
        values: How many numbers each statistic is taken over.
    """

    mean: Tensor
    std: Tensor
    kurtosis: Tensor
    correlation: Tensor
    values: int

    def text(self) -> str:
        """Return one line: each range over channels, and in brackets Gaussian noise of this size (+- 2 errors)."""
        n = self.values
        # (name, found, expected of Gaussian noise, variance of the estimate)
        columns = (
            ("mean", self.mean, 0, 1 / n),
            ("std", self.std, 1, 1 / (2 * n)),
            ("excess kurtosis", self.kurtosis, 0, 24 / n),
            ("neighbour correlation", self.correlation, 0, 1 / (2 * n)),
        )
        parts = []
        for name, found, expected, variance in columns:
            margin = 2 * variance**0.5
            parts.append(f"{name} {found.min():.2f} to {found.max():.2f} ({expected} +- {margin:.2f})")
        return "code against Gaussian noise, over channels: " + ", ".join(parts)


def code_statistics(code: Tensor, sigma: Tensor | float, flow: bool = False) -> CodeStatistics:
    """Measure a code, scaled to the noise it should be.

    Pure noise at sigma is sqrt(1 + sigma^2)*n for eps and v models, as ComfyUI scales it, and n for flow models at 1.

    Args:
        code: Code at sigma, [B, C, ..., H, W] in model space.
        sigma: Its noise level.
        flow: Whether the model is a flow model.

    Returns:
        The statistics of each channel.
    """
    code = code.cpu().double()
    z = code if flow else code / (1 + float(sigma) ** 2) ** 0.5
    z = z.transpose(0, 1).flatten(1, -3)  # [C, rest, H, W]
    mean = z.mean(dim=(1, 2, 3))
    std = z.std(dim=(1, 2, 3), correction=0)
    unit = (z - mean[:, None, None, None]) / std.clamp(min=1e-12)[:, None, None, None]
    correlations = []
    for dim in (2, 3):
        pairs = unit.shape[dim] - 1
        if pairs > 0:
            products = unit.narrow(dim, 0, pairs) * unit.narrow(dim, 1, pairs)
            correlations.append(products.mean(dim=(1, 2, 3)))
    correlation = torch.stack(correlations).mean(dim=0) if correlations else torch.zeros_like(mean)
    kurtosis = unit.pow(4).mean(dim=(1, 2, 3)) - 3
    return CodeStatistics(mean, std, kurtosis, correlation, z[0].numel())


def code_recovery(code: Tensor, noise: Tensor) -> Tensor:
    """Measure how far a code is from the noise that its picture was made from.

    Args:
        code: The recovered code, [B, C, ..., H, W].
        noise: The state the picture was sampled from, in the same space and of the same shape.

    Returns:
        |code - noise| / |noise| of each sample, [B].
    """
    distance = (code.double() - noise.double()).flatten(1).norm(dim=1)
    size = noise.double().flatten(1).norm(dim=1)
    recovery: Tensor = distance / size
    return recovery
