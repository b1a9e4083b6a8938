"""Learning a readout: a regression of D_target - D_source on h.

Each noise is carried down under the source prompt to where the prompts part and is then looked at on a few steps
only, every STRIDE-th of the schedule: what teaches is another noise, not the next step of the same one. From there on
half of the trajectories drift towards the target, as an edited one will. No gradient goes through the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser, guidance_of, read_bottleneck
from ..errors import EditError, check_sigmas
from ..fitting import fit
from ..samplers import euler_step
from .readout import Readout

STRIDE = 3


@dataclass
class PredictionChanges:
    """h: [N, Ch, h, w], change = (D_target - D_source)/guidance: [N, C, H, W], sigma: [N]. sigmas: of the whole window. On the CPU."""

    sigmas: Tensor
    h: Tensor
    change: Tensor
    sigma: Tensor


@torch.no_grad()
def record_prediction_changes(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    onset: float = float("inf"),
    end: float = 0.0,
    batch: int = 8,
    seed: int = 0,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> PredictionChanges:
    """From noise [B, C, H, W] (model space, at sigmas[0]), at steps with end < sigma <= onset.

    ``batch`` noises at a time; callback() after each of their steps. Raises EditError when no step lies there.
    """
    check_sigmas(sigmas)
    inside = [i for i, sigma in enumerate(sigmas[:-1].tolist()) if end < sigma <= onset]
    if not inside:
        raise EditError(
            f"No step of this schedule lies between sigma {onset:.4g}, where the two prompts part, and {end:.4g}, where learning ends; widen the window."
        )
    generator, rows = torch.Generator().manual_seed(seed), []
    for k, x in enumerate(noise.split(batch)):
        x = x.to(device)
        offset = (inside[0] + k) % STRIDE
        steps = sorted({0, *range(offset, inside[-1] + 1, STRIDE)})
        drifts = torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5
        for i, i_next in zip(steps, [*steps[1:], inside[-1] + 1]):
            if i < inside[0]:
                x = euler_step(x, source(x, sigmas[i]), sigmas[i], sigmas[i_next])
            else:
                denoised, h = read_bottleneck(source, x, sigmas[i])
                change = target(x, sigmas[i]) - denoised
                rows.append(
                    (
                        h.float().cpu(),
                        change.float().cpu() / guidance_of(source),
                        sigmas[i].float().cpu().expand(len(x)),
                    )
                )
                follows = drifts & (torch.rand(len(x), 1, 1, 1, generator=generator) < 0.8)
                x = euler_step(x, denoised + follows.to(x) * change, sigmas[i], sigmas[i_next])
            if callback is not None:
                callback()
    return PredictionChanges(sigmas[inside].float().cpu(), *(torch.cat(column) for column in zip(*rows)))


def learn_readout(
    changes: PredictionChanges,
    steps: int = 1000,
    batch: int = 64,
    learning_rate: float = 3e-2,
    seed: int = 0,
    info: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    callback: Callable[[int, float], None] | None = None,
) -> tuple[Readout, list[float]]:
    """The readout (on the CPU) and the loss of every step, relative to reading nothing (1 = no better).

    learning_rate: the network learns at a tenth of it, as for every method. Raises EditError when both prompts predict the same.
    """
    c, generator = changes, torch.Generator().manual_seed(seed)
    rms = c.change.square().mean().sqrt()
    if rms < 1e-5:
        raise EditError(
            "source and target predict the same picture, so there is nothing to learn; check that the two prompts differ."
        )
    factor = -(-c.change.shape[-1] // c.h.shape[-1])
    info = {"method": "readout", **(info or {})}
    readout = Readout.fresh(
        c.h.shape[1], c.change.shape[1], factor, float(c.h.std().clamp(min=1e-6)), c.sigmas, generator, info
    )

    def loss(step: int) -> Tensor:
        rows = torch.randint(len(c.h), (min(batch, len(c.h)),), generator=generator)
        read = readout.change(c.h[rows].to(device), c.sigma[rows], c.change.shape[-2:], generator)
        return (read - c.change[rows].to(device) / rms).square().mean()

    losses = fit(readout.tensors, loss, steps, learning_rate, callback)
    return readout.scaled(float(rms)), losses
