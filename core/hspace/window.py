"""window."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EditWindow:
    """Absolute, like ControlNet's percents: edit < sigma <= start is edited, sigma <= boost is boosted.

    ``edit`` = sigma at t_edit, ``boost`` = sigma at t_boost (0: off) of the paper; they may overlap. ``start`` is where
    the direction was learned to begin: above it there is nothing to apply.
    """

    edit_until: float = 0.0
    boost_from: float = 0.0
    edit_from: float = float("inf")

    def edits(self, sigma: Tensor | float) -> bool:
        return self.edit_until < float(sigma) <= self.edit_from * (1 + 1e-4)

    def share(self, sigma: Tensor | float, sigma_next: Tensor | float) -> float:
        """How much of a step a readout edits: all of one that is edited, and of the step in which ``start`` lies what an Euler step makes from there on.

        Few steps would otherwise begin late, and reach less of what is decided early.
        """
        sigma, sigma_next = float(sigma), float(sigma_next)
        if sigma <= self.edit_until or sigma_next >= self.edit_from * (1 - 1e-4):  # as in edits
            return 0.0
        return 1.0 if self.edits(sigma) else (1 - sigma_next / self.edit_from) / (1 - sigma_next / sigma)

    def boosts(self, sigma: Tensor) -> bool:
        return bool(sigma <= self.boost_from)
