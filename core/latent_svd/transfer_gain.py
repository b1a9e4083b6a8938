"""What an edit lacks on a picture that is not its own, and when it is its own.

Of a pair's edit e only a part is the attribute; the rest is the pair's own affair: this hat's colour, this face's mouth.
On the pair's own code all of e fits; on a stranger's only the part that pairs have in common does. So that strength 1
is an edit of full size on either, a stranger's code gets |e| / |common part| times as much. B pairs tell

    |common|^2 = <e_i, e_j>, the mean over i != j,  =  (B |mean e|^2 - mean |e|^2) / (B - 1)

and a single one nothing: ALONE is what brings hats, glasses, beards and smiles of the embedded model to most faces, and counts
as much as one of the B - 1 others. A stranger's picture also stands a little against what was not made for it: STRANGER. An
attribute of a single pair keeps the leading atoms of its source, by which it knows its own code again.
"""

from __future__ import annotations

from torch import Tensor

from .svd import ChannelSVD, compose, resize_atoms, standardise

FOREIGN_MARGIN = 1.4
FOREIGN_GAIN = 3.2
MAX_GAIN = 4.2  # pairs that share less than a ninth of their energy have too little in common to make more of it


def mean_edit_gain(edits: Tensor) -> float:
    """STRANGER |e| / |common part| of edits [B, C, H, W], from 1 to MOST; ALONE for one of them."""
    size, mean = edits.flatten(1).square().sum(1).mean(), edits.mean(dim=0).square().sum()
    alone = (FOREIGN_MARGIN / FOREIGN_GAIN) ** 2  # the share of its energy that one pair has in common with others
    common = mean - (1 - alone) * size / len(edits)  # ((B - 1) <e_i, e_j> + alone * size) / B
    return float((FOREIGN_MARGIN * (size / common.clamp(min=1e-12)).sqrt()).clamp(1, MAX_GAIN))


def source_similarity(x: Tensor, source: ChannelSVD) -> Tensor:
    """1 for the code whose leading atoms (of unit variance, u [C, H, r]) these are, about 0 for a stranger's. x: [B, C, H, W]
    in LATENT space, of any H and W; returns [B, 1, 1, 1]: the squared share of the atoms that x contains, within 0 to 1.
    """
    own = compose(resize_atoms(source, *x.shape[-2:])).to(x.device)
    share = (standardise(x.float())[0] * own).flatten(1).sum(1) / own.square().sum().clamp(min=1e-12)
    return share.clamp(0, 1).square()[:, None, None, None]


def transfer_gain(x: Tensor, source: ChannelSVD | None) -> Tensor | float:
    """How much of an edit x takes at strength 1, [B, 1, 1, 1]: from 1 on its own code to ALONE on a stranger's; 1 without a source."""
    return 1.0 if source is None else FOREIGN_GAIN - (FOREIGN_GAIN - 1) * source_similarity(x, source)
