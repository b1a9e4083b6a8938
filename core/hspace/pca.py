"""Principal directions of h-space over seeds: what varies among pictures, without prompts (Haas et al., arXiv 2303.11073).

At each step the bottlenecks of N pictures are N points; their principal components are directions with an order and a
standard deviation. Components of neighbouring steps belong together when they order the *pictures* alike, so each is
followed from the last step up to the noise by its scores; that also makes signs agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_sigmas
from ..samplers import euler_step, to_float64
from .direction import TableDirection

SPARE = 4  # components kept a step beyond those asked for, so that one which changes its rank can be followed


class Principal(NamedTuple):
    """One step's components: directions [K, D] of unit length, scores [K, N] in units of one deviation, their standard
    deviations [K], and the share of the variance that each explains [K].
    """

    directions: Tensor
    scores: Tensor
    deviations: Tensor
    explained: Tensor


def principal_components(points: Tensor, count: int) -> Principal:
    """Of points [N, D], D much larger than N, through their N x N Gram matrix. Each component's largest entry is positive."""
    centred = points - points.mean(dim=0)
    gram = to_float64(centred)
    values, vectors = torch.linalg.eigh(gram @ gram.T)
    values, vectors = values.flip(0)[:count].clamp(min=1e-20), vectors.flip(1)[:, :count]
    directions = (vectors.T / values.sqrt()[:, None]).to(points) @ centred
    signs = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True)).sign()
    total = centred.square().sum().double().clamp(min=1e-20).cpu()
    scores = vectors.T * signs.to(vectors) * (len(points) - 1) ** 0.5
    return Principal(
        (directions * signs).float().cpu(),
        scores.float().cpu(),
        (values / (len(points) - 1)).sqrt().float().cpu(),
        (values.cpu() / total).float(),
    )


@torch.no_grad()
def pca_directions(
    denoise: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    count: int,
    batch: int = 8,
    device: torch.device | str = "cpu",
    info: dict[str, str] | None = None,
    callback: Callable[[], None] | None = None,
) -> tuple[list[TableDirection], Tensor]:
    """The first ``count`` principal directions of h while noise [N, C, H, W] (model space, at sigmas[0]) is sampled; and
    the share of the variance that each explains at each step, [count, S].

    dh is one standard deviation among the pictures. The pictures advance together, a step at a time, so that only one
    step's bottlenecks are held. callback() after each batch's step. Raises EditError for fewer than count + 2 noises.
    """
    check_sigmas(sigmas)
    if len(noise) < count + 2:
        raise EditError(f"samples is {len(noise)}; component {count - 1} needs at least {count + 2}.")
    states, steps = list(noise.split(batch)), []
    for i in range(len(sigmas) - 1):
        rows: list[Tensor] = []
        for k, x in enumerate(states):
            x, seen = x.to(device), []

            def record(h: Tensor) -> Tensor:
                seen.append(h.detach().float().cpu())
                return h

            states[k] = euler_step(x, denoise(x, sigmas[i], record), sigmas[i], sigmas[i + 1]).cpu()
            rows.append(
                torch.cat(seen).unflatten(0, (-1, len(x))).mean(dim=0)
            )  # a picture may have several conditionings
            if callback is not None:
                callback()
        points = torch.cat(rows)
        steps.append(principal_components(points.flatten(1), min(count + SPARE, len(noise) - 1)))
    followed = _follow(steps, count)
    tables = torch.stack(
        [
            step.deviations[chosen, None] * signs[:, None] * step.directions[chosen]
            for step, (chosen, signs) in zip(steps, followed)
        ],
        dim=1,
    )
    explained = torch.stack([step.explained[chosen] for step, (chosen, _) in zip(steps, followed)], dim=1)
    used = sigmas[:-1].float().cpu()
    directions = [
        TableDirection(
            used,
            {"table": table.reshape(len(used), *points.shape[1:])},
            {"name": f"component {k}", "method": "pca", **(info or {})},
        )
        for k, table in enumerate(tables)
    ]
    return directions, explained


def _follow(steps: list[Principal], count: int) -> list[tuple[Tensor, Tensor]]:
    """Per step, which components [count] go on as those of the last step and with which signs, by their scores."""
    chosen, signs = torch.arange(count), torch.ones(count)
    followed = [(chosen, signs)]
    for step, later in zip(reversed(steps[:-1]), reversed(steps[1:])):
        likeness = (signs[:, None] * later.scores[chosen]) @ step.scores.T / later.scores.shape[1]
        free, chosen = likeness.abs(), torch.empty(count, dtype=torch.long)
        for _ in range(count):  # the most alike first; none is taken twice
            component, match = divmod(int(free.argmax()), free.shape[1])
            chosen[component] = match
            free[component], free[:, match] = -1.0, -1.0
        signs = torch.where(likeness.gather(1, chosen[:, None])[:, 0] < 0, -1.0, 1.0)
        followed.append((chosen, signs))
    return followed[::-1]
