"""Find directions without prompts: the principal components of h over pictures (Haas et al., arXiv 2303.11073).

At each step the bottlenecks of N pictures are N points. Their principal components are directions with an order and a
standard deviation. Components of neighbouring steps belong together when they order the *pictures* alike. So each
component is followed from the last step up to the noise by its scores, which also makes the signs agree. Following
them is ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, layer_of, place_size_of, record_bottleneck
from ..errors import EditError, check_sigmas
from ..layers import layer_info
from ..samplers import Run, euler_step, to_float64
from .direction import TableDirection

# Components of a step that are found beyond those asked for, so that one which changes its rank can be followed.
SPARE = 4
# The least variance; without it, equal pictures would mean a division by 0.
MIN_VARIANCE = 1e-20


class PrincipalComponents(NamedTuple):
    """The K principal components of N points, largest first. On the CPU.

    Attributes:
        directions: Unit vectors, [K, D].
        scores: Where each point lies along them, in standard deviations, [K, N].
        deviations: Standard deviation of the points along them, [K].
        explained: Share of the whole variance that each explains, [K].
    """

    directions: Tensor
    scores: Tensor
    deviations: Tensor
    explained: Tensor


def principal_components(points: Tensor, count: int) -> PrincipalComponents:
    """Find principal components through the N x N Gram matrix, which is small where D is much larger than N.

    Args:
        points: N points, [N, D].
        count: Components to find, less than N.

    Returns:
        The components. The largest entry of each direction is positive.
    """
    centred = points - points.mean(dim=0)
    exact = to_float64(centred)
    values, vectors = torch.linalg.eigh(exact @ exact.T)
    # eigh sorts by ascending eigenvalue.
    values = values.flip(0)[:count].clamp(min=MIN_VARIANCE)
    vectors = vectors.flip(1)[:, :count]
    directions = (vectors.T / values.sqrt()[:, None]).to(points) @ centred
    largest = directions.abs().argmax(dim=1, keepdim=True)
    signs = directions.gather(1, largest).sign()
    freedom = len(points) - 1
    scores = vectors.T * signs.to(vectors) * freedom**0.5
    deviations = (values / freedom).sqrt()
    total = centred.square().sum().cpu().double().clamp(min=MIN_VARIANCE)
    return PrincipalComponents(
        directions=(directions * signs).float().cpu(),
        scores=scores.float().cpu(),
        deviations=deviations.float().cpu(),
        explained=(values.cpu() / total).float(),
    )


@torch.no_grad()
def pca_directions(
    denoise: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    count: int,
    *,
    info: dict[str, str] | None = None,
    run: Run = Run(),
) -> tuple[list[TableDirection], Tensor]:
    """Find the first principal directions of h while pictures are sampled.

    The pictures advance together, a step at a time, so that only one step's bottlenecks are held.

    Args:
        denoise: The model.
        noise: Starting noises at sigmas[0], [N, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        count: Directions to find.
        info: Free text that the directions carry; a "name" in it takes the place of "component k".
        run: on_step is called for each step of each batch.

    Returns:
        The directions, whose dh is one standard deviation among the pictures, and the share of the variance that each
        explains at each step, [count, n].

    Raises:
        EditError: There are fewer than count + 2 noises, sigmas is not a descending schedule, or the prompt divides the
            picture into areas.
    """
    check_sigmas(sigmas)
    if len(noise) < count + 2:
        raise EditError(f"samples is {len(noise)}; component {count - 1} needs at least {count + 2}.")
    found = min(count + SPARE, len(noise) - 1)
    states = list(noise.split(run.batch))
    steps = []
    shape = torch.Size()
    for i in range(len(sigmas) - 1):
        bottlenecks = []
        for k, state in enumerate(states):
            x = state.to(run.device)
            denoised, recorder = record_bottleneck(denoise, x, sigmas[i])
            states[k] = euler_step(x, denoised, sigmas[i], sigmas[i + 1]).cpu()
            # In full precision before rows of one picture are averaged.
            recorder.seen = [part.float().cpu() for part in recorder.seen]
            bottlenecks.append(recorder.per_picture(x, place_size_of(denoise)))
            run.tick()
        points = torch.cat(bottlenecks)
        shape = points.shape[1:]
        steps.append(principal_components(points.flatten(1), found))

    maps = []
    explained = []
    for step, (chosen, signs) in zip(steps, _follow_components(steps, count), strict=True):
        maps.append(step.deviations[chosen, None] * signs[:, None] * step.directions[chosen])
        explained.append(step.explained[chosen])
    used_sigmas = sigmas[:-1].float().cpu()
    directions = []
    for k, table in enumerate(torch.stack(maps, dim=1)):
        own_info = {"name": f"component {k}", "method": "pca", **layer_info(layer_of(denoise)), **(info or {})}
        directions.append(TableDirection(used_sigmas, {"table": table.reshape(len(used_sigmas), *shape)}, own_info))
    return directions, torch.stack(explained, dim=1)


def _follow_components(steps: list[PrincipalComponents], count: int) -> list[tuple[Tensor, Tensor]]:
    """Follow the last step's components to every step by their scores.

    Return, for each step, which of its components go on as the first ``count`` of the last step, and their signs.
    """
    chosen = torch.arange(count)
    signs = torch.ones(count)
    followed = [(chosen, signs)]
    for step, later in zip(reversed(steps[:-1]), reversed(steps[1:]), strict=True):
        pictures = later.scores.shape[1]
        correlations = (signs[:, None] * later.scores[chosen]) @ step.scores.T / pictures
        chosen = _match(correlations.abs())
        signs = torch.where(correlations.gather(1, chosen[:, None])[:, 0] < 0, -1.0, 1.0)
        followed.append((chosen, signs))
    return followed[::-1]


def _match(likeness: Tensor) -> Tensor:
    """Give each row of [count, K] one column of its own, the most alike pair first: [count]."""
    free = likeness.clone()
    chosen = torch.empty(len(free), dtype=torch.long)
    for _ in range(len(free)):
        row, column = divmod(int(free.argmax()), free.shape[1])
        chosen[row] = column
        free[row] = -1.0
        free[:, column] = -1.0
    return chosen
