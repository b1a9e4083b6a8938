"""Derive plain directions from one that answers each picture: its means (arXiv 2210.10960, section 5 and appendix).

    mean_t    dh^mean_t   one map a step: the mean over samples of what is added at that step
    global    dh^global   one map for all steps: the mean of these over steps

Both are tables: they need no network, apply alike to every picture, and show how far an attribute is one direction.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import BottleneckRecorder, Denoiser, place_size_of
from ..errors import EditError, check_sigmas
from ..samplers import Run
from .asyrp import sample_asyrp
from .direction import DeltaDirection, HDirection, TableDirection
from .strength import BoundEdit, bottleneck_delta
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
    run: Run = Run(),
) -> TableDirection:
    """Average what a direction adds to h while pictures are sampled with it: mean_t.

    Args:
        denoise: The model under the source prompt.
        direction: A direction that moves h, or a sum of such.
        noise: Starting noises at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        window: Where the direction is applied.
        strength: How strongly it is applied.
        run: on_step is called for each step of each batch.

    Returns:
        A map for each of these sigmas in the window. At strength 1 it adds the mean of what the direction adds there
        at ``strength``.

    Raises:
        EditError: The direction is or holds a readout, or it adds nothing on this schedule.
    """
    check_sigmas(sigmas)
    for _, part in direction.parts:
        if not isinstance(part, DeltaDirection):
            raise EditError(
                f"direction '{part.name}' is a readout: it adds nothing to h that could be averaged; "
                "a direction of method combined or implicit is accepted."
            )
    delta = bottleneck_delta(direction, strength, sigmas, window)
    steps = [i for i, sigma in enumerate(sigmas[:-1]) if window.edits(sigma)]
    if delta is None or not steps:
        raise EditError(
            f"direction '{direction.name}' adds nothing on this schedule; check its weights, and that the schedule "
            f"reaches down to sigma {direction.start:.4g}."
        )
    # By sigma: the sum of what was added to h there, and to how many rows.
    totals = {float(sigmas[i]): torch.zeros(()) for i in steps}
    counts = dict.fromkeys(totals, 0)
    recorders = {sigma: BottleneckRecorder() for sigma in totals}
    place_size = place_size_of(denoise)

    def add_and_record(h: Tensor, sigma: Tensor) -> Tensor:
        # Of h its size alone is kept.
        recorders[float(sigma)](torch.empty((1, 1, *h.shape[2:]), device="meta"))
        recorders[float(sigma)].check_whole(noise[:1], place_size)
        dh = delta(h, sigma)
        totals[float(sigma)] = totals[float(sigma)] + dh.sum(dim=0).cpu()
        counts[float(sigma)] += len(h)
        return h + dh.to(h)

    for x in noise.split(run.batch):
        edit = BoundEdit(h_edit=add_and_record, layer=direction.layer)
        sample_asyrp(denoise, x.to(run.device), sigmas, edit, window, callback=run.on_state)
    for recorder in recorders.values():
        recorder.check_whole(noise[:1], place_size)
    table = torch.stack([total / counts[sigma] for sigma, total in totals.items()])
    info = {
        **direction.info,
        "name": direction.name,
        "method": f"mean_t of {direction.info.get('method', direction.kind)}",
        "samples": str(len(noise)),
    }
    mean = TableDirection(sigmas[steps].float().cpu(), {"table": table}, info)
    return mean.with_response(direction.response)


def mean_over_steps(direction: TableDirection) -> TableDirection:
    """Average the maps of a table: global.

    Args:
        direction: A table, such as mean_direction returns.

    Returns:
        A table of one map for all steps.
    """
    table = direction.tensors["table"].mean(dim=0, keepdim=True)
    method = direction.info.get("method", "table").replace("mean_t", "global")
    mean = TableDirection(direction.sigmas, {"table": table}, {**direction.info, "method": method})
    return mean.with_response(direction.response)


def step_cosines(direction: TableDirection) -> Tensor:
    """Compare the maps of a table's steps: the paper's consistency.

    Args:
        direction: A table of S maps.

    Returns:
        The cosine of each pair of steps, [S, S]; all 1 where one map would do for every step.
    """
    maps = F.normalize(direction.tensors["table"].flatten(1), dim=1)
    return maps @ maps.T
