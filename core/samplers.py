"""Deterministic samplers as slopes: every step is x' = x + (sigma' - sigma) * slope, which can be solved for x.

One slope a sampler, in the arithmetic of k-diffusion's function of that name. Euler is DDIM. Stochastic samplers have
no slope, and no inverse: the noise they drew is not in the picture. Every tensor is in model space.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser
from .errors import EditError

# Relative. Schedules pass through float32, files and percents, so two noise levels this close are the same.
SIGMA_TOLERANCE = 1e-4

PercentToSigma = Callable[[float], float]
OnStep = Callable[[], None]
# (step, state before it, denoised prediction there)
OnState = Callable[[int, Tensor, Tensor], None]


class Schedule(NamedTuple):
    """Noise levels, and where sampling progress lies among them.

    Attributes:
        sigmas: Descending noise levels, [n + 1].
        percent_to_sigma: Sigma at a sampling progress, 0 before the first step and 1 after the last, as ControlNet's
            percents are.
    """

    sigmas: Tensor
    percent_to_sigma: PercentToSigma

    def sigma_at(self, percent: float) -> float:
        """Return sigma at a sampling progress."""
        return float(self.percent_to_sigma(percent))

    def percent_at(self, sigma: float) -> float:
        """Return the sampling progress at which a noise level is reached, 0 to 1, to a ten thousandth."""
        return bisect_left(range(10_000), -sigma, key=lambda i: -self.sigma_at(i / 10_000)) / 10_000

    def part(self, first: int, last: int) -> Schedule:
        """Return the schedule from one step to another."""
        return Schedule(self.sigmas[first : last + 1], self.percent_to_sigma)

    def step_at(self, percent: float) -> int:
        """Return the first step at or past a sampling progress, however the steps are spaced; n where there is none."""
        reached = self.sigma_at(percent) * (1 + SIGMA_TOLERANCE)
        return next((i for i, sigma in enumerate(self.sigmas.tolist()) if sigma <= reached), len(self.sigmas) - 1)


@dataclass(frozen=True)
class Run:
    """How many noises are sampled, and who hears of it.

    Attributes:
        batch: Noises that are sampled at once.
        device: Where they are sampled; recorded tensors come back to the CPU.
        on_step: Called once for each sampling step of each batch.
    """

    batch: int = 8
    device: torch.device | str = "cpu"
    on_step: OnStep | None = None

    @property
    def on_state(self) -> OnState | None:
        """on_step as the callback of a sampler, which is called with the state."""
        on_step = self.on_step
        if on_step is None:
            return None

        def call(i: int, x: Tensor, denoised: Tensor) -> None:
            on_step()

        return call

    def tick(self) -> None:
        """Call on_step, where there is one."""
        if self.on_step is not None:
            self.on_step()

    def on_training_step(self, step: int, loss: float) -> None:
        """Call on_step for a training step: the callback of fit."""
        self.tick()


def from_step(callback: OnState | None, first: int) -> OnState | None:
    """Return the callback of a part of a schedule, which counts its own steps from zero."""
    if callback is None:
        return None

    def call(i: int, x: Tensor, denoised: Tensor) -> None:
        callback(i + first, x, denoised)

    return call


def to_float64(x: Tensor) -> Tensor:
    """Return x in float64, or in float32 on Apple's GPUs, which have no float64."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """Return dx/dsigma (Karras et al. 2022, equation 3); the same for eps, v and flow models."""
    return (x - denoised) / sigma


def euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Make one Euler step, which is one DDIM step; in the order of operations of k-diffusion's sample_euler."""
    d = to_d(x, sigma, denoised)
    dt = sigma_next - sigma
    return x + d * dt


def euler_fraction(sigma: Tensor, sigma_next: Tensor, flow: bool = False) -> Tensor:
    """Return how much of a change of D an Euler step makes, in units of x0.

    Args:
        sigma: Noise level before the step.
        sigma_next: Noise level after it, of the same shape.
        flow: Whether the model is a flow model.

    Returns:
        (1 - sigma'/sigma) / a', elementwise; a' is 1, and 1 - sigma' for flow models.
    """
    fraction = 1 - sigma_next / sigma
    return fraction / (1 - sigma_next).clamp(min=1e-3) if flow else fraction


@torch.no_grad()
def sample_euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, callback: OnState | None = None) -> Tensor:
    """Sample by Euler steps: algorithm 2 of Karras et al. (2022) without churn.

    Args:
        denoise: The model.
        x: State at sigmas[0], [B, C, ..., H, W].
        sigmas: Descending noise levels, [n + 1].
        callback: Called with (step, state, denoised) before each step.

    Returns:
        The state at sigmas[-1], like x.
    """
    for i in range(len(sigmas) - 1):
        denoised = denoise(x, sigmas[i])
        if callback is not None:
            callback(i, x, denoised)
        x = euler_step(x, denoised, sigmas[i], sigmas[i + 1])
    return x


# (denoise, x, sigmas, i, D of the step before or None) -> (slope of step i, its D)
Slope = Callable[[Denoiser, Tensor, Tensor, int, "Tensor | None"], tuple[Tensor, Tensor]]


class Sampler(NamedTuple):
    """A sampler as a slope.

    Attributes:
        slope: (denoise, x, sigmas, i, old_denoised) -> (slope of step i, its D).
        calls: Model calls a slope takes.
        multistep: Whether a slope depends on the D of the step before.
    """

    slope: Slope
    calls: int = 1
    multistep: bool = False


def _euler(denoise: Denoiser, x: Tensor, sigmas: Tensor, i: int, old_denoised: Tensor | None) -> tuple[Tensor, Tensor]:
    denoised = denoise(x, sigmas[i])
    return to_d(x, sigmas[i], denoised), denoised


def _heun(denoise: Denoiser, x: Tensor, sigmas: Tensor, i: int, old_denoised: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean of the slopes at both ends (Karras et al. 2022, algorithm 1); plain Euler down to 0."""
    denoised = denoise(x, sigmas[i])
    d = to_d(x, sigmas[i], denoised)
    if sigmas[i + 1] == 0:
        return d, denoised
    x_2 = x + d * (sigmas[i + 1] - sigmas[i])
    denoised_2 = denoise(x_2, sigmas[i + 1])
    d_2 = to_d(x_2, sigmas[i + 1], denoised_2)
    return (d + d_2) / 2, denoised


def _dpm_2(denoise: Denoiser, x: Tensor, sigmas: Tensor, i: int, old_denoised: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the slope halfway in log sigma (DPM-Solver-2, Lu et al. 2022); plain Euler down to 0."""
    denoised = denoise(x, sigmas[i])
    d = to_d(x, sigmas[i], denoised)
    if sigmas[i + 1] == 0:
        return d, denoised
    sigma_mid = sigmas[i].log().lerp(sigmas[i + 1].log(), 0.5).exp()
    x_2 = x + d * (sigma_mid - sigmas[i])
    return to_d(x_2, sigma_mid, denoise(x_2, sigma_mid)), denoised


def _dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, i: int, old_denoised: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return Euler's slope with D extrapolated in log sigma from the step before (DPM-Solver++(2M), Lu et al. 2022)."""
    denoised = denoise(x, sigmas[i])
    if old_denoised is None or sigmas[i + 1] == 0:
        return to_d(x, sigmas[i], denoised), denoised
    h_last = (sigmas[i - 1] / sigmas[i]).log()
    h = (sigmas[i] / sigmas[i + 1]).log()
    r = h_last / h
    return to_d(x, sigmas[i], denoised + (denoised - old_denoised) / (2 * r)), denoised


SAMPLERS = {
    "euler": Sampler(_euler),
    "heun": Sampler(_heun, calls=2),
    "dpm_2": Sampler(_dpm_2, calls=2),
    "dpmpp_2m": Sampler(_dpmpp_2m, multistep=True),
}

# Other names of samplers.
ALIASES = {"ddim": "euler"}


def is_euler(name: str) -> bool:
    """Return whether a sampler of this name makes Euler steps."""
    return ALIASES.get(name, name) == "euler"


def sampler_named(name: str) -> Sampler:
    """Return the sampler of that name; "ddim" is euler.

    Raises:
        EditError: The sampler has no inverse here.
    """
    name = ALIASES.get(name, name)
    if name not in SAMPLERS:
        raise EditError(
            f"sampler is '{name}', which cannot be inverted here (stochastic and ancestral samplers draw noise that "
            f"is not in the picture); {', '.join(SAMPLERS)} and ddim (which is euler) can."
        )
    return SAMPLERS[name]


@torch.no_grad()
def sample(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, sampler: str = "euler", callback: OnState | None = None
) -> Tensor:
    """Sample with a sampler of SAMPLERS.

    Args:
        denoise: The model.
        x: State at sigmas[0], [B, C, ..., H, W].
        sigmas: Descending noise levels, [n + 1].
        sampler: A name in SAMPLERS, or "ddim".
        callback: Called with (step, state, denoised) before each step.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: The sampler is not one of SAMPLERS.
    """
    slope, old_denoised = sampler_named(sampler).slope, None
    for i in range(len(sigmas) - 1):
        d, old_denoised = slope(denoise, x, sigmas, i, old_denoised)
        if callback is not None:
            callback(i, x, old_denoised)
        x = x + d * (sigmas[i + 1] - sigmas[i])
    return x


def states_at(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, steps: Sequence[int], callback: OnState | None = None
) -> list[Tensor]:
    """Sample by Euler and keep the states at some steps.

    Args:
        denoise: The model under a prompt.
        x: State at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        steps: The steps, from 0 to n, rising.
        callback: As sample_euler takes it.

    Returns:
        The state at each step, like x.
    """
    states = []
    reached = 0
    for step in steps:
        x = sample_euler(denoise, x, sigmas[reached : step + 1], callback)
        states.append(x)
        reached = step
    return states
