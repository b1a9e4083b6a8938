"""When to edit and when to boost, from the picture itself (arXiv 2210.10960, sections 4.1 and 4.2).

    editing strength     xi_t    = dist(x, P_T) - dist(x, P_t)    what an edit from T down to t can still reach
    quality deficiency   gamma_t = dist(x, x_t)                   how far the noisy state is from a picture

Editing ends (t_edit) as soon as dist(x, P_t) is no more than a threshold, 0.33 for LPIPS in the paper. Boosting begins
(t_boost) as soon as gamma_t is no more than another, 1.2 there. Any distance between pictures will do, each with
thresholds of its own. Ours, not the paper's: t_edit and t_boost lie between steps, by linear interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import check_sigmas
from ..inversion.fixed_point import fixed_point_inversion
from ..inversion.report import QUALITIES
from ..samplers import OnStep, PercentToSigma, Schedule, sample_euler

# Two batches of pictures, each [B, 3, H, W] in [0, 1] -> [B]
Distance = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class EditCurves:
    """Distances to the picture along a schedule, means over the batch, one value a step.

    Attributes:
        percents: Sampling progress at each step, 0 to 1.
        predicted: dist(x, P_t).
        noisy: dist(x, x_t), the quality deficiency gamma_t.
    """

    percents: list[float]
    predicted: list[float]
    noisy: list[float]

    @property
    def strengths(self) -> list[float]:
        """The editing strength xi_t at each step."""
        return [self.predicted[0] - value for value in self.predicted]

    def edit_percent(self, threshold: float) -> float:
        """Return the progress at t_edit.

        Args:
            threshold: The distance dist(x, P_t) at which editing ends.

        Returns:
            Progress, 0 to 1; 1 where no prediction comes so near.
        """
        return first_at_most(self.percents, self.predicted, threshold)

    def boost_percent(self, threshold: float) -> float:
        """Return the progress at t_boost.

        Args:
            threshold: The distance dist(x, x_t) at which boosting begins.

        Returns:
            Progress, 0 to 1; 1, which is off, where no state comes so near.
        """
        return first_at_most(self.percents, self.noisy, threshold)


@torch.no_grad()
def record_rebuild(
    denoise: Denoiser, x0: Tensor, sigmas: Tensor, *, on_step: OnStep | None = None
) -> tuple[Tensor, Tensor]:
    """Invert a picture, rebuild it by Euler steps, and record what the sampler sees on the way.

    Args:
        denoise: The model.
        x0: The picture, [B, C, H, W] in model space.
        sigmas: Descending noise levels, [S + 1].
        on_step: Called once for each step of the inversion and of the way back.

    Returns:
        The states x_t and the predictions P_t, each [S, B, C, H, W] in model space and on the CPU.

    Raises:
        EditError: The sigmas or x0 are not accepted.
    """
    check_sigmas(sigmas)
    states = []
    predictions = []

    def tick(i: int, x: Tensor) -> None:
        if on_step is not None:
            on_step()

    def keep(i: int, x: Tensor, denoised: Tensor) -> None:
        states.append(x.cpu())
        predictions.append(denoised.cpu())
        tick(i, x)

    code, _ = fixed_point_inversion(denoise, x0, sigmas, QUALITIES["fast"], callback=tick)
    sample_euler(denoise, code, sigmas, keep)
    return torch.stack(states), torch.stack(predictions)


def edit_curves(  # noqa: PLR0913
    states: Tensor,
    predictions: Tensor,
    x0: Tensor,
    sigmas: Tensor,
    *,
    percent_to_sigma: PercentToSigma,
    decode: Callable[[Tensor], Tensor],
    distance: Distance,
    flow: bool = False,
    on_step: OnStep | None = None,
) -> EditCurves:
    """Measure the distances to a picture along what record_rebuild recorded.

    States are decoded in variance-preserving form, as the paper's x_t.

    Args:
        states: x_t, [S, B, C, H, W] in model space.
        predictions: P_t, like the states.
        x0: The picture, [B, C, H, W] in model space.
        sigmas: Descending noise levels, [S + 1].
        percent_to_sigma: Sigma at a sampling progress.
        decode: From model space to pictures, [B, 3, H, W] in [0, 1].
        distance: The distance of two batches of pictures.
        flow: Whether the model is a flow model.
        on_step: Called after each step.

    Returns:
        The curves, one value a step.
    """
    picture = decode(x0)
    levels = sigmas[:-1].tolist()
    predicted = []
    noisy = []
    for x, prediction, sigma in zip(states, predictions, levels, strict=True):
        predicted.append(float(distance(decode(prediction), picture).mean()))
        state = x if flow else x / math.sqrt(1 + sigma**2)
        noisy.append(float(distance(decode(state), picture).mean()))
        if on_step is not None:
            on_step()
    schedule = Schedule(sigmas, percent_to_sigma)
    percents = [schedule.percent_at(sigma) for sigma in levels]
    return EditCurves(percents, predicted, noisy)


def first_at_most(percents: list[float], values: list[float], threshold: float) -> float:
    """Find where a curve first falls to a threshold, linearly between its points.

    Args:
        percents: Sampling progress at each point of the curve, ascending.
        values: The curve there.
        threshold: What it is to fall to.

    Returns:
        Progress; 1 where the curve never falls so low.
    """
    for i, value in enumerate(values):
        if value > threshold:
            continue
        if i == 0:
            return percents[0]
        fraction = (values[i - 1] - threshold) / (values[i - 1] - value)
        return percents[i - 1] + fraction * (percents[i] - percents[i - 1])
    return 1.0
