"""In how many other pictures an attribute comes: it is tried on pairs that were left out of learning.

The pairs are split into parts, those of one picture into the same. Each part is edited by an attribute that is learned
from all others, and finished, and the model tells how much evidence for the target prompt that adds
(core/prompt_evidence.py). The attribute has come where that is most of what the pair's own target adds. How often it
then comes in other pictures: docs/results/pairs.md, *Tried on pairs left out*. Ours, not the paper's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..latent_svd.apply import apply_attribute
from ..latent_svd.attribute import SVDAttribute
from . import defaults
from .svd_pairs import Pairs

# Parts that the pairs are split into, and learned without.
PARTS = 6
# The share of what a pair's own target adds from which on the attribute has come. Of eight cases of three models the
# shares of pairs are nearest to those of the judges at this one (docs/results/pairs.md, *Tried on pairs left out*).
COME = 0.6


@torch.no_grad()
def left_out_share(
    pairs: Pairs, learn: Callable[[Tensor, Tensor], SVDAttribute], gained: Callable[[Tensor], Tensor]
) -> float | None:
    """Return the share of pairs in which an attribute comes that was learned without them.

    Args:
        pairs: The pairs, their codes in LATENT space. Those in which the attribute does not come do not count.
        learn: Learns an attribute from some of them, (source, target).
        gained: Returns the evidence that edited source codes add once they are finished, [B] for all of them.

    Returns:
        The share, 0 to 1; None of fewer noises or pictures than defaults.LEFT_OUT_PAIRS, and where none shows the
        attribute or nobody was asked.
    """
    source, target, shown, evidence, origin = pairs
    numbers = {number: i for i, number in enumerate(dict.fromkeys(origin.tolist()))}
    if len(numbers) < defaults.LEFT_OUT_PAIRS or shown is None or evidence is None or not bool(shown.any()):
        return None
    edited = torch.empty_like(source)
    part = torch.tensor([numbers[number] % PARTS for number in origin.tolist()])
    for left_out in (part == i for i in range(min(PARTS, len(numbers)))):
        attribute = learn(source[~left_out], target[~left_out])
        edited[left_out] = apply_attribute(source[left_out], attribute, defaults.THERE)
    come = gained(edited) >= COME * (evidence[1] - evidence[0])
    return float(come[shown].double().mean())
