"""h-space, the U-Net's bottleneck: directions, readouts, and the sampler that edits with them (arXiv 2210.10960)."""

# Every kind of file is known from here on: a class enters itself when its module is imported.
from . import combine, direction, networks, readout

__all__ = ["combine", "direction", "networks", "readout"]
