"""Plain directions derived from one that answers each picture (arXiv 2210.10960, section 5 and appendix): its mean.

    mean_t    dh^mean_t   a map a step: the mean over samples of what is added at that step
    global    dh^global   one map: the mean of these over steps

Both are tables: they need no network, apply the same to every picture, and show how far an attribute is one direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..errors import EditError, check_sigmas
from .asyrp import sample_asyrp
from .direction import HDirection, TableDirection
from .strength import bottleneck_delta
from .window import EditWindow


@torch.no_grad()
def mean_direction(
    denoise: Denoiser,
    direction: HDirection,
    noise: Tensor,
    sigmas: Tensor,
    window: EditWindow = EditWindow(),
    *,
    strength: float = 1.0,
    flow: bool = False,
    batch: int = 8,
    device: torch.device | str = "cpu",
    callback: Callable[[], None] | None = None,
) -> TableDirection:
    """mean_t: the mean of what ``direction`` adds to h while noise [B, C, H, W] (model space, at sigmas[0]) is sampled with it.

    What comes back lives on those of these sigmas that lie inside the window, and at strength 1 does what the direction
    does there at ``strength``. ``batch`` noises at a time; callback() after each of their steps. Raises EditError
    when it adds nothing there.
    """
    check_sigmas(sigmas)
    for _, part in direction.parts:
        if not part.moves_h:
            raise EditError(
                f"direction '{part.name}' is a readout: it adds nothing to h that could be averaged; a direction of method combined or implicit is accepted."
            )
    move = bottleneck_delta(direction, strength, sigmas, window)
    steps = [i for i, sigma in enumerate(sigmas[:-1]) if window.edits(sigma)]
    if move is None or not steps:
        raise EditError(
            f"direction '{direction.name}' adds nothing on this schedule; check its weights, and that the schedule reaches down to sigma {direction.start:.4g}."
        )
    totals: dict[float, Tensor] = {}
    counts = dict.fromkeys((float(sigmas[i]) for i in steps), 0)

    def edit(h: Tensor, sigma: Tensor) -> Tensor:
        dh, key = move(h, sigma), float(sigma)
        totals[key] = totals.get(key, 0) + dh.sum(dim=0).cpu()
        counts[key] += len(h)
        return h + dh.to(h)

    for x in noise.split(batch):
        sample_asyrp(
            denoise, x.to(device), sigmas, edit, window, flow=flow, callback=callback and (lambda *_: callback())
        )
    table = torch.stack([totals[key] / counts[key] for key in counts])
    info = {
        **direction.info,
        "name": direction.name,
        "method": f"mean_t of {direction.info.get('method', direction.kind)}",
        "samples": str(len(noise)),
    }
    return TableDirection(sigmas[steps].float().cpu(), {"table": table}, info)


def mean_over_steps(direction: TableDirection) -> TableDirection:
    """global: one map for all steps, the mean of a table's."""
    info = {**direction.info, "method": direction.info.get("method", "table").replace("mean_t", "global")}
    return TableDirection(direction.sigmas, {"table": direction.tensors["table"].mean(dim=0, keepdim=True)}, info)


def step_cosines(direction: TableDirection) -> Tensor:
    """Cosines between the maps of all steps, [S, S]: all 1 where one map would do for every step (consistency)."""
    maps = torch.nn.functional.normalize(direction.tensors["table"].flatten(1), dim=1)
    return maps @ maps.T
