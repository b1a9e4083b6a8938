"""A random direction of the norm of another: the baseline that every direction has to beat."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import EditError
from .direction import DeltaDirection, HDirection


@dataclass(frozen=True, eq=False)
class RandomDirection(DeltaDirection, saved=False):
    """A fixed random direction that has, at every h and sigma, the norm of another: the baseline to beat.

    Make one with ``RandomDirection.like``.

    Attributes:
        base: The direction whose norm it has.
        seed: Seed of its one random map.
    """

    _: KW_ONLY
    base: DeltaDirection
    seed: int

    kind = "h_direction_random"
    linear = ("factor",)

    @classmethod
    def like(cls, base: HDirection, seed: int) -> RandomDirection:
        """Make a random direction of the norm of ``base``.

        Args:
            base: The direction whose norm it has.
            seed: Seed of its one random map.

        Returns:
            The random direction, of the sigmas and the info of ``base``.

        Raises:
            EditError: ``base`` has no dh.
        """
        if not isinstance(base, DeltaDirection):
            raise EditError(
                f"direction '{base.name}' is a readout or a sum, which has no dh of its own; "
                "a direction of method combined, implicit or global is accepted."
            )
        return cls(base.sigmas, {"factor": torch.ones(())}, dict(base.info), base=base, seed=seed)

    @property
    def channels(self) -> int:
        """The width of the bottleneck it was learned on."""
        return self.base.channels

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        dh = self.base.delta(h, sigma).expand(h.shape)
        z = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(self.seed)).to(h.device)
        norms: Tensor = dh.flatten(1).norm(dim=1)[:, None, None, None]
        scale: Tensor = norms / z.norm()
        return self.tensors["factor"] * (z * scale)

    def save(self, path: str | Path) -> None:
        """Raise EditError: it is not saved."""
        raise EditError("A random direction is a baseline for measurements; it is not saved.")
