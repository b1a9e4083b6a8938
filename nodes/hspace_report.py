"""What h-Space Direction Learn shows of what it learned: a plot and a report."""

from __future__ import annotations

from torch import Tensor

from ..core.hspace.calibration import unit_of
from ..core.recipes.hspace import Learned
from ..core.recipes.learning_cost import LearningPlan
from ..core.recipes.settings import CLIP, READOUT, LearnSettings
from ..core.recipes.verdict import ENOUGH, verdict_of
from . import plots

LOSS_MEANING = {
    CLIP: "CLIP and identity together; strength is as learned",
    READOUT: "1 = nothing read, 0 = all that the target prompt would change",
}
OTHER_LOSS_MEANING = "1 = no edit, 0 = every step as under the target prompt"


def plot_learned(learned: Learned, name: str) -> Tensor:
    """Plot the learning curve; without training, the size of the direction at each step."""
    if learned.losses:
        return plots.losses(learned.losses, name)
    norms = learned.direction.tensors["table"].flatten(1).norm(dim=1)
    labels = [f"{sigma:.2f}" for sigma in learned.direction.sigmas.tolist()]
    return plots.bars(norms, labels, f"{name}: size of the direction at each sigma", "norm")


def report_learned(learned: Learned, plan: LearningPlan, remedy: str) -> str:
    """Return in a few lines what was learned, how well, what its unit of strength is, and what it took.

    Args:
        learned: What was learned.
        plan: How.
        remedy: What may help where it comes less than half of the way.
    """
    direction = learned.direction
    settings = plan.settings
    lines = [
        verdict_of(learned.progress),
        f"{direction.name}: {settings.method}, {settings.samples} noises, {len(direction.sigmas)} steps "
        f"from sigma {direction.sigmas[0]:.4g}, cfg {settings.cfg:g}",
        _loss_line(learned.losses, settings),
        plan.cost.text(),
    ]
    if learned.start is not None:
        lines.append(learned.start.text())
    if learned.scale is not None and learned.progress is not None:
        scale = 1 / unit_of(direction).times
        lines.append(
            f"scaled by {learned.scale:.2f}: scale {scale:.2g} makes {learned.progress:.0%} of the way from the "
            f"source prompt's picture to the target prompt's (mean of {settings.measured} noises)"
        )
        if direction.response is not None:
            lines.append(direction.response.text())
        if learned.progress < ENOUGH:
            lines.append(f"It comes less than half of the way: the bottleneck alone cannot make this change. {remedy}")
    return "\n".join(lines)


def _loss_line(losses: list[float], settings: LearnSettings) -> str:
    """Return the mean loss of the last tenth of training, and what it means."""
    if not losses:
        return "difference of the two prompts' bottlenecks; nothing was trained"
    last = losses[-max(1, len(losses) // 10) :]
    meaning = LOSS_MEANING.get(settings.method, OTHER_LOSS_MEANING)
    return (
        f"loss {sum(last) / len(last):.3f} after {len(losses)} of {settings.training.steps} training steps ({meaning})"
    )
