"""How exactly an inversion is to solve its steps, and the report of what it cost and what it could not solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .precision import is_half

# What a latent's PSNR is relative to: its range from two standard deviations below the mean to two above.
PEAK_DEVIATIONS = 4.0
MAX_DECIBELS = 200.0  # stands for bit by bit

# (step, state before it), called as soon as the step is inverted
OnInvertedStep = Callable[[int, Tensor], None]


class Quality(NamedTuple):
    """How exactly an inversion solves its steps.

    Attributes:
        tolerance: Largest residual of a step, relative to the latent the step returns.
        max_iterations: Model evaluations a step at most.
    """

    tolerance: float
    max_iterations: int

    @property
    def rounds(self) -> int:
        """Rounds at most over the whole trajectory of a multistep sampler, with one evaluation a step each."""
        return 2 * self.max_iterations


# Chosen on the embedded model; their calls and round trips: python benchmarks/inversion.py
QUALITIES = {
    "fast": Quality(tolerance=4e-3, max_iterations=8),
    "good": Quality(tolerance=1e-4, max_iterations=20),
    "exact": Quality(tolerance=1e-5, max_iterations=40),
}


# A latent that comes back at this many dB or more cannot be told from the picture; below the other, everybody sees it.
WELL_DECIBELS = 40
NEARLY_DECIBELS = 25


def round_trip_psnr(picture: Tensor, rebuilt: Tensor) -> Tensor:
    """Measure how exactly pictures came back.

    Args:
        picture: What was inverted, [B, C, ..., H, W] in any space.
        rebuilt: What the sampler gave back, like picture.

    Returns:
        The PSNR of each latent in dB, relative to 4 standard deviations of the picture's latent, [B] in float64. It is
        at most MAX_DECIBELS.
    """
    picture = picture.cpu().double().flatten(1)
    peak = PEAK_DEVIATIONS * picture.std(dim=1)
    error = (rebuilt.cpu().double().flatten(1) - picture).square().mean(dim=1).sqrt()
    # An empty picture has no range, and one that comes back bit by bit no error.
    smallest = 10 ** (-MAX_DECIBELS / 20)
    decibels: Tensor = 20 * ((peak + smallest) / (error + smallest)).log10()
    return decibels.clamp(max=MAX_DECIBELS)


@dataclass
class InversionReport:
    """What an inversion cost and how well each step was solved.

    Attributes:
        method: "fixed_point", "traced" or "ddim".
        sigmas: Noise levels of the inverted steps, descending, one more than there are steps.
        sampler: The sampler that was inverted.
        calls: Model calls of the inversion.
        residuals: For each step, how far its answer misses x_lo, relative to |x_lo|, of the worst sample. One value for
            the whole trajectory of a multistep sampler; none for ddim, which solves nothing.
        measured: Whether the residuals were measured at the answers, or are what was expected of them.
        precision: What the model computes in; None where that is not known.
        reach: The residual to which that precision lets steps be solved at worst; 0 where it is not known.
        capped: The steps that were not solved to tolerance, and for how many of the samples.
        notes: Further lines of the report.
        first_step: The sampler's own number of the first inverted step.
        samples: Pictures in the batch.
        round_trip: How exactly the pictures came back, in dB, where that was measured, [B].
    """

    method: str
    sigmas: list[float]
    sampler: str = "euler"
    calls: int = 0
    residuals: list[float] = field(default_factory=list)
    measured: bool = False
    precision: torch.dtype | None = None
    reach: float = 0.0
    capped: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    first_step: int = 0
    samples: int = 1
    round_trip: Tensor | None = None

    @property
    def steps(self) -> int:
        """How many steps were inverted."""
        return len(self.sigmas) - 1

    @property
    def worst(self) -> float:
        """The largest residual; 0 where nothing was solved."""
        return max(self.residuals, default=0.0)

    def verdict(self) -> str:
        """Return in one sentence whether the pictures come back, judged by the worst of them."""
        calls = f"{self.calls} model calls"
        if self.round_trip is None:
            return f"Not measured: {calls}."
        lowest = float(self.round_trip.min())
        if lowest >= MAX_DECIBELS:
            return f"Comes back bit for bit: {calls}."
        word = "Does not come back"  # of NaN too
        if lowest >= NEARLY_DECIBELS:
            word = "Comes back well" if lowest >= WELL_DECIBELS else "Comes back with small changes"
        return f"{word}: {lowest:.0f} dB, {calls}."

    def text(self) -> str:
        """Return the report in a few lines of plain text: the verdict, then the numbers."""
        lines = [self.verdict(), self._cost()]
        if self.round_trip is not None:
            lines.append(self._measured(self.round_trip))
        if self.method == "ddim":
            lines.append("ddim solves nothing: the way back drifts. Use traced or fixed_point for an exact round trip.")
        elif self.method == "traced":
            lines.append("exact for samplers that are given the trace; for the stock samplers use fixed_point.")
        elif self.residuals:
            lines.append(self._residual())
            if is_half(self.precision):
                lines.append(self._reachable())
        if self.capped:
            lines += self._unsolved()
        return "\n".join([*lines, *self.notes])

    def _cost(self) -> str:
        calls_per_step = self.calls / max(self.steps, 1)
        return (
            f"{self.method} for {self.sampler}: {self.steps} steps from sigma {self.sigmas[-1]:.4g} "
            f"up to {self.sigmas[0]:.4g}, {self.calls} model calls ({calls_per_step:.2f} a step)"
        )

    def _measured(self, round_trip: Tensor) -> str:
        if (round_trip >= MAX_DECIBELS).all():
            return "comes back bit for bit, measured by sampling the way back once"
        text = f"comes back at {float(round_trip.mean()):.1f} dB"
        if len(round_trip) > 1:
            text += f" (lowest of {len(round_trip)}: {float(round_trip.min()):.1f} dB)"
        return f"{text}, measured by sampling the way back once"

    def _residual(self) -> str:
        return f"worst relative residual {self.worst:.1e}, {'measured' if self.measured else 'an estimate'}"

    def _reachable(self) -> str:
        """Say to which residual the model's precision lets steps be solved."""
        name = str(self.precision).removeprefix("torch.")
        return (
            f"the model computes in {name}, whose rounding can leave a residual of about {self.reach:.1e} at this "
            "guidance, whatever the quality; a model in float32 comes closer."
        )

    def _unsolved(self) -> list[str]:
        """Name the steps that were not solved to tolerance, and what helps."""
        steps = []
        for i, count in sorted(self.capped.items()):
            steps.append(f"step {self.first_step + i} (sigma {self.sigmas[i]:.4g}, {count} of {self.samples})")
        lines = [
            f"not solved to tolerance: {', '.join(steps)}. The way back is off by about the residual above: "
            "lower the guidance, use more steps, or describe the picture with the prompt it is closest to."
        ]
        if self.steps - 1 in self.capped and self.sigmas[-1] == 0:
            lines.append(
                f"the last step asks D(x) = picture at sigma {self.sigmas[-2]:.4g}, which need not have a solution: "
                "a schedule that ends lower (normal, karras, exponential) comes closer."
            )
        return lines
