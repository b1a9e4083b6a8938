"""Several directions and readouts, each at a strength of its own, as one."""

from __future__ import annotations

from collections.abc import Sequence

from ..hspace.combine import combine_directions
from ..hspace.direction import HDirection
from ..hspace.readout import Readout
from ..response import scale_of


def together(weighted: Sequence[tuple[HDirection, float]]) -> tuple[HDirection, float]:
    """Return several directions, each at a strength of its own, as one direction at one strength.

    Each acts as bind_edit makes it act alone: a readout is taken away by less than it is added, and a direction that
    moves h at a strength beyond 1 keeps the dh that was learned and multiplies its effect. Where several directions
    move h, the largest of their strengths multiplies the effect of all.

    Args:
        weighted: Directions and strengths, at least one.

    Returns:
        (direction, strength) for bind_edit.
    """
    if len(weighted) == 1:
        return weighted[0]
    flat = [
        (part.with_response(None), weight, scale_of(direction.response, strength))
        for direction, strength in weighted
        for weight, part in direction.parts
    ]
    beyond_learned = max([1.0, *(abs(strength) for part, _, strength in flat if not isinstance(part, Readout))])
    parts = []
    for part, weight, strength in flat:
        parts.append((weight * strength / beyond_learned, part))
    return combine_directions(parts), beyond_learned
