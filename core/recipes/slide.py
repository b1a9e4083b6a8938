"""What a strength means for one attribute that carries a response, where a picture can be sampled more than once.

A strength is a share of the way from the picture without the attribute to the one with it. The response says at which
scale pictures come so far in the mean, and the picture is sampled at that scale.

An *absolute* strength says how much of the attribute the picture has in the end, not how much is added: 0 is without it
and 1 with it. A picture *wears* an attribute if taking it away changes the picture more than adding it. It is at 1 as
it is, is not given it twice, and below 1 loses it.

One picture still moves unevenly: up to some scale the model removes what an edit begins, and from there on it completes
it, so that glasses come at once, at a scale of their own on each face. A strength that *fades* moves more evenly. Two
runs are made, without the edit and with it at the full scale; their states are mixed at the sampling progress that
``fade`` says, and the model finishes the mixture without the edit:

    x(s) = finish(y(0) + w (y(1) - y(0)))

w is searched for each picture, so that the share s of its way is made. At ``fade`` 1 finished results are mixed and w
is s, which is exactly even, but half way the glasses are half transparent. Earlier the model makes thin frames of them,
and jumps more. Below 0 a picture that wears the attribute goes towards the result with it taken away; any other picture
goes on along its line.

Pictures that answer weakly may be given more (retries.py); every scale above 0 is then multiplied by a factor of their
own.

Ours, not the papers'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import EditError
from ..response import Response, root_mean_squares
from .retries import ChangeAt, scale_factors

# scale -> the result of sampling with the edit at that scale, [B, C, H, W]; the same noises every time
SampleAt = Callable[[float], Tensor]
# (scale, state, first, last) -> the state at step ``last`` of the run with the edit at that scale, [B, C, H, W]. It
# goes on from the state at step ``first``; where that is None, it begins where sampling does.
RunSteps = Callable[[float, Tensor | None, int, int], Tensor]


# Mixtures that are finished to find each picture's weight. A jump is narrow: with 6, of 64 weights one is found.
TRIES = 6


class Parts(NamedTuple):
    """A sampling in two parts, cut at a sampling progress.

    Attributes:
        state: (scale, progress) -> the state there of the run with the edit at that scale, [B, C, H, W].
        finish: (state, progress, scale) -> the result of going on from there at a scale, as ``sample`` gives it.
    """

    state: Callable[[float, float], Tensor]
    finish: Callable[[Tensor, float, float], Tensor]


class Slide:
    """Results by strength, each sampled once, when it is first needed.

    Args:
        sample: Samples at a scale.
        response: The attribute's response; None takes every strength as the scale, as attributes of older files do.
        parts: Samples in parts, for strengths that fade before results are finished.
        known: Results by scale that are there without sampling.
        change_at: What a scale changes, for retries; None retries nothing.
        factors: What scale_factors found before, [B] by the number of retries; what is found is added.

    Attributes:
        sample: As it was given.
        factors: What scale_factors found, likewise.
    """

    def __init__(
        self,
        sample: SampleAt,
        response: Response | None,
        parts: Parts | None = None,
        *,
        known: Mapping[float, Tensor] | None = None,
        change_at: ChangeAt | None = None,
        factors: dict[int, Tensor] | None = None,
    ) -> None:
        self.sample = sample
        self.factors = {} if factors is None else factors
        self._change_at = change_at
        self._response = response
        self._parts = parts
        self._results = dict(known or {})
        self._states: dict[tuple[float, float], Tensor] = {}
        self._ends: dict[tuple[float, float], Tensor] = {}

    def at(self, strength: float, *, absolute: bool = False, fade: float = 0.0, retries: int = 0) -> Tensor:
        """Return the result at a strength.

        Args:
            strength: 0 is the result without the edit, bit for bit, and 1 the one with the attribute there.
            absolute: Whether the strength says what the picture has in the end. Without a response nothing says at
                which scale the attribute is there, and the strength is added.
            fade: The sampling progress at which runs are mixed; 1 mixes finished results, and 0 none. An attribute
                without a response is sampled.
            retries: How often pictures that change too little are given more, at most. An attribute whose response does
                not say what its full scale changes gives none more.

        Returns:
            The result, [B, C, H, W].

        Raises:
            EditError: fade is not from 0 to 1, or retries is below 0.
        """
        if not 0 <= fade <= 1:
            raise EditError(f"fade is {fade}; a number from 0 to 1 is accepted.")
        if retries < 0:
            raise EditError(f"retries is {retries}; 0 (off) or more is accepted.")
        response = self._response
        if response is None:
            return self._at_scale(strength)
        full = response.full
        if absolute:
            less = self._toward(-full, 1 - strength, fade) if fade else self._at_scale(response.scale_at(strength - 1))
            return torch.where(self._wears(full), less, self._added(response, strength, fade, retries))
        if fade and strength < 0:
            less = self._toward(-full, -strength, fade)
            return torch.where(self._wears(full), less, self._toward(full, strength, fade))
        return self._added(response, strength, fade, retries)

    def _added(self, response: Response, strength: float, fade: float, retries: int) -> Tensor:
        """Return the result with the attribute added, to each picture at scales times its own factor."""

        def times(factor: float) -> Tensor:
            if fade:
                return self._toward(factor * response.full, strength, fade)
            return self._at_scale(factor * response.scale_at(strength))

        if strength <= 0 or self._change_at is None:
            return times(1.0)
        if retries not in self.factors:
            self.factors[retries] = scale_factors(self._change_at, response, retries)
        factors = self.factors[retries]
        first, *others = factors.unique().tolist()
        added = times(first)
        for factor in others:
            # Factors stay on the CPU, results where they were sampled.
            added = torch.where(_like(factors == factor, added).to(added.device), times(factor), added)
        return added

    def _toward(self, scale: float, share: float, place: float) -> Tensor:
        """Return the result at a share of the way from the one without the edit to the one at a scale, or beyond."""
        if share in (0, 1):
            return self._at_scale(scale * share)
        if place >= 1:
            return _between(self._at_scale(0.0), self._at_scale(scale), share)
        if 0 < share < 1:
            return self._even(scale, share, place)
        return self._mixed(scale, torch.tensor([share]), place)

    def _mixed(self, scale: float, weights: Tensor, place: float) -> Tensor:
        """Return what is finished of the mixture of two runs; weights are one, or [B]."""
        assert self._parts is not None
        plain, edited = (self._state(at, place) for at in (0.0, scale))
        return self._parts.finish(plain + _like(weights.to(plain), plain) * (edited - plain), place, 0.0)

    def _even(self, scale: float, share: float, place: float) -> Tensor:
        """Return the mixtures that make the share of each picture's way, with weights between 0 and 1.

        The weight is searched between one that makes less progress and one that makes as much or more, by turns half
        way and where a straight line between the two makes the share.
        """
        plain, edited = self._end(0.0, place), self._end(scale, place)
        way = (edited - plain).flatten(1)
        size = way.square().sum(1).clamp(min=1e-12)
        low, high = torch.zeros_like(size), torch.ones_like(size)
        less, more = low, high
        best, nearest = plain, torch.full_like(size, torch.inf)
        for i in range(TRIES):
            weights = low + (high - low) * ((share - less) / (more - less) if i % 2 else 0.5)
            tried = self._mixed(scale, weights, place)
            made = ((tried - plain).flatten(1) * way).sum(1) / size
            best = torch.where(_like((made - share).abs() < nearest, tried), tried, best)
            nearest = torch.minimum((made - share).abs(), nearest)
            below = made < share
            low, less = torch.where(below, weights, low), torch.where(below, made, less)
            high, more = torch.where(below, high, weights), torch.where(below, more, made)
        return best

    def _end(self, scale: float, place: float) -> Tensor:
        """Return the result at a scale, sampled on from the state that is mixed."""
        assert self._parts is not None
        if scale not in self._results and (scale, place) not in self._ends:
            self._ends[scale, place] = self._parts.finish(self._state(scale, place), place, scale)
        return self._results[scale] if scale in self._results else self._ends[scale, place]

    def _state(self, scale: float, place: float) -> Tensor:
        assert self._parts is not None
        if (scale, place) not in self._states:
            self._states[scale, place] = self._parts.state(scale, place)
        return self._states[scale, place]

    def _wears(self, full: float) -> Tensor:
        """Return which pictures change more by taking the attribute away than by adding it: booleans, [B, 1, 1, 1]."""
        plain, added, taken = (self._at_scale(scale) for scale in (0.0, full, -full))
        size = (taken - plain).flatten(1).norm(dim=1) - (added - plain).flatten(1).norm(dim=1)
        return _like(size > 0, plain)

    def _at_scale(self, scale: float) -> Tensor:
        if scale not in self._results:
            self._results[scale] = self.sample(scale)
        return self._results[scale]


def slide_of(  # noqa: PLR0913
    run: RunSteps,
    response: Response | None,
    *,
    steps: int,
    cut: Callable[[float], int],
    decode: Callable[[Tensor], Tensor] | None = None,
    known: Mapping[float, Tensor] | None = None,
    plain: Tensor | None = None,
    factors: dict[int, Tensor] | None = None,
    comparable: Callable[[Tensor], Tensor] | None = None,
) -> Slide:
    """Return the slide of a sampling whose steps can be made in two parts.

    Args:
        run: Makes steps of the sampling.
        response: The attribute's response, or None.
        steps: Steps of the whole sampling.
        cut: The step where it is cut at a progress.
        decode: Makes a result of the state at the last step, such as a picture; None leaves it as it is.
        known: As Slide takes it.
        plain: The state at the last step without an edit, from which changes are measured; None samples it.
        factors: As Slide takes them.
        comparable: Brings a state at the last step to model space, where changes are measured; None takes it as it is.
    """
    ends: dict[float, Tensor] = {}

    def end(scale: float) -> Tensor:
        if scale not in ends:
            ends[scale] = run(scale, None, 0, steps)
        return ends[scale]

    def change_at(scale: float) -> Tensor:
        states = (end(scale), end(0.0) if plain is None else plain)
        edited, unedited = states if comparable is None else map(comparable, states)
        return root_mean_squares(edited - unedited).cpu()

    def decoded(end: Tensor) -> Tensor:
        return end if decode is None else decode(end)

    def state(scale: float, progress: float) -> Tensor:
        return run(scale, None, 0, cut(progress))

    def finish(mixture: Tensor, progress: float, scale: float) -> Tensor:
        return decoded(run(scale, mixture, cut(progress), steps))

    return Slide(
        lambda scale: decoded(end(scale)),
        response,
        Parts(state, finish),
        known=known,
        change_at=change_at,
        factors=factors,
    )


def _like(of_pictures: Tensor, x: Tensor) -> Tensor:
    """Return values of pictures, [B], shaped to broadcast over x."""
    return of_pictures.reshape(-1, *[1] * (x.ndim - 1))


def _between(first: Tensor, second: Tensor, strength: float) -> Tensor:
    """Return the result at a share of the way from the first to the second, or on the line beyond them."""
    return first + strength * (second - first)
