"""What an attribute of several pairs covers: what lies below it is replaced, not only added to.

A hat lies over hair. Added to a code, the mean edit of pairs makes dark hair a dark hat and light hair half a hat. So
the coarse part of a code is also brought towards what the pairs' own sources had there, as far as the pairs show that
nothing of it is left:

    y = x + strength * edit + |strength| * share * M(m - x)       M: mean over a window (core/saliency.py)

m is the mean source code; where an attribute is taken away, it is the mean code with the edit. The share is measured
place by place. What of a source code is left in its target is the slope of a straight line over the pairs,

    left  = sum of <M(x_i - m), M(z_i - n)> / sum of |M(x_i - m)|^2      n: mean target code
    share = w * COVERING * (1 - left), at most 1                         w: weight of the edit, at most 1

with both sums over pairs, channels and the window around a place.

Light hair has another norm than a hat. So each channel is brought to the norm that it has with the covered part at the
mean size that targets have there (sources, where the attribute is taken away):

    norm^2 = sum over places of (1 - s) x^2 + s * energy        s = |strength| * share

Ours, not the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from ..saliency import local_mean
from .svd import ChannelSVD, channel_svd, compose, resize_atoms, trim

# Fewer pairs do not tell what is left from what happens to be alike.
MIN_PAIRS = 8
# A target's code at T_x still holds some of what its finished picture covers, because the prompts branched only a few
# steps before. Chosen by: python benchmarks/latent_svd.py ablation --first 60000 --variants default covering
COVERING = 3.0


class Cover(NamedTuple):
    """What an attribute covers.

    Attributes:
        share: How much of what lies at a place is replaced, [H, W] from 0 to 1.
        source: Atoms of the mean source code at unit variance, u [C, H, q], s [C, q], v [C, W, q].
        source_energy: Mean square of source codes at a covered place, [C].
        target_energy: Mean square of target codes there, [C].
    """

    share: Tensor
    source: ChannelSVD
    source_energy: Tensor
    target_energy: Tensor

    def resized(self, height: int, width: int) -> Cover:
        """Return the cover for codes of another size; itself where it has that size."""
        if self.share.shape == (height, width):
            return self
        share = F.interpolate(self.share[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
        return self._replace(share=share, source=resize_atoms(self.source, height, width))


def measure_cover(x: Tensor, z: Tensor, weight: Tensor, covering: float = COVERING) -> Cover | None:
    """Measure what the attribute of several pairs covers.

    Args:
        x: Codes of the source prompt at unit variance, [B, C, H, W].
        z: Codes of the target prompt, like x.
        weight: Where the edit lies, [1, H, W].
        covering: What the missing share is multiplied by; 0 covers nothing.

    Returns:
        The cover, in float32; None of fewer than MIN_PAIRS pairs, and where nothing is covered.
    """
    if len(x) < MIN_PAIRS or not covering:
        return None
    mean = x.mean(0)
    source = local_mean(x - mean)
    target = local_mean(z - z.mean(0))
    both, alone = (local_mean((source * other).mean((0, 1))[None]) for other in (target, source))
    missing = 1 - both / alone.clamp(min=1e-12)
    share = (covering * missing * weight.clamp(max=1)).clamp(0, 1)[0]
    size = share.sum().clamp(min=1e-12)
    energies = ((share * code.square()).sum((-2, -1)).mean(0) / size for code in (x, z))
    return Cover(share.float(), trim(channel_svd(mean)), *(energy.float() for energy in energies))


def replacement(cover: Cover, x: Tensor, edit: Tensor, strength: float) -> Tensor:
    """Return what replacing adds to a code, the third term of the formula above.

    Args:
        cover: What is covered, at the size of x.
        x: Codes at unit variance, [B, C, H, W].
        edit: The edit at strength 1, [C, H, W].
        strength: Of the edit; beyond 1 no more is replaced.

    Returns:
        The change, like x.
    """
    beneath = compose(cover.source).to(x.device)
    if strength < 0:
        beneath = beneath + edit
    return _replaced(cover, x, strength) * local_mean(beneath - x)


def covered_norm(cover: Cover, x: Tensor, strength: float) -> Tensor:
    """Return the norm of each channel with the covered part at its mean size, the second formula above.

    Args:
        cover: As replacement takes it.
        x: Codes at unit variance, [B, C, H, W].
        strength: As replacement takes it.

    Returns:
        The norms, [B, C, 1, 1].
    """
    share = _replaced(cover, x, strength)
    energy = (cover.target_energy if strength > 0 else cover.source_energy).to(x.device)
    left = ((1 - share) * x.square()).sum((-2, -1), keepdim=True)
    return (left + energy[:, None, None] * share.sum()).sqrt()


def _replaced(cover: Cover, x: Tensor, strength: float) -> Tensor:
    """Return how much of a place is replaced at a strength, [H, W]; beyond 1 no more."""
    return min(abs(strength), 1.0) * cover.share.to(x.device)
