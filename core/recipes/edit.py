"""Edit with any attributes at once, of both kinds, each at a strength of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..hspace.asyrp import sample_asyrp
from ..hspace.direction import HDirection
from ..hspace.strength import BoundEdit, bind_edit
from ..hspace.window import EditWindow
from ..inversion.traced import Trace, follow_trace
from ..latent_svd.apply import apply_attribute
from ..latent_svd.attribute import SVDAttribute
from ..samplers import OnState, Schedule
from .attributes import Attribute
from .hspace import together
from .latent_svd import LatentSpace, edited_step
from .settings import EditSettings


@torch.no_grad()
def edit(  # noqa: PLR0913
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    attributes: Sequence[tuple[Attribute, float]],
    *,
    until: float = EditSettings().edit_percent,
    space: LatentSpace = LatentSpace(),
    trace: Trace | None = None,
    mask: Tensor | None = None,
    callback: OnState | None = None,
) -> Tensor:
    """Sample by Euler steps with attributes applied.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[0], an inverted picture's code or noise, [B, C, H, W] in model space.
        schedule: The sampler's own.
        attributes: Attributes and strengths; 0 changes nothing, 1 is as learned, below 0 takes away.
        until: Sampling progress until which directions and readouts edit; not read for SVD attributes.
        space: The space that SVD attributes are applied in.
        trace: The trace of the picture's inversion, which the sampler then follows; x is a state of it.
        mask: Where the picture may change, [B or 1, 1, H, W] in [0, 1]; None is everywhere. With a trace nothing
            changes elsewhere; without one the edits are made inside only.
        callback: Called with (step, state, denoised) once a step.

    Returns:
        The state at sigmas[-1], like x. Where every strength is 0 it is bit for bit what sample_euler returns, or
        sample_traced.

    Raises:
        EditError: x or the schedule is not the trace's, or an attribute does not fit the model.
    """
    sigmas = schedule.sigmas
    denoise = follow_trace(denoise, trace, x, sigmas, mask)
    directions = []
    edited = []
    for one, strength in attributes:
        if strength != 0 and isinstance(one, SVDAttribute):
            step = edited_step(one, schedule)
            if step is not None:
                edited.append((step, one, strength))
        elif strength != 0 and isinstance(one, HDirection):
            directions.append((one, strength))
    window = EditWindow()
    bound = BoundEdit()
    if directions:
        direction, strength = together(directions)
        window = EditWindow(schedule.sigma_at(until), edit_from=direction.start)
        bound = bind_edit(direction, strength, sigmas, window)
    cuts = sorted({0, *(step for step, *_ in edited), len(sigmas) - 1})
    for first, last in pairwise(cuts):
        for step, one, strength in edited:
            if step == first:
                latent = apply_attribute(space.to_latent(x, sigmas[step]), one, strength, mask=mask)
                x = space.to_model(latent, sigmas[step])
        part = sigmas[first : last + 1]
        x = sample_asyrp(denoise, x, part, bound, window, mask=mask, callback=_from_step(callback, first))
    return x


def _from_step(callback: OnState | None, first: int) -> OnState | None:
    """Return the callback of a part of the schedule, which counts its own steps from zero."""
    if callback is None:
        return None

    def call(i: int, x: Tensor, denoised: Tensor) -> None:
        callback(i + first, x, denoised)

    return call
