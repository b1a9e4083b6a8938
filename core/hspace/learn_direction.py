"""Learn an h-space direction from two prompts, without data and without CLIP.

Trajectories are sampled from noise once, under the source prompt and under the target prompt. At each of their states
both predictions D_s and D_t are kept. The edited prediction is then fitted to

    D(x, source | h + dh) = D_s + gain * (D_t - D_s),    gain = (1 - sigma'/sigma) / a'

where a' is 1 for eps and v models and 1 - sigma' for flow models. With this gain an *asymmetric* step at strength 1
equals the stock step under the target prompt: Asyrp adds the whole of D_edit - D at every step (arXiv 2210.10960,
equation 7), while an Euler step makes only 1 - sigma'/sigma of it, so that the plain match, gain 1, overshoots.

The kinds of dh are the paper's; learning them from two prompts, and the gain, are ours (the paper learns with CLIP:
learn_clip.py). Gradients flow through the decoder half of the U-Net only. Every tensor is in model space.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser, is_flow
from ..errors import EditError, check_prompts_differ
from ..fitting import OnTrainingStep, Training, fit
from ..samplers import euler_fraction
from .direction import DeltaDirection, TableDirection
from .networks import CombinedDirection, ImplicitDirection
from .trajectories import Trajectories

METHODS = ("global", "implicit", "vector", "difference", "combined")
GAINS = ("step", "plain")


def learn_direction(  # noqa: PLR0913
    denoise: Denoiser,
    trajectories: Trajectories,
    method: str,
    training: Training,
    *,
    gain: str = "step",
    end_sigma: float = 0.0,
    info: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    callback: OnTrainingStep | None = None,
) -> tuple[DeltaDirection, list[float]]:
    """Fit one direction to what the target prompt does.

    Args:
        denoise: The model under the source prompt, differentiable in its bottleneck.
        trajectories: What record_trajectories returned.
        method: One of METHODS. "difference" is the mean shift of h and trains nothing.
        training: Its learning rate is that of maps; networks learn at a tenth of it.
        gain: "step" as above, or "plain" for D_edit = D_t.
        end_sigma: Nothing is learned at this sigma and below.
        info: Free text that the direction carries.
        device: Where the model computes.
        callback: Called with (training step, loss) after each.

    Returns:
        The direction, on the CPU, and the loss of every training step relative to editing nothing: 1 is no better.

    Raises:
        EditError: The method or the gain is unknown, or both prompts predict the same.
    """
    t = trajectories
    sigmas = t.sigmas[:-1]
    info = {"method": method, **(info or {})}
    gains = prediction_gains(t.sigmas, gain, flow=is_flow(denoise))
    learned_steps = max(1, int((sigmas > end_sigma).sum()))
    # Step by step, so that no second copy of what was recorded is made.
    wanted_changes = [
        (gains[i] * (t.target[i].float() - t.source[i].float())).square().mean() for i in range(learned_steps)
    ]
    unedited_loss = torch.stack(wanted_changes).mean()
    check_prompts_differ(unedited_loss.sqrt())
    if method == "difference":
        return TableDirection(sigmas, {"table": t.h_difference}, info), []

    generator = torch.Generator().manual_seed(training.seed)
    direction = init_direction(method, t.h_difference.shape[1:], sigmas, generator, info)

    def loss(training_step: int) -> Tensor:
        i = int(torch.randint(learned_steps, (), generator=generator))
        rows = torch.randperm(t.x.shape[1], generator=generator)[: training.batch]
        x = t.x[i, rows].float().to(device)
        unedited = t.source[i, rows].float()
        goal = (unedited + gains[i] * (t.target[i, rows].float() - unedited)).to(device)
        sigma = sigmas[i].to(device)
        edited = denoise(x, sigma, lambda h: h + direction.delta(h, sigma).to(h))
        return F.mse_loss(edited.float(), goal) / unedited_loss

    losses = fit(direction.tensors, loss, training, callback)
    return direction, losses


def init_direction(
    method: str, shape: torch.Size, sigmas: Tensor, generator: torch.Generator, info: dict[str, str]
) -> DeltaDirection:
    """Make a direction that does nothing yet.

    Args:
        method: One of METHODS but "difference".
        shape: Of the bottleneck, [Ch, h, w].
        sigmas: The steps it will be learned on, descending, without the final 0, [S].
        generator: What initial weights are drawn from.
        info: Free text that the direction carries.

    Returns:
        A direction whose dh is 0.

    Raises:
        EditError: The method is unknown, or the bottleneck is too narrow for a network.
    """
    channels = shape[0]
    if method == "global":
        return TableDirection(sigmas, {"table": torch.zeros(1, *shape)}, info)
    if method == "vector":
        return TableDirection(sigmas, {"table": torch.zeros(1, channels, 1, 1)}, info)
    if method == "implicit":
        return ImplicitDirection.fresh(channels, sigmas, generator, info)
    if method == "combined":
        network = ImplicitDirection.fresh(channels, sigmas, generator, info)
        return CombinedDirection(sigmas, {**network.tensors, "table": torch.zeros(1, *shape)}, info)
    raise EditError(f"method is '{method}'; {', '.join(METHODS)} are accepted.")


def prediction_gains(sigmas: Tensor, gain: str, *, flow: bool = False) -> Tensor:
    """Return by how much D_t - D_s is multiplied at each step, where it becomes what is learned.

    Args:
        sigmas: Descending noise levels, [S + 1].
        gain: One of GAINS: "step" for (1 - sigma'/sigma) / a', "plain" for 1.
        flow: Whether the model is a flow model.

    Returns:
        The gain of each step, [S].

    Raises:
        EditError: The gain is unknown.
    """
    if gain not in GAINS:
        raise EditError(f"gain is '{gain}'; {' and '.join(GAINS)} are accepted.")
    if gain == "plain":
        return torch.ones(len(sigmas) - 1)
    return euler_fraction(sigmas[:-1], sigmas[1:], flow)
