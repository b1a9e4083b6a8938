"""How strongly an edit is applied to a code other than the one it was learned from.

To change how strong an attribute is on another picture, change the three constants below: FOREIGN_GAIN for attributes
of one pair, FOREIGN_MARGIN and MAX_GAIN for attributes of several pairs, which must then be learned anew.

Only a part of a pair's edit e is the attribute; the rest is specific to that pair: the colour of this hat, the mouth of
this face. On the attribute's *own code* all of e fits. On *another code* (a foreign one) only the part fits that pairs
have in common. So that strength 1 looks equally strong on both, another code gets |e| / |common| times as much.
B pairs give an estimate of the common part:

    |common|^2 = mean of <e_i, e_j> over i != j = (B |mean e|^2 - mean |e|^2) / (B - 1)

One pair gives no estimate of the common part. FOREIGN_GAIN takes its place, and counts as one more pair in the mean.
FOREIGN_MARGIN adds a little on every other code.

An attribute of several pairs has no own code, and its file holds the edit with the gain in it (mean_edit_gain). An
attribute of one pair keeps the leading atoms of its source code, by which its own code is recognised when the attribute
is applied (transfer_gain). All of this is ours, not the paper's.
"""

from __future__ import annotations

import math

from torch import Tensor

from .svd import ChannelSVD, compose, resize_atoms, standardise

# All three were chosen by hand on the embedded model of drawn faces; another model may want other values. No benchmark
# varies them, but `python benchmarks/latent_svd.py ablation` has a row without FOREIGN_GAIN, "no gain on other codes".

# How many times as strong the edit of one pair is on another code: what brings hats, glasses, beards and smiles to most
# faces of the embedded model.
FOREIGN_GAIN = 3.2
# How many times as strong as the common part alone would be, on another code: such a code resists an edit a little.
FOREIGN_MARGIN = 1.4
# The gain of pairs whose edits share a ninth of their energy: FOREIGN_MARGIN * 3. Pairs that share less get no more,
# because they have too little in common.
MAX_GAIN = 4.2

# A code is another picture's, as far as people need to know, where its gain is nearer to FOREIGN_GAIN than to 1.
OWN_SIMILARITY = 0.5
# What an attribute of one pair does there; of a report, and of a note when it is applied.
FOREIGN_EFFECT = "it changes what the pair changed, where the pair did; several pairs, or a readout, fit others better"


def common_share(edits: Tensor) -> float:
    """Return the share of a pair's energy that pairs have in common, at most 1; assumed where there is one pair.

    Args:
        edits: The edit of each pair, [B, C, H, W] at unit variance of the codes.
    """
    energy = edits.flatten(1).square().sum(1).mean().clamp(min=1e-12)
    mean_energy = edits.mean(dim=0).square().sum()
    # The share of one pair's energy that is common, as FOREIGN_GAIN has it.
    assumed_share = (FOREIGN_MARGIN / FOREIGN_GAIN) ** 2
    # ((B - 1) * <e_i, e_j> + assumed_share * energy) / B, with <e_i, e_j> the mean over i != j
    return float((mean_energy / energy - (1 - assumed_share) / len(edits)).clamp(0, 1))


def is_little(share: float) -> bool:
    """Return whether pairs that have this share in common would need more than the largest gain."""
    return share <= (FOREIGN_MARGIN / MAX_GAIN) ** 2


def mean_edit_gain(share: float) -> float:
    """Return by how much the mean edit of several pairs is multiplied, for codes of other pictures.

    Args:
        share: What the pairs have in common, as common_share returns it.

    Returns:
        FOREIGN_MARGIN * |e| / |common|, from 1 to MAX_GAIN; FOREIGN_GAIN for the share of one pair.
    """
    return min(max(FOREIGN_MARGIN / math.sqrt(max(share, 1e-12)), 1.0), MAX_GAIN)


def source_similarity(x: Tensor, source: ChannelSVD) -> Tensor:
    """Return how much a code looks like the one that an attribute was learned from.

    Args:
        x: Codes, [B, C, H, W] in LATENT space, of any scale, H and W.
        source: Leading atoms of the attribute's own code at unit variance, u [C, H, r].

    Returns:
        The squared share of the atoms that x contains, [B, 1, 1, 1]: 1 for the attribute's own code, about 0 for
        another one, never outside of 0 to 1.
    """
    own = compose(resize_atoms(source, *x.shape[-2:])).to(x.device)
    code, _ = standardise(x.float())
    share = (code * own).flatten(1).sum(1) / own.square().sum().clamp(min=1e-12)
    return share.clamp(0, 1).square()[:, None, None, None]


def foreign_note(x: Tensor, source: ChannelSVD | None, name: str) -> str | None:
    """Return what to say where an attribute of one pair is applied to another picture than the pair's own.

    Args:
        x: Codes, as source_similarity takes them.
        source: As transfer_gain takes it.
        name: The attribute's.

    Returns:
        One sentence; None where every code is the attribute's own, or where the attribute is of several pairs.
    """
    if source is None or bool((source_similarity(x, source) >= OWN_SIMILARITY).all()):
        return None
    return f"'{name}' was learned from one pair of another picture: {FOREIGN_EFFECT}."


def transfer_gain(x: Tensor, source: ChannelSVD | None) -> Tensor | float:
    """Return by how much an attribute's edit is multiplied when it is applied to a code at strength 1.

    Args:
        x: Codes, as source_similarity takes them.
        source: Leading atoms of the attribute's own code; None for an attribute of several pairs, whose edit already
            has its gain.

    Returns:
        The gain of each code, [B, 1, 1, 1]: from 1 on the attribute's own code to FOREIGN_GAIN on another one; the
        number 1 without a source.
    """
    if source is None:
        return 1.0
    return FOREIGN_GAIN - (FOREIGN_GAIN - 1) * source_similarity(x, source)
