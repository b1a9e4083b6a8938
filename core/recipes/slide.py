"""Even strengths, picture by picture: what strength means for one attribute that carries a response.

    x(s) = x(0) + s (x(1) - x(0))

x(0) is sampled without the edit, x(1) with the attribute there, at its full scale, and x(s) lies between the two
results. Sampling itself answers unevenly: up to some scale the model removes what an edit begins, and from there on it
completes it, so that pictures jump, each at a scale of its own. Between two results nothing jumps: each step of a
strength is as large as the next one. Beyond 1 the same line goes on.

Below 0 a third result is taken, with the attribute taken away. A picture that changes more by that than by adding the
attribute *wears* it, and goes towards that result. Any other picture has nothing to be taken away, and goes on along
its line, away from the attribute.

An *absolute* strength says how much of the attribute the picture has in the end, not how much is added: 0 is without it
and 1 with it. A picture that wears it is at 1 as it is, and is not given it twice.

Ours, not the papers'. What it costs is a second sampling, and for a negative or an absolute strength a third; strengths
0 and 1 take one.
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
    """The results that strengths lie between, each sampled once, when it is first needed.

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

    def at(self, strength: float, *, absolute: bool = False) -> Tensor:
        """Return the result at a strength.

        Args:
            strength: 0 is the result without the edit, bit for bit, and 1 the one with the attribute there.
            absolute: Whether the strength says what the picture has in the end. An attribute without a response does
                not know where it is there, and adds.

        Returns:
            The result, [B, C, H, W].
        """
        if self._response is None:
            return self._at_scale(strength)
        if absolute:
            return self._absolute(strength)
        if strength == 0:
            return self._at_scale(0.0)
        if strength == 1:
            return self._at_scale(self._response.full)
        plain = self._at_scale(0.0)
        added = self._at_scale(self._response.full)
        if strength > 0:
            return _between(plain, added, strength)
        taken = self._at_scale(-self._response.full)
        return torch.where(
            _wears(plain, added, taken), _between(plain, taken, -strength), _between(plain, added, strength)
        )

    def _absolute(self, strength: float) -> Tensor:
        """Return the result that has so much of the attribute."""
        assert self._response is not None
        plain = self._at_scale(0.0)
        added = self._at_scale(self._response.full)
        taken = self._at_scale(-self._response.full)
        wears = _wears(plain, added, taken)
        return _between(torch.where(wears, taken, plain), torch.where(wears, plain, added), strength)

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


def sampled_scales(response: Response | None, strengths: Sequence[float], *, absolute: bool = False) -> set[float]:
    """Return the scales at which Slide samples for these strengths."""
    if response is None:
        return set(strengths)
    if absolute or min(strengths) < 0:
        return {0.0, response.full, -response.full}
    if set(strengths) == {1.0}:
        return {response.full}
    return {0.0, response.full} if any(strengths) else {0.0}


def _wears(plain: Tensor, added: Tensor, taken: Tensor) -> Tensor:
    """Return which pictures change more by taking the attribute away than by adding it: booleans, [B, 1, 1, 1]."""
    size = (taken - plain).flatten(1).norm(dim=1) - (added - plain).flatten(1).norm(dim=1)
    wears: Tensor = (size > 0).reshape(-1, *[1] * (plain.ndim - 1))
    return wears


def _between(first: Tensor, second: Tensor, strength: float) -> Tensor:
    """Return the result at a share of the way from the first to the second, or on the line beyond them."""
    return first + strength * (second - first)
