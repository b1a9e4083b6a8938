"""Noise of a sampling that is made more than once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from torch import Tensor


class Draws:
    """Noise that is drawn once and drawn again alike, so that every sampling of a slide meets the same noise.

    Args:
        draw: Draws noise like its argument; None where nothing is drawn.
    """

    def __init__(self, draw: Callable[[Tensor], Tensor] | None) -> None:
        self._draw = draw
        self._drawn: list[Tensor] = []

    def again(self, skipped: int = 0) -> Callable[[Tensor], Tensor]:
        """Return what draws from the beginning, but for what was drawn in an earlier part."""
        drawn = count(skipped)

        def draw(x: Tensor) -> Tensor:
            i = next(drawn)
            while i >= len(self._drawn):
                assert self._draw is not None
                self._drawn.append(self._draw(x))
            return self._drawn[i]

        return draw
