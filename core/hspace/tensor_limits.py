"""What the tensors of h-space files mean: the widths that their networks need, and what their values can be."""

from __future__ import annotations

from .. import response
from ..limits import Limits

# Groups of the GroupNorm.
GROUPS = 32
# Numbers that the time embedding has: a sine and a cosine of each of half as many frequencies.
TIME_WIDTH = 64
# Side of a readout's convolutions.
KERNEL = 3
# Log sigmas are taken of no less than this, because a schedule may end at 0.
MIN_SIGMA = 1e-6
# A sum's weights: those of the nodes are 10 at most, and sums of sums multiply them.
MAX_WEIGHT = 1e4
# Latents in model space are of unit size, or a few times that; nothing that a VAE decodes comes near this.
MAX_LATENT = 1e3

# One table for all kinds, because a name means the same in each.
LIMITS = {
    "sigmas": Limits(low=MIN_SIGMA, descending="in logs"),
    "scale": Limits(low=MIN_SIGMA, length=1),
    "time.weight": Limits(length=TIME_WIDTH),
    "norm.weight": Limits(multiple=GROUPS),
    "conv1.weight": Limits(length=KERNEL),
    "conv2.weight": Limits(length=KERNEL),
    "peak": Limits(low=0.0),
    "range": Limits(low=-MAX_LATENT, high=MAX_LATENT, ascending=True, length=2),
    "weights": Limits(low=-MAX_WEIGHT, high=MAX_WEIGHT),
    **response.LIMITS,
}
