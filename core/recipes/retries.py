"""Pictures that an attribute did not come to are edited again, more strongly.

An attribute's full scale suits pictures in the mean. Some answer it weakly: the model removes what the edit begins, and
the picture comes out without the attribute. Such a picture has changed little. So what the full scale changed is
compared with what it usually changes, which the attribute's file says (core/response.py), and a picture that changed by
less than the share WEAK_CHANGE of it is sampled again at larger scales.

A picture that wears the attribute changes little as well, and is to be left alone. It answers a larger scale in
proportion at most, where an attribute that is missing comes at once. So a larger scale is kept only where it changes
the picture enough, and by the factor RETRY_JUMP more than in proportion.

Ours, not the papers'.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..response import Response
from . import defaults

# scale -> root mean square of what it changes in each finished picture, [B], in model space
ChangeAt = Callable[[float], Tensor]


def scale_factors(change_at: ChangeAt, response: Response, retries: int) -> Tensor:
    """Return what every scale is multiplied by for each picture: 1, or more where the attribute comes only then.

    Args:
        change_at: What a scale changes. It is asked for the full scale; where that is weak for a picture, also for
            larger ones, by turns.
        response: The attribute's response.
        retries: How many of defaults.RETRY_FACTORS are tried at most.

    Returns:
        The factors, [B]; all 1 where the response does not say what the full scale usually changes.
    """
    if response.change is None or retries == 0:
        return torch.ones(1)
    enough = defaults.WEAK_CHANGE * response.change
    changed = change_at(response.full)
    factors = torch.ones_like(changed, dtype=torch.float64)
    weak = changed < enough
    for factor in defaults.RETRY_FACTORS[:retries]:
        if not weak.any():
            break
        more = change_at(factor * response.full)
        comes = weak & (more >= enough) & (more > defaults.RETRY_JUMP * factor * changed)
        factors[comes] = factor
        weak &= ~comes
    return factors


def retries_of(retries: int, until: float, mask: Tensor | None) -> int:
    """Return how often a picture may be edited again: not at all where it was to change less than usually.

    Args:
        retries: How often at most.
        until: Sampling progress until which it is edited. Directions and readouts change less until earlier.
        mask: Where it may change, or None.
    """
    return retries if mask is None and until >= defaults.END_PERCENT else 0
