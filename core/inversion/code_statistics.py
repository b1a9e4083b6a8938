"""Is a recovered code the noise a sampler would have drawn? An exact round trip does not say so by itself.

A code that gives the picture back may still be far from Gaussian, and edits made on it are then unlike those made on
drawn noise. Both are measured here: against N(0, 1), and for a generated picture against its true starting noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodeStatistics:
    """Per channel [C], over batch and places; of Gaussian noise 0, 1, 0, 0. ``values``: how many each is taken over."""

    mean: Tensor
    std: Tensor
    kurtosis: Tensor
    correlation: Tensor
    values: int

    def text(self) -> str:
        """One line: the range over channels beside what Gaussian noise of this size would show (two standard errors)."""
        n = self.values
        columns = (
            ("mean", self.mean, 0, 1 / n),
            ("std", self.std, 1, 1 / (2 * n)),
            ("excess kurtosis", self.kurtosis, 0, 24 / n),
            ("neighbour correlation", self.correlation, 0, 1 / (2 * n)),
        )
        parts = [
            f"{name} {value.min():.2f} to {value.max():.2f} ({wanted} +- {2 * variance**0.5:.2f})"
            for name, value, wanted, variance in columns
        ]
        return "code against Gaussian noise, over channels: " + ", ".join(parts)


def code_statistics(code: Tensor, sigma: Tensor | float, flow: bool = False) -> CodeStatistics:
    """Of a code [B, C, ..., H, W] in model space at sigma, scaled to the noise it should be.

    Pure noise at sigma is sqrt(1 + sigma^2)*n for eps and v models, as ComfyUI scales it, and n for flow models at 1.
    correlation: mean of the lag-1 autocorrelations along height and width.
    """
    z = code.double() if flow else code.double() / (1 + float(sigma) ** 2) ** 0.5
    z = z.transpose(0, 1).flatten(1, -3)  # [C, rest, H, W]
    mean, std = z.mean(dim=(1, 2, 3)), z.std(dim=(1, 2, 3), correction=0)
    unit = (z - mean[:, None, None, None]) / std.clamp(min=1e-12)[:, None, None, None]
    along = [
        (unit.narrow(dim, 0, unit.shape[dim] - 1) * unit.narrow(dim, 1, unit.shape[dim] - 1)).mean(dim=(1, 2, 3))
        for dim in (2, 3)
        if unit.shape[dim] > 1
    ]
    correlation = torch.stack(along).mean(dim=0) if along else torch.zeros_like(mean)
    return CodeStatistics(mean, std, unit.pow(4).mean(dim=(1, 2, 3)) - 3, correlation, z[0].numel())


def code_recovery(code: Tensor, noise: Tensor) -> Tensor:
    """Relative distance |code - noise| / |noise| of each sample [B] to the code its picture was really made from."""
    return (code.double() - noise.double()).flatten(1).norm(dim=1) / noise.double().flatten(1).norm(dim=1)
