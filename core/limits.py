"""What the values of a file's tensors can be: what a tensor means bounds them.

A file may come from anybody. Values that are finite but mean nothing, such as an edit of 1e30 times a code's norm,
would end in NaN in the middle of sampling, so they are refused where a file is read. The same check runs where a file
is written, so that what was saved can be loaded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# No weight, no map of a bottleneck and no noise level comes near this; products of a few of them stay finite.
LARGEST = 1e6


class Limits(NamedTuple):
    """What the values of one tensor can be.

    Attributes:
        low: The smallest value.
        high: The largest value.
        descending: Along the last axis: None asks for nothing, "weakly" lets neighbours be equal, "in logs" asks that
            they differ in logarithm too, as noise levels must for an interpolation between them.
        length: Length of the last axis; None is any.
        multiple: What the length of the last axis must be a multiple of.
        norm: Largest norm of the whole tensor; None is any.
        columns: Largest norm of a column, which runs along the axis before the last; None is any.
        ascending: Whether values rise along the last axis, each above the one before.
    """

    low: float = -LARGEST
    high: float = LARGEST
    descending: str | None = None
    length: int | None = None
    multiple: int = 1
    norm: float | None = None
    columns: float | None = None
    ascending: bool = False

    def allow(self, tensor: Tensor) -> bool:
        """Return whether a tensor of one value or more is within these limits; NaN never is."""
        lowest, highest = torch.aminmax(tensor)
        if not (self.low <= float(lowest) and float(highest) <= self.high):
            return False
        length = tensor.shape[-1] if tensor.ndim else 1
        if self.length not in (None, length) or length % self.multiple:
            return False
        if self.norm is not None and not float(torch.linalg.vector_norm(tensor, dtype=torch.double)) <= self.norm:
            return False
        if self.columns is not None and not float(tensor.norm(dim=-2).max()) <= self.columns:
            return False
        if self.ascending and not bool((tensor[..., 1:] > tensor[..., :-1]).all()):
            return False
        return self._descends(tensor)

    def _descends(self, tensor: Tensor) -> bool:
        if self.descending is None:
            return True
        if self.descending == "in logs":
            logs = tensor.log()
            return bool((logs[..., 1:] < logs[..., :-1]).all())
        # Values that were rounded to half precision may change places with their neighbours.
        slack = 1e-3 * float(tensor.abs().max())
        return bool((tensor[..., 1:] <= tensor[..., :-1] + slack).all())


# Of a tensor of which nothing more is known.
FINITE = Limits()
