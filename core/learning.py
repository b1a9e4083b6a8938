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
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .denoiser import Denoiser, euler_step, step_share
from .direction import METHODS, CombinedDirection, HDirection, ImplicitDirection, TableDirection
from .errors import EditError, check_sigmas


@dataclass
class Trajectories:
    """Per step, over B source and B target trajectories: states and predictions under both prompts.

    x, source, target: [S, 2B, C, H, W]; sigmas: [S + 1]. h_difference: the mean of h(target) - h(source), [S, Ch, h, w]
    (a large model's bottlenecks, one by one, would fill the memory). On the CPU.
    """

    sigmas: Tensor
    x: Tensor
    source: Tensor
    target: Tensor
    h_difference: Tensor


@torch.no_grad()
def record_trajectories(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    onset: float = float("inf"),
    batch: int = 8,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> Trajectories:
    """Sample from noise [B, C, H, W] (model space, at sigmas[0]) under both prompts, which part where sigma <= onset.

    Until then both follow the source prompt and nothing is kept: the layout that forms first stays the source's,
    and with it every attribute that was not asked for. ``batch`` noises at a time; callback() after each of their
    steps. Raises EditError when no step lies below the onset.
    """
    first = parting_step(sigmas, onset)
    parts: list[list[tuple[Tensor, ...]]] = [[], []]
    shift: Tensor | float = 0.0
    for x in noise.split(batch):
        x = x.to(device)
        for i in range(first):
            x = euler_step(x, source(x, sigmas[i]), sigmas[i], sigmas[i + 1])
            if callback is not None:
                callback()
        for rows, prompt in zip(parts, (source, target)):
            *row, difference = _follow(prompt, (source, target), x, sigmas[first:], callback)
            rows.append(row)
            shift = shift + difference * (len(x) / (2 * len(noise)))
    return Trajectories(
        sigmas[first:].float().cpu(), *(torch.cat(column, dim=1) for column in zip(*parts[0], *parts[1])), shift
    )


def parting_step(sigmas: Tensor, onset: float) -> int:
    """The first step at or below the onset. Raises EditError when there is none, or for a schedule that is not one."""
    check_sigmas(sigmas)
    first = int((sigmas > onset).sum())
    if first >= len(sigmas) - 1:
        raise EditError(
            f"No step of this schedule starts at or below sigma {onset:.4g}, where the two prompts part; let them part earlier."
        )
    return first


def _follow(
    prompt: Denoiser, prompts: tuple[Denoiser, Denoiser], x: Tensor, sigmas: Tensor, callback
) -> tuple[Tensor, ...]:
    """One trajectory of x under ``prompt``: its states, both prompts' predictions there, [S, B, ...] each, and the
    difference of their mean bottlenecks, [S, Ch, h, w].
    """
    rows = []
    for i in range(len(sigmas) - 1):
        predictions, bottlenecks = zip(*(_with_bottleneck(denoise, x, sigmas[i]) for denoise in prompts))
        rows.append([part.float().cpu() for part in (x, *predictions, bottlenecks[1] - bottlenecks[0])])
        x = euler_step(x, predictions[prompts.index(prompt)], sigmas[i], sigmas[i + 1])
        if callback is not None:
            callback()
    return tuple(torch.stack(column) for column in zip(*rows))


def _with_bottleneck(denoise: Denoiser, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """D, and the mean bottleneck of the batch [Ch, h, w]."""
    seen: list[Tensor] = []

    def record(h: Tensor) -> Tensor:
        seen.append(h.detach().float().mean(dim=0))
        return h

    return denoise(x, sigma, record), torch.stack(seen).mean(dim=0)


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
    direction = untrained(method, t.h_difference.shape[1:], sigmas, generator, info)
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

    return direction, fit(direction, loss, steps, learning_rate, callback)


def fit(
    direction: HDirection,
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    callback: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Adam on the direction's tensors, in place, with a rate that falls to zero along a cosine: the loss of every step.

    loss(step) is called with gradients on. learning_rate: of maps; networks learn at a tenth of it.
    """
    rates = {name: learning_rate if name == "table" else learning_rate / 10 for name in direction.tensors}
    optimizer = torch.optim.Adam(
        [{"params": [tensor.requires_grad_()], "lr": rates[name]} for name, tensor in direction.tensors.items()]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    losses = []
    for step in range(steps):
        with torch.enable_grad():
            value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if callback is not None:
            callback(step, losses[-1])
    for tensor in direction.tensors.values():
        tensor.requires_grad_(False)
    return losses


def untrained(
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
    return step_share(sigmas[:-1], sigmas[1:], flow)
