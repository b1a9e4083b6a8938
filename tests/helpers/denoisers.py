"""Denoisers whose answer is known: what the core is tested against without any network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class GaussianDenoiser:
    """The exact denoiser of data ~ N(mean, variance) under x = x0 + sigma*n; it counts its calls.

    D = (variance*x + sigma^2*mean) / (variance + sigma^2). ``flow`` is only what it says of itself.
    """

    def __init__(self, mean: float = 0.3, variance: float = 0.8, flow: bool = False):
        self.mean = mean
        self.variance = variance
        self.flow = flow
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, h_edit=None) -> Tensor:
        self.calls += 1
        return (self.variance * x + sigma**2 * self.mean) / (self.variance + sigma**2)


class LinearBottleneck:
    """D = base(x) + gain * h with h = x averaged to 2x2: differentiable in h, so directions have known answers.

    ``flow`` is only what it says of itself.
    """

    def __init__(self, shift: float = 0.0, gain: float = 0.5, base=None, flow: bool = False):
        self.shift = shift
        self.gain = gain
        self.base = base or GaussianDenoiser()
        self.flow = flow
        self.edited_calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, h_edit=None) -> Tensor:
        with torch.no_grad():
            h = torch.nn.functional.adaptive_avg_pool2d(x, 2) + self.shift
        if h_edit is not None:
            self.edited_calls += 1
            h = h_edit(h)
        return self.base(x, sigma) + self.gain * torch.nn.functional.interpolate(h, size=x.shape[-2:])


def karras(n: int = 20, low: float = 0.03, high: float = 14.6, rho: float = 7.0) -> Tensor:
    """The noise levels of n steps in Karras' spacing, and 0."""
    ramp = torch.linspace(0, 1, n)
    sigmas = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([sigmas, torch.zeros(1)])


class Bright(LinearBottleneck):
    """A prompt that brightens every place by how bright it is: the change, rise*tanh(h), can be read off h."""

    def __init__(self, rise: float = 0.0, **arguments):
        super().__init__(**arguments)
        self.rise = rise

    def __call__(self, x, sigma, h_edit=None):
        h = F.adaptive_avg_pool2d(x, 2)
        return super().__call__(x, sigma, h_edit) + self.rise * F.interpolate(h.tanh(), size=x.shape[-2:])
