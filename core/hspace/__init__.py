"""h-space: directions, readouts, and the sampler that edits with them (arXiv 2210.10960)."""

# A class enters itself in direction.KINDS when its module is imported. These imports make every kind of file known.
from . import combine, direction, networks, readout

__all__ = ["combine", "direction", "networks", "readout"]
