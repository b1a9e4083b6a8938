"""When to edit and when to boost, from the picture itself (arXiv 2210.10960, sections 4.1 and 4.2).

    editing strength     xi_t    = dist(x, P_T) - dist(x, P_t)    what an edit from T down to t can still reach
    quality deficiency   gamma_t = dist(x, x_t)                   how far the noisy state is from a picture

Editing ends (t_edit) as soon as dist(x, P_t) is no more than a threshold, 0.33 for LPIPS in the paper; boosting begins
(t_boost) as soon as gamma is, 1.2 there. Any distance between pictures will do, each with thresholds of its own.
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
from ..samplers import sample_euler

Distance = Callable[[Tensor, Tensor], Tensor]  # two batches of pictures [B, 3, H, W] in [0, 1] -> [B]


@dataclass(frozen=True)
class EditCurves:
    """Means over the batch at each step [S]: ``predicted`` = dist(x, P_t), ``noisy`` = dist(x, x_t)."""

    percents: list[float]
    predicted: list[float]
    noisy: list[float]

    @property
    def strengths(self) -> list[float]:
        """xi_t."""
        return [self.predicted[0] - value for value in self.predicted]

    def edit_percent(self, threshold: float) -> float:
        """Progress at t_edit; 1 where no prediction comes so near."""
        return first_at_most(self.percents, self.predicted, threshold)

    def boost_percent(self, threshold: float) -> float:
        """Progress at t_boost; 1, which is off, where no state comes so near."""
        return first_at_most(self.percents, self.noisy, threshold)


@torch.no_grad()
def record_rebuild(
    denoise: Denoiser, x0: Tensor, sigmas: Tensor, callback: Callable[[], None] | None = None
) -> tuple[Tensor, Tensor]:
    """x_t and P_t, [S, B, C, H, W] each, model space, on the CPU, of the picture x0 [B, C, H, W]: inverted, then rebuilt by euler.

    callback() after each step of both ways.
    """
    check_sigmas(sigmas)
    states, predictions = [], []

    def keep(i: int, x: Tensor, denoised: Tensor) -> None:
        states.append(x.cpu())
        predictions.append(denoised.cpu())
        if callback is not None:
            callback()

    code, _ = fixed_point_inversion(
        denoise, x0, sigmas, *QUALITIES["fast"], callback=callback and (lambda *_: callback())
    )
    sample_euler(denoise, code, sigmas, keep)
    return torch.stack(states), torch.stack(predictions)


def edit_curves(
    states: Tensor,
    predictions: Tensor,
    x0: Tensor,
    sigmas: Tensor,
    percent_to_sigma: Callable[[float], float],
    decode: Callable[[Tensor], Tensor],
    distance: Distance,
    flow: bool = False,
    callback: Callable[[], None] | None = None,
) -> EditCurves:
    """Distances along a trace to the picture x0 [B, C, H, W], model space.

    decode: model space to pictures [B, 3, H, W] in [0, 1]. States are decoded in variance-preserving form, as the
    paper's x_t. callback() after each step.
    """
    picture, predicted, noisy = decode(x0), [], []
    for x, prediction, sigma in zip(states, predictions, sigmas.tolist()):
        predicted.append(float(distance(decode(prediction), picture).mean()))
        noisy.append(float(distance(decode(x if flow else x / math.sqrt(1 + sigma**2)), picture).mean()))
        if callback is not None:
            callback()
    return EditCurves([percent_of(percent_to_sigma, sigma) for sigma in sigmas[:-1].tolist()], predicted, noisy)


def percent_of(percent_to_sigma: Callable[[float], float], sigma: float) -> float:
    """The progress at sigma: the inverse of a falling percent_to_sigma, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if percent_to_sigma(middle) > sigma else (low, middle)
    return (low + high) / 2


def first_at_most(saliency_weight: list[float], values: list[float], threshold: float) -> float:
    """Where values first fall to the threshold, linearly between places; 1 where they never do."""
    for i, value in enumerate(values):
        if value <= threshold:
            if i == 0:
                return saliency_weight[0]
            share = (values[i - 1] - threshold) / (values[i - 1] - value)
            return saliency_weight[i - 1] + share * (saliency_weight[i] - saliency_weight[i - 1])
    return 1.0
