"""report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Quality(NamedTuple):
    """``tolerance``: of a step's residual, relative to the latent it returns; ``max_iterations``: model evaluations a step at most."""

    tolerance: float
    max_iterations: int

    @property
    def rounds(self) -> int:
        """Rounds at most over the whole trajectory of a multistep sampler, one evaluation a step each."""
        return 2 * self.max_iterations


QUALITIES = {"fast": Quality(4e-3, 8), "good": Quality(1e-4, 20), "exact": Quality(1e-5, 40)}


@dataclass
class InversionReport:
    """What an inversion cost and how well each step was solved.

    residuals: how far each step's answer is expected to miss x_lo, relative to |x_lo|, worst sample. capped: the steps that were not solved to
    tolerance, and for how many of the samples.
    """

    method: str
    sigmas: list[float]
    sampler: str = "euler"
    calls: int = 0
    residuals: list[float] = field(default_factory=list)
    capped: dict[int, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    first_step: int = 0
    samples: int = 1

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def worst(self) -> float:
        return max(self.residuals, default=0.0)

    def text(self) -> str:
        lines = [
            f"{self.method} for {self.sampler}: {self.steps} steps from sigma {self.sigmas[-1]:.4g} up to {self.sigmas[0]:.4g}, "
            f"{self.calls} model calls ({self.calls / max(self.steps, 1):.2f} a step)"
        ]
        if self.method == "ddim":
            lines.append("ddim solves nothing: the way back drifts. Use fixed_point for an exact round trip.")
        elif self.residuals:
            lines.append(f"worst relative residual {self.worst:.1e}")
        if self.capped:
            named = ", ".join(
                f"step {self.first_step + i} (sigma {self.sigmas[i]:.4g}, {count} of {self.samples})"
                for i, count in sorted(self.capped.items())
            )
            lines.append(
                f"not solved to tolerance: {named}. The way back is off by about the residual above: lower the guidance, use more steps, "
                "or describe the picture with the prompt it is closest to."
            )
            if self.steps - 1 in self.capped and self.sigmas[-1] == 0:
                lines.append(
                    f"the last step asks D(x) = picture at sigma {self.sigmas[-2]:.4g}, which need not have a solution: a schedule that ends lower "
                    "(normal, karras, exponential) comes closer."
                )
        return "\n".join(lines + self.notes)
