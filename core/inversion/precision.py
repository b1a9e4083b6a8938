"""How closely a step can be solved for a model that computes in half precision.

Such a model rounds its input and everything inside, so that its prediction jumps where a step's equation wants it
smooth. A step then has no closer solution than that rounding, multiplied by guidance as every change of the
prediction is. That is not in a paper; it was measured on five families.
"""

from __future__ import annotations

import torch

# In half precision, steps that float32 can solve kept a residual of at most this many machine epsilons times the
# guidance in four of five families, and of 1.3 times as many in the fifth: python benchmarks/half_precision.py
ROUNDINGS = 2.0


def reachable_residual(precision: torch.dtype | None, guidance: float) -> float:
    """Return the residual to which steps can be solved at worst, whatever the tolerance.

    Args:
        precision: What the model computes in; None where that is not known.
        guidance: By how much guidance multiplies a change of the conditional prediction.

    Returns:
        ROUNDINGS times the distance from 1 to the next number of that precision, times the guidance where that is above
        1: roughly the most that was seen. 0 where the precision is not known. A step that has no solution at any
        precision can be left with more.
    """
    if precision is None or not precision.is_floating_point:
        return 0.0
    return ROUNDINGS * torch.finfo(precision).eps * max(1.0, abs(guidance))


def is_half(precision: torch.dtype | None) -> bool:
    """Return whether the precision is coarser than float32, so that a picture's steps feel its rounding."""
    return precision is not None and precision.is_floating_point and precision.itemsize < torch.float32.itemsize
