"""How a strength becomes an edit: bind_edit.

With a strength s, the bottleneck h becomes h' and the prediction D becomes D_edit:

    a direction that moves h, -1 <= s <= 1    h' = h + s * (S / S') * dh           D_edit = D(h')
                              beyond          h' = h + sign(s) * (S / S') * dh     D_edit = D + |s| * (D(h') - D)
    a readout,                s > 0           h' = h                               D_edit = D + s * guidance * w R
                              s < 0           h' = h                               as above, s * READOUT_REMOVAL_SCALE
    either,                   s = 0           the stock sampler, bit for bit

Up to 1, and down to -1, a strength multiplies dh, as in the paper (arXiv 2210.10960). Beyond, dh stays as learned and
its *effect* D(h') - D is multiplied: a bottleneck that is pushed further than it was learned answers with changes that
nobody asked for (python benchmarks/hspace.py strengths). That is ours, and so are readouts. S and S' count the steps
inside the window in training and here: fewer steps must each do more (section 5.2).

A readout has no dh, so that its strength multiplies its change w R throughout, which readout.py lifts where it is weak.
Of that change each step makes the fraction that a stock step makes of a change of D (samplers.euler_fraction), not the
whole of it as of D(h') - D. Strength 1 is set above the mean effect so that faces which respond weakly also change
(calibration.py). Removal needs less; past the point where the attribute is gone, more strength only damages the
picture.

For a direction with a response the strength is a share of the way, and core/response.py turns it into s: at 1 the
attribute is there. For a direction of an older file the strength is s.

A sum is edited part by part: each part keeps its weight, its start and its own S. sample_asyrp (asyrp.py) makes the
steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..response import scale_of
from ..samplers import SIGMA_TOLERANCE
from .direction import DeltaDirection, HDirection
from .readout_change import ReadoutChange
from .window import EditWindow

# (h [R, Ch, h, w], sigma) -> the edited h, or what is added to h
BottleneckEdit = Callable[[Tensor, Tensor], Tensor]


class BoundEdit(NamedTuple):
    """A direction at a strength, ready for sample_asyrp. BoundEdit() edits nothing.

    Attributes:
        h_edit: (h, sigma) -> edited h; None where no part moves h.
        effect_scale: What the effect of h_edit, D_edit - D, is multiplied by; 1 or more.
        change: What readouts add to D; None where no part is one.
        layer: Where h has to be; None takes whatever h the denoiser has.
    """

    h_edit: BottleneckEdit | None = None
    effect_scale: float = 1.0
    change: ReadoutChange | None = None
    layer: str | None = None


def bind_edit(direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow) -> BoundEdit:
    """Turn a direction and a strength into an edit, by the rules at the head of this file.

    Args:
        direction: A direction, a readout, or a sum of them.
        strength: 0 edits nothing, 1 is as learned, below 0 takes away; -3 to 3 is typical.
        sigmas: The sampler's schedule, descending, [n + 1].
        window: Where the sampler edits.

    Returns:
        The edit. At strength 0 it edits nothing.
    """
    strength = scale_of(direction.response, strength)
    within_learned = min(max(strength, -1.0), 1.0)
    beyond_learned = max(abs(strength), 1.0)
    h_edit = bottleneck_edit(direction, within_learned, sigmas, window)
    change = ReadoutChange.of(direction, strength, window)
    if h_edit is None and change is None:
        return BoundEdit()
    return BoundEdit(h_edit, beyond_learned, change, direction.layer)


def bottleneck_edit(
    direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow
) -> BottleneckEdit | None:
    """Return the edit h -> h + strength * (S / S') * dh.

    Args:
        direction: A direction, a readout, or a sum of them.
        strength: What dh is multiplied by.
        sigmas: The sampler's schedule, descending, [n + 1].
        window: Where the sampler edits.

    Returns:
        (h, sigma) -> edited h, like h; None when there is nothing to add.
    """
    delta = bottleneck_delta(direction, strength, sigmas, window)
    if delta is None:
        return None

    def edit(h: Tensor, sigma: Tensor) -> Tensor:
        return h + delta(h, sigma).to(h)

    return edit


def bottleneck_delta(
    direction: HDirection, strength: float, sigmas: Tensor, window: EditWindow
) -> BottleneckEdit | None:
    """Return what bottleneck_edit adds, strength * (S / S') * dh.

    Args:
        direction: A direction, a readout, or a sum of them.
        strength: What dh is multiplied by.
        sigmas: The sampler's schedule, descending, [n + 1].
        window: Where the sampler edits.

    Returns:
        (h, sigma) -> what is added to h [R, Ch, h, w], of its shape in float32; None when there is nothing to add. It
        raises EditError for a bottleneck of another width.
    """
    terms: list[tuple[float, DeltaDirection, EditWindow]] = []
    for weight, part in direction.parts:
        if isinstance(part, DeltaDirection) and strength * weight != 0:
            own = window.beginning_at(part.start)
            terms.append((strength * weight * _step_ratio(part.sigmas, sigmas, own), part, own))
    if not terms:
        return None

    def delta(h: Tensor, sigma: Tensor) -> Tensor:
        total = torch.zeros_like(h, dtype=torch.float32)
        for scale, part, own in terms:
            if own.edits(sigma):
                total = total + scale * part.delta(h, sigma)
        return total

    return delta


def _step_ratio(learned: Tensor, sigmas: Tensor, window: EditWindow) -> float:
    """Return S / S' of a direction that was learned on ``learned`` [S], for a sampler with this schedule [n + 1]."""
    here = [sigma for sigma in sigmas[:-1].tolist() if window.edits(sigma)]
    if not here:
        return 1.0
    # A sampler that starts late (partial denoise) or stops early is compared with the training steps that it goes
    # through.
    first = here[0] * (1 + SIGMA_TOLERANCE)
    last = float(sigmas[-1]) * (1 + SIGMA_TOLERANCE)
    there = [sigma for sigma in learned.tolist() if window.edits(sigma) and last < sigma <= first]
    return len(there) / len(here) if there else 1.0
