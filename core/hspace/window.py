"""The editing window of Asyrp: which sampling steps are edited and which are boosted (arXiv 2210.10960, section 4).

The paper edits from t = T down to t_edit and adds noise from t_boost down to 0. Here both ends are sigmas. The upper
end ``edit_from`` and the part of a step in ``edited_fraction`` are ours, not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from torch import Tensor

from ..samplers import SIGMA_TOLERANCE


@dataclass(frozen=True)
class EditWindow:
    """Where a sampler edits and boosts, in absolute sigmas as ControlNet's percents are. The two may overlap.

    Attributes:
        edit_until: Steps with sigma above this are edited: sigma at t_edit of the paper. 0 edits down to the end.
        boost_from: Steps with sigma at or below this are boosted: sigma at t_boost of the paper. 0 is off.
        edit_from: Steps with sigma above this are not edited: where the direction was learned to begin, above which
            there is nothing to apply.
    """

    edit_until: float = 0.0
    boost_from: float = 0.0
    edit_from: float = float("inf")

    def beginning_at(self, start: float) -> Self:
        """Return the same window for a direction that was learned from a sigma on."""
        return replace(self, edit_from=min(self.edit_from, start))

    def edits(self, sigma: Tensor | float) -> bool:
        """Return whether a step that starts at this sigma is edited as a whole: edit_until < sigma <= edit_from."""
        return self.edit_until < float(sigma) <= self.edit_from * (1 + SIGMA_TOLERANCE)

    def edited_fraction(self, sigma: Tensor | float, sigma_next: Tensor | float) -> float:
        """Return how much of a step a readout edits.

        A step that starts above edit_from and ends below it is edited in part: by what an Euler step makes from
        edit_from on. Without that, a schedule of few steps would begin late and reach less of what is decided early.

        Args:
            sigma: Noise level before the step.
            sigma_next: Noise level after it.

        Returns:
            1 for a step that is edited as a whole, 0 for one outside of the window, and
            (1 - sigma'/edit_from) / (1 - sigma'/sigma) for the step in which edit_from lies.
        """
        sigma = float(sigma)
        sigma_next = float(sigma_next)
        if sigma <= self.edit_until or sigma_next >= self.edit_from * (1 - SIGMA_TOLERANCE):
            return 0.0
        if self.edits(sigma):
            return 1.0
        return (1 - sigma_next / self.edit_from) / (1 - sigma_next / sigma)

    def boosts(self, sigma: Tensor | float) -> bool:
        """Return whether a step that starts at this sigma is boosted: sigma <= boost_from."""
        return bool(sigma <= self.boost_from)
