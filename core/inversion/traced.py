"""Traced inversion: exact at one model call a step, for samplers that are given the trace.

The inversion is the explicit one of ddim.py, but it keeps its states x_i, the *trace*. A step of the way back evaluates
the model where the inversion did, shifted by how far the edited state y_i has moved:

    inversion    x_i = x_{i+1} + (s_i - s_{i+1}) (x_{i+1} - D(x_{i+1}, at_i)) / at_i
    way back     look = y_i + (x_{i+1} - x_i)
                 y_{i+1} = y_i + (s_{i+1} - s_i) (look - D(look, at_i)) / at_i

with at_i = s_{i+1}, or s_i where that is 0. Where nothing was edited, y_i = x_i, so that look = x_{i+1}, both slopes
are the same number and y_{i+1} = x_{i+1}: exact by algebra, at any guidance, for eps, v and flow models.
The samplers of ComfyUI know no trace; a code for them is what fixed_point.py finds.

The idea to carry the shift of the state through the inversion's own evaluations is DirectEdit's, for flow models; that
it holds for every model whose step is x + (s' - s) * slope is what is used here. Everything is in model space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, HEdit, denoise_pair, guidance_of, is_flow
from ..errors import EditError, check_latent
from ..samplers import OnState, sample_euler, to_d
from .ddim import ddim_inversion, remaining_sigmas
from .report import InversionReport, OnInvertedStep

# Relative. Schedules pass through float32 and files on the way to a sampler.
SIGMA_TOLERANCE = 1e-4
# Relative to the largest value of a state, 16 units of float32's last place: LATENT space and back, and an Euler step,
# are off by a few of them.
ROUNDING = 2e-6


@dataclass(frozen=True, eq=False)
class Trace:
    """The states that an inversion went through.

    Attributes:
        states: The picture's state at each noise level, [n + 1, B, C, ..., H, W] in model space; in float32 on the CPU.
        sigmas: Descending noise levels, [n + 1].
    """

    states: Tensor
    sigmas: Tensor

    @property
    def code(self) -> Tensor:
        """The state at sigmas[0], [B, C, ..., H, W]."""
        return self.states[0]

    def step_at(self, sigma: Tensor | float) -> int:
        """Return the step whose noise level is the nearest to this one."""
        return int((self.sigmas.double() - float(sigma)).abs().argmin())

    def state_at(self, sigma: Tensor | float, like: Tensor) -> Tensor:
        """Return the state at a noise level for a batch like this one, in which the pictures may come repeatedly."""
        return repeated(self.states[self.step_at(sigma)], like)

    def check(self, x: Tensor, sigmas: Tensor) -> None:
        """Check that a sampler can follow the trace.

        Args:
            x: The sampler's state at sigmas[0], [B, C, ..., H, W]. One trace may serve several batches of its pictures.
            sigmas: The sampler's noise levels, descending.

        Raises:
            EditError: x is of another size, or sigmas are no part of the trace's.
        """
        if x.shape[1:] != self.states.shape[2:] or len(x) % self.states.shape[1]:
            raise EditError(
                f"The trace is of a latent of shape {tuple(self.states.shape[1:])}, but the sampler's has "
                f"{tuple(x.shape)}; wire the code and the trace of the same Latent Invert."
            )
        first = self.step_at(sigmas[0])
        part = self.sigmas[first : first + len(sigmas)]
        if len(part) != len(sigmas) or not torch.allclose(part.double(), sigmas.cpu().double(), rtol=SIGMA_TOLERANCE):
            raise EditError(
                f"The sampler's schedule, {len(sigmas) - 1} steps from sigma {float(sigmas[0]):.4g}, is no part of the "
                f"trace's, {len(self.sigmas) - 1} steps from sigma {float(self.sigmas[0]):.4g}; "
                "wire the sigmas output of the Latent Invert that the trace comes from."
            )


def repeated(state: Tensor, like: Tensor) -> Tensor:
    """Return a state [B, ...] on the device and in the dtype of ``like`` [k*B, ...], k times."""
    return state.to(like).repeat(len(like) // len(state), *[1] * (like.ndim - 1))


class _TracedStep(NamedTuple):
    """One step of the way back.

    Attributes:
        x: The sampler's state, which may be off from ``start`` by rounding.
        start: The state that the step starts from.
        look: Where the model is evaluated.
        at: The noise level at which it is.
        sigma: Noise level before the step.
        sigma_next: Noise level after it.
    """

    x: Tensor
    start: Tensor
    look: Tensor
    at: Tensor
    sigma: Tensor
    sigma_next: Tensor

    def denoised(self, prediction: Tensor) -> Tensor:
        """Return the D at x with which an Euler step from x ends where the traced step from start ends."""
        slope = to_d(self.look, self.at, prediction)
        return self.x - self.sigma * (slope + (self.start - self.x) / (self.sigma_next - self.sigma))


class TracedDenoiser:
    """A denoiser whose Euler step is the traced step, so that every algorithm which makes Euler steps follows a trace.

    Its D at (y, s_i) is y - s_i * slope, where slope is taken at ``look``. Bottlenecks are read and edited there too.

    Args:
        denoise: The model, under the inversion's prompt or another one.
        trace: What is followed.
    """

    def __init__(self, denoise: Denoiser, trace: Trace) -> None:
        self.denoise = denoise
        self.trace = trace
        self.guidance = guidance_of(denoise)
        self.flow = is_flow(denoise)

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0 as the traced step sees it; see core.denoiser.Denoiser."""
        step = self._step(x, sigma)
        return step.denoised(self.denoise(step.look, step.at, h_edit))

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Return D and D_edit; they differ by what the model's own two predictions at ``look`` differ by."""
        step = self._step(x, sigma)
        plain, edited = denoise_pair(self.denoise, step.look, step.at, h_edit)
        denoised = step.denoised(plain)
        return denoised, denoised + (edited - plain)

    def _step(self, x: Tensor, sigma: Tensor) -> _TracedStep:
        """Find the step of the trace that starts at sigma, and how far x has moved from its state."""
        trace = self.trace
        i = trace.step_at(sigma)
        start = repeated(trace.states[i], x)
        end = repeated(trace.states[i + 1], x)
        moved = x - start
        # A sample that moved by rounding alone did not move: what guidance would make of the difference is no edit.
        size = start.abs().flatten(1).amax(dim=1)
        rounding = moved.abs().flatten(1).amax(dim=1) <= ROUNDING * size
        moved = moved.masked_fill(rounding.view(-1, *[1] * (x.ndim - 1)), 0.0)
        sigmas = trace.sigmas.to(sigma)
        at = sigmas[i + 1] if sigmas[i + 1] > 0 else sigmas[i]
        return _TracedStep(x, start + moved, end + moved, at, sigmas[i], sigmas[i + 1])


def follow_trace(denoise: Denoiser, trace: Trace | None, x: Tensor, sigmas: Tensor) -> Denoiser:
    """Return a denoiser with which a sampler that makes Euler steps follows a trace.

    Args:
        denoise: The model.
        trace: What is followed; None returns the model itself.
        x: The sampler's state at sigmas[0], [B, C, ..., H, W].
        sigmas: The sampler's noise levels: the trace's, or a part of them.

    Returns:
        The denoiser.

    Raises:
        EditError: x is of another size than the trace, or sigmas are no part of the trace's.
    """
    if trace is None:
        return denoise
    trace.check(x, sigmas)
    return TracedDenoiser(denoise, trace)


@torch.no_grad()
def traced_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    stop_at_step: int = 0,
    callback: OnInvertedStep | None = None,
) -> tuple[Trace, InversionReport]:
    """Invert by explicit steps, and keep the states.

    Args:
        denoise: The model.
        x: Picture at sigmas[-1], [B, C, ..., H, W] in model space.
        sigmas: The sampler's own descending noise levels, [n + 1].
        stop_at_step: The step at whose sigma the inversion stops; 0 goes all the way up.
        callback: Called with (step, state) after each step.

    Returns:
        The trace from stop_at_step on, whose code is the inverted picture, and the report.

    Raises:
        EditError: The sigmas, stop_at_step or x are not accepted, or the model's prediction is not finite.
    """
    sigmas = remaining_sigmas(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    states = torch.empty(len(sigmas), *x.shape)
    states[-1] = x

    def keep(step: int, state: Tensor) -> None:
        states[step] = state
        if callback is not None:
            callback(stop_at_step + step, state)

    _, report = ddim_inversion(denoise, x.float(), sigmas, callback=keep)
    report.method = "traced"
    report.first_step = stop_at_step
    return Trace(states, sigmas.float().cpu()), report


def sample_traced(
    denoise: Denoiser, trace: Trace, x: Tensor, sigmas: Tensor, callback: OnState | None = None
) -> Tensor:
    """Sample by Euler steps that follow a trace.

    Args:
        denoise: The model, under the inversion's prompt to rebuild the picture or under another one to edit it.
        trace: The trace of the picture's inversion.
        x: State at sigmas[0], [B, C, ..., H, W]: a state of the trace, edited or not.
        sigmas: The trace's noise levels from any step on.
        callback: Called with (step, state, denoised) before each step.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: x is of another size than the trace, or sigmas are no part of the trace's.
    """
    return sample_euler(follow_trace(denoise, trace, x, sigmas), x, sigmas, callback)
