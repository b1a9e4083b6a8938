"""What a strength means for one attribute that carries a response, where a picture can be sampled more than once.

A strength is a share of the way from the picture without the attribute to the one with it. The response says at which
scale pictures come so far in the mean, and the picture is sampled at that scale.

An *absolute* strength says how much of the attribute the picture has in the end, not how much is added: 0 is without it
and 1 with it. A picture *wears* the attribute that changes more by taking it away than by adding it. It is at 1 as it
is, is not given it twice, and below 1 loses it.

One picture still moves unevenly: up to some scale the model removes what an edit begins, and from there on it completes
it, so that glasses come at once, at a scale of their own on each face. A strength that *fades* moves evenly instead:

    x(s) = x(0) + s (x(1) - x(0))

mixes the finished results x(0), without the edit, and x(1), with the attribute there. Each step is as large as the next
one on every picture, but half way the glasses are half transparent, not half as large. Below 0 a picture that wears
the attribute goes towards the result with it taken away; any other picture goes on along its line.

Ours, not the papers'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import torch
from torch import Tensor

from ..response import Response

# scale -> the result of sampling with the edit at that scale, [B, C, H, W]; the same noises every time
SampleAt = Callable[[float], Tensor]


class Slide:
    """Results by strength, each sampled once, when it is first needed.

    Args:
        sample: Samples at a scale.
        response: The attribute's response; None takes every strength as the scale, as attributes of older files do.

    Attributes:
        sample: As it was given.
    """

    def __init__(self, sample: SampleAt, response: Response | None) -> None:
        self.sample = sample
        self._response = response
        self._results: dict[float, Tensor] = {}

    def at(self, strength: float, *, absolute: bool = False, fade: bool = False) -> Tensor:
        """Return the result at a strength.

        Args:
            strength: 0 is the result without the edit, bit for bit, and 1 the one with the attribute there.
            absolute: Whether the strength says what the picture has in the end. An attribute without a response does
                not know where it is there, and adds.
            fade: Whether finished results are mixed. An attribute without a response is sampled.

        Returns:
            The result, [B, C, H, W].
        """
        response = self._response
        if response is None:
            return self._at_scale(strength)
        if absolute:
            return self._absolute(strength, response, fade=fade)
        if not fade or strength in (0, 1):
            return self._at_scale(response.scale_at(strength))
        plain = self._at_scale(0.0)
        added = self._at_scale(response.full)
        if strength > 0:
            return _between(plain, added, strength)
        taken = self._at_scale(-response.full)
        return torch.where(
            _wears(plain, added, taken), _between(plain, taken, -strength), _between(plain, added, strength)
        )

    def _absolute(self, strength: float, response: Response, *, fade: bool) -> Tensor:
        """Return the result that has so much of the attribute."""
        plain = self._at_scale(0.0)
        added = self._at_scale(response.full)
        taken = self._at_scale(-response.full)
        wears = _wears(plain, added, taken)
        if fade:
            return _between(torch.where(wears, taken, plain), torch.where(wears, plain, added), strength)
        with_less, with_more = (self._at_scale(response.scale_at(share)) for share in (strength - 1, strength))
        return torch.where(wears, with_less, with_more)

    def _at_scale(self, scale: float) -> Tensor:
        if scale not in self._results:
            self._results[scale] = self.sample(scale)
        return self._results[scale]


class Draws:
    """Noise that is drawn once and drawn again alike, so that every sampling of a slide meets the same noise.

    Args:
        draw: Draws noise like its argument; None where nothing is drawn.
    """

    def __init__(self, draw: Callable[[Tensor], Tensor] | None) -> None:
        self._draw = draw
        self._drawn: list[Tensor] = []

    def again(self) -> Callable[[Tensor], Tensor]:
        """Return what draws from the beginning."""
        drawn = count()

        def draw(x: Tensor) -> Tensor:
            i = next(drawn)
            if i == len(self._drawn):
                assert self._draw is not None
                self._drawn.append(self._draw(x))
            return self._drawn[i]

        return draw


def sampled_scales(
    response: Response | None, strengths: Sequence[float], *, absolute: bool = False, fade: bool = False
) -> set[float]:
    """Return the scales at which Slide samples for these strengths."""
    if response is None:
        return set(strengths)
    scales = {response.scale_at(strength) for strength in strengths}
    if absolute:
        ends = {0.0, response.full, -response.full}
        return ends if fade else ends | scales | {response.scale_at(strength - 1) for strength in strengths}
    if not fade or scales <= {0.0, response.full}:
        return scales
    return {0.0, response.full, -response.full} if min(strengths) < 0 else {0.0, response.full}


def _wears(plain: Tensor, added: Tensor, taken: Tensor) -> Tensor:
    """Return which pictures change more by taking the attribute away than by adding it: booleans, [B, 1, 1, 1]."""
    size = (taken - plain).flatten(1).norm(dim=1) - (added - plain).flatten(1).norm(dim=1)
    wears: Tensor = (size > 0).reshape(-1, *[1] * (plain.ndim - 1))
    return wears


def _between(first: Tensor, second: Tensor, strength: float) -> Tensor:
    """Return the result at a share of the way from the first to the second, or on the line beyond them."""
    return first + strength * (second - first)
