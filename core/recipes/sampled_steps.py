"""How many steps a slide samples, for progress and for what an edit costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..response import Response
from .slide import slide_of


def sampled_steps(
    response: Response | None,
    strengths: Sequence[float],
    steps: int,
    *,
    cut: Callable[[float], int],
    known: Iterable[float] = (),
    traced: bool = False,
    factors: dict[int, Tensor] | None = None,
    unedited: bool = False,
    **options: Any,
) -> int:
    """Return how many sampling steps Slide makes for these strengths, where no picture is given more.

    Args:
        response: The attribute's response, or None.
        strengths: The strengths.
        steps: Steps of one sampling.
        cut: The step where a sampling is cut at a progress.
        known: Scales whose results are there without sampling.
        traced: Whether the states without an edit are there too.
        factors: As Slide takes them; nothing is added.
        unedited: Whether the result without an edit is asked for too.
        **options: As Slide.at takes them.
    """
    made: list[int] = []

    def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
        is_there = traced and state is None and scale == 0 and last < steps
        made.append(0 if is_there else last - first)
        # What changes so much is given no more.
        return torch.full((1, 1), float("inf") if scale else 0.0)

    plain = torch.zeros(1, 1)
    slide = slide_of(
        run,
        response,
        steps=steps,
        cut=cut,
        known=dict.fromkeys(known, plain),
        plain=plain if traced else None,
        factors=dict(factors or {}),
    )
    for strength in strengths:
        slide.at(strength, **options)
    if unedited:
        slide.at(0.0)
    return sum(made)
