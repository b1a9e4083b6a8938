"""Other ways to make and to follow a trace: the command ``variants`` of benchmarks/traced.py.

A trace may be made with another first step, and followed with the model evaluated elsewhere:

- *no noise first*: the first step up adds no noise to the picture;
- *DDIM's first step*: the model is asked for the noise of the clean picture, one call more;
- *drawn noise first*: noise of the lowest sigma is drawn from a seed and added;
- *less noise*: all steps up are a part of DDIM's;
- *looks ahead*: each step of the way back evaluates the model where DDIM's inversion did, one step cleaner, shifted by
  how far the state has moved;
- *second order*: as looks ahead, with the change of the slope extrapolated from the step before (Adams-Bashforth);
- *blended out*: corrections count less where the edit is, by core/saliency;
- *Heun*: the change of the slope is the mean of both ends of a step, two calls a step.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from singular_edit.core import Denoiser, HEdit, Trace, ddim_inversion, denoise_pair, load_hdirection, to_d
from singular_edit.core.inversion.traced import TracedDenoiser
from singular_edit.core.layers import AUTO
from singular_edit.core.recipes.inversion import Inverted
from singular_edit.core.saliency import FOCUS, saliency_weight
from singular_edit.demo import faces, loader
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import denoiser_at
from singular_edit.demo.evaluation.score import score
from singular_edit.demo.evaluation.session import SOURCE, Session
from torch import Tensor

NOISE_SEED = 7

FirstStep = Callable[[Denoiser, Tensor, Tensor], Tensor]


def no_noise(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the picture itself as the state at sigma."""
    return x


def ddim_step(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """Return DDIM's own first step."""
    return x + sigma * to_d(x, sigma, denoise(x, sigma))


def drawn_noise(denoise: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
    """Return the picture with noise of one seed."""
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(NOISE_SEED)).to(x)


@torch.no_grad()
def make_trace(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, first_step: FirstStep = no_noise, part: float = 1.0
) -> Trace:
    """Invert with another first step, or with a part of each step, and correct what that leaves."""
    n = len(sigmas) - 1
    states = [first_step(denoise, x, sigmas[n - 1]), x]
    corrections: list[Tensor] = []
    for i in reversed(range(n)):
        state = states[0]
        denoised = denoise(state, sigmas[i])
        step = (state - states[1]) / (sigmas[i] - sigmas[i + 1])
        corrections.insert(0, state - sigmas[i] * step - denoised)
        if i > 0:
            states.insert(0, state + part * (sigmas[i - 1] - sigmas[i]) * to_d(state, sigmas[i], denoised))
    return Trace(torch.stack(states), torch.stack(corrections), sigmas)


def ddim_trace(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Trace:
    """Return the states of DDIM's inversion; nothing is corrected."""
    states = [x]

    def keep(step: int, state: Tensor) -> None:
        states.insert(0, state)

    ddim_inversion(denoise, x, sigmas, callback=keep)
    stacked = torch.stack(states)
    return Trace(stacked, torch.zeros_like(stacked[:-1]), sigmas)


class LookingAhead(TracedDenoiser):
    """Follow the states of DDIM's inversion by evaluating the model where it did, shifted by the move."""

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0 as the step sees it."""
        look, at = self._look(x, sigma)
        return x - sigma * self.slope(x, sigma, to_d(look, at, self.denoise(look, at, h_edit)))

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Return D, and D with what the edit adds where the model is evaluated."""
        look, at = self._look(x, sigma)
        denoised, edited = denoise_pair(self.denoise, look, at, h_edit)
        plain = x - sigma * self.slope(x, sigma, to_d(look, at, denoised))
        return plain, plain + edited - denoised

    def slope(self, x: Tensor, sigma: Tensor, looked: Tensor) -> Tensor:
        """Return the slope of the step, of the one that was looked up."""
        return looked

    def _look(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        states, sigmas = self.trace.states, self.trace.sigmas
        i = self.trace.step_at(sigma)
        return x + states[i + 1] - states[i], sigmas[i + 1] if sigmas[i + 1] > 0 else sigmas[i]


class SecondOrder(LookingAhead):
    """Extrapolate the change of the slope from the step before; begin anew where steps do not follow each other."""

    def __init__(self, denoise: Denoiser, trace: Trace) -> None:
        super().__init__(denoise, trace)
        self.last: tuple[int, Tensor] | None = None

    def slope(self, x: Tensor, sigma: Tensor, looked: Tensor) -> Tensor:
        """Return the trace's own slope and the extrapolated change of it."""
        states, sigmas = self.trace.states, self.trace.sigmas
        i = self.trace.step_at(sigma)
        own = (states[i] - states[i + 1]) / (sigmas[i] - sigmas[i + 1])
        change = looked - own
        last = self.last
        self.last = (i, change)
        if last is None or last[0] != i - 1:
            return looked
        ratio = (sigmas[i + 1] - sigmas[i]) / (sigmas[i] - sigmas[i - 1])
        return looked + 0.5 * ratio * (change - last[1])


class BlendedOut(TracedDenoiser):
    """Follow a trace whose corrections count less where the state has moved."""

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0, corrected where nothing moved."""
        i = self.trace.step_at(sigma)
        moved = x - self.trace.states[i]
        kept = 1 - saliency_weight(moved) / (1 + FOCUS) if float(moved.abs().max()) > 1e-4 else 1.0
        return self.denoise(x, sigma, h_edit) + kept * self.trace.corrections[i]


class Heun(TracedDenoiser):
    """Follow a trace with Heun's step for the change of the slope: two calls a step."""

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0 as the mean of both ends sees it."""
        denoised = super().__call__(x, sigma, h_edit)
        states, sigmas = self.trace.states, self.trace.sigmas
        i = self.trace.step_at(sigma)
        if sigmas[i + 1] == 0:
            return denoised
        slope = to_d(x, sigma, denoised)
        ahead = x + (sigmas[i + 1] - sigmas[i]) * slope
        # The trace's slopes at both ends, so that nothing changes where nothing moved.
        own = (states[i] - states[i + 1]) / (sigmas[i] - sigmas[i + 1])
        own_ahead = (states[i + 1] - self.predicted(i + 1)) / sigmas[i + 1]
        change = to_d(ahead, sigmas[i + 1], self.denoise(ahead, sigmas[i + 1])) - own_ahead
        return x - sigma * (own + (slope - own + change) / 2)

    def predicted(self, i: int) -> Tensor:
        """Return the source prompt's D at a state of the trace, which its correction tells."""
        states, sigmas = self.trace.states, self.trace.sigmas
        step = (states[i] - states[i + 1]) / (sigmas[i] - sigmas[i + 1])
        return states[i] - sigmas[i] * step - self.trace.corrections[i]


class TraceSession(Session):
    """A session that follows a trace of another make, in another way."""

    make: Callable[..., Trace]
    follow: type[TracedDenoiser]

    @property
    def inversion(self) -> Inverted:  # type: ignore[override]
        """The trace's code; there is no report."""
        return Inverted(self.trace.code, None)  # type: ignore[arg-type]

    @property
    def trace(self) -> Trace:
        """The trace, made once."""
        if ("trace",) not in self.cache:
            model = self.model.denoiser(SOURCE, cfg=self.cfg)
            self.cache["trace",] = type(self).make(model, self.latents, self.sigmas)
        return self.cache["trace",]

    def denoiser(self, prompt: str | None = None, cfg: float | None = None, *, layer: str = AUTO) -> Denoiser:
        """Return the model under a prompt, the source prompt if None, following the trace; h is at the layer."""
        wanted = SOURCE if prompt is None else prompt
        return self.follow(denoiser_at(self.model, layer, wanted, self.cfg if cfg is None else cfg), self.trace)


def run(model: loader.DemoModel, args: argparse.Namespace) -> None:
    """Print success/others/PSNR dB of each variant; args: attributes, guidance, count and first of the command line."""

    def with_first_step(first_step: FirstStep, part: float = 1.0) -> Callable[..., Trace]:
        def make(denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Trace:
            return make_trace(denoise, x, sigmas, first_step, part)

        return make

    variants = {
        "no noise first": (with_first_step(no_noise), TracedDenoiser),
        "DDIM's first step": (with_first_step(ddim_step), TracedDenoiser),
        "drawn noise first": (with_first_step(drawn_noise), TracedDenoiser),
        "no noise first, less noise (.6)": (with_first_step(no_noise, 0.6), TracedDenoiser),
        "DDIM's states, looks ahead": (ddim_trace, LookingAhead),
        "looks ahead, second order": (ddim_trace, SecondOrder),
        "no noise first, blended out": (with_first_step(no_noise), BlendedOut),
        "no noise first, Heun": (with_first_step(no_noise), Heun),
    }
    for name in args.attributes:
        readout = load_hdirection(readout_path(name))
        for cfg in args.guidance:
            print(f"{f'{name}, guidance {cfg:g}':<34s}{'readout':>24s}{'own pair':>24s}", flush=True)
            for label, (make, follow) in variants.items():
                kind = type("Variant", (TraceSession,), {"make": staticmethod(make), "follow": follow})
                s = kind(model, faces.sample(range(args.first, args.first + args.count)), name, cfg=cfg)
                cells = ""
                for edited in (edits.asyrp(s, readout), edits.svd_own_pair(s)):
                    found = score(s, edited)
                    cells += f"{f'{found.success:.2f}/{found.kept:.2f}/{found.psnr:.1f}':>24s}"
                print(f"{label:<34s}{cells}", flush=True)
            print(flush=True)
