"""strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .direction import HDirection
from .window import EditWindow

Edit = Callable[[Tensor, Tensor], Tensor]


Reading = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]


READOUT_REMOVAL_SCALE = 0.5  # of its strength is what a readout takes away with


class BoundEdit(NamedTuple):
    """What sample_asyrp does with a direction at a strength: its ``edit`` of h, how much of its effect, and a ``reading`` of h."""

    edit: Edit | None
    amount: float
    reading: Reading | None


def bind_edit(direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow) -> BoundEdit:
    """A strength as an edit of h and the amount of its effect, D_edit - D, that sample_asyrp is to add.

    Up to 1, and down to -1, strength multiplies dh, as in the paper. Beyond, dh stays as learned and its effect is carried on in
    proportion: a bottleneck pushed further than it was learned answers with what nobody asked for
    (benchmarks/hspace.py strengths). A readout has no dh; its strength is a factor throughout, TAKING of it below 0: its
    unit goes beyond where the attribute has come, so that faces on which it has not come get it too (core.calibration).
    What is taken away is gone sooner, and what follows only harms the picture.
    """
    edit = bottleneck_edit(direction, min(max(strength, -1.0), 1.0), sigmas, window)
    return BoundEdit(
        edit,
        max(abs(strength), 1.0),
        prediction_change(direction, strength if strength > 0 else READOUT_REMOVAL_SCALE * strength, window),
    )


def bottleneck_edit(direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow) -> Edit | None:
    """H -> h + strength * (S / S') * dh for a sampler with this schedule; None when there is nothing to add."""
    move = bottleneck_delta(direction, strength, sigmas, window)
    return None if move is None else lambda h, sigma: h + move(h, sigma).to(h)


def bottleneck_delta(direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow) -> Edit | None:
    """What direction_edit adds: (h, sigma) -> [R, Ch, h, w] in float32; None when there is nothing to add.

    S and S' count the steps inside the window in training and here: fewer steps must each do more (section 5.2). Of a
    sum each part keeps its own start and its own S.
    """
    moves = []
    for weight, part in direction.parts:
        own = replace(window, edit_from=min(window.edit_from, part.start))
        if part.moves_h and strength * weight != 0:
            moves.append((strength * weight * _step_ratio(part.sigmas, sigmas, own), part, own))
    if not moves:
        return None

    def move(h: Tensor, sigma: Tensor) -> Tensor:
        return sum(
            (scale * part.delta(h, sigma) for scale, part, own in moves if own.edits(sigma)),
            torch.zeros_like(h, dtype=torch.float32),
        )

    return move


def prediction_change(direction: HDirection, strength: float, window: EditWindow) -> Reading | None:
    """Strength * w R of the readouts among a direction's parts, each for its share of the step: (h, sigma, sigma_next, size) -> [B, C, *size]; None where there are none."""
    read = [
        (strength * weight, part, replace(window, edit_from=min(window.edit_from, part.start)))
        for weight, part in direction.parts
        if not part.moves_h and strength * weight != 0
    ]
    if not read:
        return None

    def reading(h: Tensor, sigma: Tensor, sigma_next: Tensor, size: tuple[int, int]) -> Tensor:
        shares = [(scale * own.share(sigma, sigma_next), part, own) for scale, part, own in read]
        return sum(
            (share * part.read(h, sigma.clamp(max=own.edit_from), size) for share, part, own in shares if share),
            torch.zeros(1, device=h.device),
        )

    return reading


def _step_ratio(learned: Tensor, sigmas: Tensor, window: EditWindow) -> float:
    """S / S' of a direction learned on these sigmas for a sampler with this schedule."""
    here = [s for s in sigmas[:-1].tolist() if window.edits(s)]
    # A sampler that starts late (partial denoise) is compared with the training steps it goes through.
    there = [s for s in learned.tolist() if here and window.edits(s) and s <= here[0] * (1 + 1e-4)]
    return len(there) / len(here) if here and there else 1.0
