"""Traced inversion: exact at one model call a step, for samplers that are given the trace.

The inversion walks up by explicit steps and keeps its states x_i, the *trace*, and at each of them a *correction* c_i
of the prediction, with which a stock Euler step leads to the next state:

    inversion    x_{i-1} = x_i + (s_{i-1} - s_i) (x_i - D(x_i, s_i)) / s_i
    correction   c_i = D*_i - D(x_i, s_i),      D*_i = x_i - s_i (x_i - x_{i+1}) / (s_i - s_{i+1})
    way back     y_{i+1} = euler(y_i, D(y_i, s_i) + c_i)

The way back is the stock sampler but for c_i, which does not depend on the prompt or on the edit. Where nothing was
edited, y_i = x_i and the step leads to x_{i+1}: exact by algebra, at any guidance, for eps, v and flow models. An
edited state gets the change that a stock step would make of it: y_{i+1} - x_{i+1} = (y_i - x_i) + (s_{i+1} - s_i) times
the difference of the two slopes. So windows, percents and strengths mean what they mean without a trace.

A picture, s_n = 0, holds no noise. DDIM's inversion asks the model for the noise of a clean picture, which it has never
seen, and finds the picture's own texture there; that grows with every step up. Here the first step draws the noise:
x_{n-1} is the picture with noise of level s_{n-1}, from a seed. The code is then nearly Gaussian, edits of it are as
good or better, and every state is evaluated once, where the sampler will evaluate it (python benchmarks/traced.py
variants).

Corrections of this kind are those of Direct Inversion (Ju et al., arXiv 2310.01506), there for the rows of the source
prompt, and the shift of DirectEdit, for flow models; the first step and the form for every model family are ours.
Everything is in model space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser, HEdit, denoise_pair, guidance_of, is_flow, layer_of, place_size_of
from ..errors import check_latent, check_prediction
from ..samplers import OnState, sample_euler, to_d
from .ddim import remaining_sigmas
from .report import InversionReport, OnInvertedStep
from .trace import Trace, repeated

# Relative to the largest value of a state, 16 units of float32's last place: LATENT space and back, and an Euler step,
# are off by a few of them.
ROUNDING = 2e-6


class TracedDenoiser:
    """A denoiser with a trace's corrections, so that every algorithm which makes Euler steps follows the trace.

    Args:
        denoise: The model, under the inversion's prompt or another one.
        trace: What is followed.
        mask: Where the picture may change, broadcastable to a state, 0 to 1: where it is 0, the prediction is the one
            that stays on the trace, whatever happens elsewhere. None is everywhere.
    """

    def __init__(self, denoise: Denoiser, trace: Trace, mask: Tensor | None = None) -> None:
        self.denoise = denoise
        self.trace = trace
        self.mask = mask
        self.guidance = guidance_of(denoise)
        self.flow = is_flow(denoise)

    @property
    def layer(self) -> str:
        """Where h of the model is; asked for on use, for not every model has h."""
        return layer_of(self.denoise)

    @property
    def place_size(self) -> int:
        """Latent pixels along each side for one place of h; 0 where it is not known."""
        return place_size_of(self.denoise)

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0, corrected; see core.denoiser.Denoiser."""
        state, correction = self._step(x, sigma)
        return self._masked(self.denoise(state, sigma, h_edit) + correction, sigma)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Return D and D_edit, both corrected."""
        state, correction = self._step(x, sigma)
        denoised, edited = denoise_pair(self.denoise, state, sigma, h_edit)
        return self._masked(denoised + correction, sigma), self._masked(edited + correction, sigma)

    def _masked(self, denoised: Tensor, sigma: Tensor) -> Tensor:
        """Return D inside of the mask and D*, which leads along the trace, outside of it."""
        if self.mask is None:
            return denoised
        i = self.trace.step_at(sigma)
        start, end = repeated(self.trace.states[i], denoised), repeated(self.trace.states[i + 1], denoised)
        on_trace = start - sigma * (start - end) / (sigma - self.trace.sigmas[i + 1].to(sigma))
        return on_trace + self.mask.to(denoised) * (denoised - on_trace)

    def _step(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the model is evaluated, and what is added to its answer.

        A sample that moved away from the trace by rounding alone did not move: the model is evaluated at the trace's
        own state, and the step leads to where the trace goes on. Strong guidance would multiply the difference.
        """
        trace = self.trace
        i = trace.step_at(sigma)
        start = repeated(trace.states[i], x)
        moved = x - start
        size = start.abs().flatten(1).amax(dim=1)
        rounding = moved.abs().flatten(1).amax(dim=1) <= ROUNDING * size
        state = torch.where(rounding.view(-1, *[1] * (x.ndim - 1)), start, x)
        # euler(x, D + pull) = euler(state, D)
        sigma_next = trace.sigmas[i + 1].to(sigma)
        pull = (x - state) * sigma_next / (sigma_next - sigma)
        return state, repeated(trace.corrections[i], x) + pull


def follow_trace(
    denoise: Denoiser, trace: Trace | None, x: Tensor, sigmas: Tensor, mask: Tensor | None = None
) -> Denoiser:
    """Return a denoiser with which a sampler that makes Euler steps follows a trace.

    Args:
        denoise: The model.
        trace: What is followed; None returns the model itself.
        x: The sampler's state at sigmas[0], [B, C, ..., H, W].
        sigmas: The sampler's noise levels: the trace's, or a part of them.
        mask: Where the picture may change, broadcastable to x, 0 to 1; None is everywhere.

    Returns:
        The denoiser.

    Raises:
        EditError: x is of another size than the trace, or sigmas are no part of the trace's.
    """
    if trace is None:
        return denoise
    trace.check(x, sigmas)
    return TracedDenoiser(denoise, trace, mask)


@torch.no_grad()
def traced_inversion(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    stop_at_step: int = 0,
    seed: int = 0,
    callback: OnInvertedStep | None = None,
) -> tuple[Trace, InversionReport]:
    """Invert by explicit steps, and keep the states and their corrections.

    Args:
        denoise: The model.
        x: Picture at sigmas[-1], [B, C, ..., H, W] in model space.
        sigmas: The sampler's own descending noise levels, [n + 1].
        stop_at_step: The step at whose sigma the inversion stops; 0 goes all the way up.
        seed: Seed of the first step's noise, which is the same for every picture of the batch.
        callback: Called with (step, state) for each step.

    Returns:
        The trace from stop_at_step on, whose code is the inverted picture, and the report. It takes one model call a
        step, and one more where sigmas end above 0.

    Raises:
        EditError: The sigmas, stop_at_step or x are not accepted.
    """
    sigmas = remaining_sigmas(sigmas, stop_at_step)
    check_latent(x, "latent_image", video=True)
    report = InversionReport("traced", sigmas.tolist(), first_step=stop_at_step, samples=len(x))
    n = len(sigmas) - 1
    states = torch.empty(n + 1, *x.shape)
    corrections = torch.empty(n, *x.shape)
    states[n] = x

    def slope_at(i: int) -> Tensor:
        """Return the slope at state i, and keep the correction there."""
        state = states[i].to(x)
        denoised = check_prediction(denoise(state, sigmas[i]), sigmas[i])
        report.calls += 1
        if i < n:
            corrections[i] = _correction(states, sigmas, i, denoised)
        return to_d(state, sigmas[i], denoised)

    # At sigma 0, x = (1 - s) * x0 + s * noise has the slope noise - x0, and x = x0 + s * noise has the slope noise.
    noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(seed)).to(x).expand_as(x)
    drawn = noise - x if is_flow(denoise) else noise
    slope = slope_at(n) if sigmas[n] > 0 else drawn
    for i in reversed(range(n)):
        states[i] = states[i + 1].to(x) + (sigmas[i] - sigmas[i + 1]) * slope
        slope = slope_at(i)
        if callback is not None:
            callback(stop_at_step + i, states[i])
    return Trace(states, corrections, sigmas.float().cpu(), guidance_of(denoise)), report


def _correction(states: Tensor, sigmas: Tensor, i: int, denoised: Tensor) -> Tensor:
    """Return what leads from state i to the next, added to the prediction at state i."""
    # In float64: at a large sigma, D* is a small difference of large states.
    levels = sigmas.cpu().double()
    step = (states[i].double() - states[i + 1].double()) / (levels[i] - levels[i + 1])
    return (states[i].double() - levels[i] * step - denoised.cpu().double()).float()


@torch.no_grad()
def retraced(
    denoise: Denoiser, trace: Trace, x: Tensor, sigmas: Tensor, callback: OnInvertedStep | None = None
) -> Trace:
    """Return a trace with the corrections that lead another denoiser along it.

    Corrections are of one guidance. Under another one a prompt needs those of the source prompt at that guidance, or
    the difference of the two guidances would count as the prompt's change.

    Args:
        denoise: The model under the inversion's prompt, at the other guidance.
        trace: The trace.
        x: The sampler's state at sigmas[0], whose device and dtype the model is asked in.
        sigmas: Noise levels of the trace at which corrections are needed; it takes one model call at each.
        callback: Called with (step of the trace, state) for each.

    Returns:
        The same states; corrections at other noise levels are left as they were.
    """
    corrections = trace.corrections.clone()
    for sigma in sigmas:
        i = trace.step_at(sigma)
        state = trace.states[i].to(x)
        corrections[i] = _correction(trace.states, trace.sigmas, i, denoise(state, sigma))
        if callback is not None:
            callback(i, state)
    return Trace(trace.states, corrections, trace.sigmas, guidance_of(denoise))


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
