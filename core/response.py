"""How finished pictures answer an attribute's scale, and what its strength means by that.

An attribute as it was learned has a *scale*: what its edit is multiplied by. Pictures answer a scale unevenly: little
happens at first, then the attribute appears at once, and beyond that nothing more comes. So some scales are tried when
an attribute is learned, and the progress that they make on finished pictures is kept in its file:

    progress = <edited - source, target - source> / |target - source|^2

The last of these scales is the *full* one, at which the attribute is there. A *strength* s is a share of the way:
0 is the picture without the edit, 1 is the full scale, and half the way is the scale at which half of the full progress
was made. Beyond 1 the scale goes on in proportion. An attribute without a response, such as one of an older file, takes
its strength as the scale.

How much the full scale changes a picture is kept too, so that pictures which it changes much less can be told
(core/recipes/retries.py).

Ours, not the papers'. It holds in the mean over pictures; core/recipes/slide.py says what a single one does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .limits import Limits

# Tensors of a file and their axes; a file has the first two or neither, and older ones lack the third.
SCALES = "response.scale"
PROGRESS = "response.progress"
CHANGE = "response.change"
LAYOUT = {SCALES: "R", PROGRESS: "R"}
CHANGE_LAYOUT = {CHANGE: "1"}
# Groups of optional tensors, as files.read takes them, and the names in them.
GROUPS = (LAYOUT, CHANGE_LAYOUT)
NAMES = (*LAYOUT, *CHANGE_LAYOUT)
LIMITS = {
    SCALES: Limits(low=1e-4, high=1e3, ascending=True),
    PROGRESS: Limits(low=1e-6, high=1e3, ascending=True),
    CHANGE: Limits(low=1e-6, high=1e3, length=1),
}


class Response(NamedTuple):
    """Scales above 0 and the progress that they make, ascending both; scale 0 makes progress 0.

    Attributes:
        scales: [n], the last of them the full scale.
        progress: [n], of finished pictures, in the mean.
        change: Root mean square of what the full scale changes in a finished picture, in the mean over pictures, in
            model space; None where it was not measured.
    """

    scales: tuple[float, ...]
    progress: tuple[float, ...]
    change: float | None = None

    @classmethod
    def measured(cls, tried: list[tuple[float, float]], full: float, change: float | None = None) -> Response | None:
        """Make a response of scales that were tried.

        Args:
            tried: (scale, progress) of each, ``full`` among them.
            full: The full scale.
            change: What the full scale changes, as the attribute says; one outside of LIMITS is left out.

        Returns:
            The response: what lies below the full scale and makes less progress than it, in order. None where the full
            scale makes no progress.
        """
        most = dict(tried)[full]
        if not math.isfinite(most) or most < LIMITS[PROGRESS].low:
            return None
        scales: list[float] = []
        progress: list[float] = []
        for scale, made in sorted(tried):
            least = progress[-1] if progress else LIMITS[PROGRESS].low
            if LIMITS[SCALES].low < scale < full and least < made < most:
                scales.append(scale)
                progress.append(made)
        known = change is not None and LIMITS[CHANGE].low <= change <= LIMITS[CHANGE].high
        return cls((*scales, full), (*progress, most), change if known else None)

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Response | None:
        """Return the response among the tensors of a file, which were checked against LIMITS; None without one."""
        if SCALES not in tensors:
            return None
        change = float(tensors[CHANGE]) if CHANGE in tensors else None
        return cls(tuple(tensors[SCALES].tolist()), tuple(tensors[PROGRESS].tolist()), change)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a file."""
        tensors = {SCALES: torch.tensor(self.scales), PROGRESS: torch.tensor(self.progress)}
        return tensors if self.change is None else {**tensors, CHANGE: torch.tensor([self.change])}

    @property
    def full(self) -> float:
        """The scale at which the attribute is there."""
        return self.scales[-1]

    def scale_at(self, strength: float) -> float:
        """Return the scale of a strength.

        Args:
            strength: The share of the way; below 0 it takes away.

        Returns:
            The scale: the inverse of the response up to strength 1, and beyond in proportion; of a negative strength
            minus that of the positive one.
        """
        share = abs(strength)
        scale = self.full * share
        if share < 1:
            wanted = share * self.progress[-1]
            points = list(zip((0.0, *self.scales), (0.0, *self.progress), strict=True))
            above = next(i for i, (_, made) in enumerate(points) if made > wanted)
            (low, made_low), (high, made_high) = points[above - 1], points[above]
            scale = low + (high - low) * (wanted - made_low) / (made_high - made_low)
        return math.copysign(scale, strength)

    def text(self) -> str:
        """Return two sentences for people: what was measured, and what strengths are good for."""
        tried = ", ".join(f"{made:.0%} at {scale:.2g}" for scale, made in zip(self.scales, self.progress, strict=True))
        return (
            f"Finished pictures come {tried} times the edit; strength 1 is the last of these. "
            "Beyond it the attribute only grows coarser, and below 0 a picture that lacks it is damaged."
        )


def root_mean_squares(change: Tensor) -> Tensor:
    """Return the root mean square of each picture's change, [B]."""
    return change.flatten(1).square().mean(dim=1).sqrt()


def scale_of(response: Response | None, strength: float) -> float:
    """Return what an edit is multiplied by at a strength: the strength itself, where there is no response."""
    return strength if response is None else response.scale_at(strength)


# Of an attribute whose edit was made to be whole at scale 1 and that was not measured.
WHOLE = Response((1.0,), (1.0,))
