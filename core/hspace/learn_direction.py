"""Learning an h-space direction from two prompts, without data and without CLIP.

Trajectories are sampled from noise once, under the source prompt and under the target prompt; at each of their
states both predictions D_s and D_t are kept. Learning then asks of the edited prediction

    D(x, source | h + dh) = D_s + gain * (D_t - D_s),    gain = (1 - sigma'/sigma) / a'

With this gain an *asymmetric* step at strength 1 equals the stock step under the target prompt: Asyrp adds the whole
D_edit - D at every step while Euler moves by only 1 - sigma'/sigma of it, so the plain match (gain 1) overshoots.
Gradient flows through the decoder half only. Model space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser
from ..errors import EditError
from ..fitting import fit
from ..samplers import euler_fraction
from .direction import METHODS, HDirection, TableDirection
from .networks import CombinedDirection, ImplicitDirection
from .trajectories import Trajectories


def learn_direction(
    denoise: Denoiser,
    trajectories: Trajectories,
    method: str = "combined",
    steps: int = 500,
    batch: int = 8,
    learning_rate: float = 3e-2,
    seed: int = 0,
    flow: bool = False,
    gain: str = "step",
    end: float = 0.0,
    device: torch.device | str = "cpu",
    info: dict[str, str] | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> tuple[HDirection, list[float]]:
    """Fit one direction; returns it (on the CPU) and the loss of every step, relative to editing nothing (1 = no better).

    denoise: under the source prompt, differentiable in h. method: combined, global, implicit, vector or difference
    (which trains nothing). learning_rate: of maps; networks learn at a tenth of it. gain: "step" as above, or "plain"
    for the paper's D_edit = D_t. end: sigmas at or below it are not learned on. Raises EditError for an unknown
    method, and when both prompts predict the same.
    """
    t = trajectories
    sigmas = t.sigmas[:-1]
    info = {"method": method, **(info or {})}
    if method == "difference":
        return TableDirection(sigmas, {"table": t.h_difference}, info), []
    generator = torch.Generator().manual_seed(seed)
    direction = init_direction(method, t.h_difference.shape[1:], sigmas, generator, info)
    used = max(1, int((sigmas > end).sum()))
    goals = t.source + _gains(t.sigmas, flow, gain)[:, None, None, None, None] * (t.target - t.source)
    scale = (goals - t.source)[:used].square().mean()
    if scale < 1e-10:
        raise EditError(
            "source and target predict the same picture, so there is nothing to learn; check that the two prompts differ."
        )

    def loss(step: int) -> Tensor:
        i = int(torch.randint(used, (), generator=generator))
        rows = torch.randperm(t.x.shape[1], generator=generator)[:batch]
        x, goal, sigma = (part.to(device) for part in (t.x[i, rows], goals[i, rows], sigmas[i]))
        edited = denoise(x, sigma, lambda h: h + direction.delta(h, sigma).to(h))
        return F.mse_loss(edited.float(), goal) / scale

    return direction, fit(direction.tensors, loss, steps, learning_rate, callback)


def init_direction(
    method: str, shape: torch.Size, sigmas: Tensor, generator: torch.Generator, info: dict[str, str]
) -> HDirection:
    """A direction that does nothing yet, for a bottleneck of this shape [Ch, h, w]."""
    channels = shape[0]
    if method in ("implicit", "combined"):
        network = ImplicitDirection.fresh(channels, sigmas, generator, info)
        return (
            network
            if method == "implicit"
            else CombinedDirection(sigmas, {**network.tensors, "table": torch.zeros(1, *shape)}, info)
        )
    if method == "global":
        return TableDirection(sigmas, {"table": torch.zeros(1, *shape)}, info)
    if method == "vector":
        return TableDirection(sigmas, {"table": torch.zeros(1, channels, 1, 1)}, info)
    raise EditError(f"method is '{method}'; {', '.join(METHODS)} are accepted.")


def _gains(sigmas: Tensor, flow: bool, gain: str) -> Tensor:
    if gain == "plain":
        return torch.ones(len(sigmas) - 1)
    if gain != "step":
        raise EditError(f"gain is '{gain}'; step and plain are accepted.")
    return euler_fraction(sigmas[:-1], sigmas[1:], flow)
