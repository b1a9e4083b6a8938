"""Edit with any attributes at once, of both kinds, each at a strength of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser, guidance_of, mask_of
from ..hspace.asyrp import sample_asyrp
from ..hspace.direction import HDirection
from ..hspace.strength import BoundEdit, bind_edit
from ..hspace.window import EditWindow
from ..inversion.trace import Trace
from ..inversion.traced import follow_trace
from ..latent_svd.apply import apply_attribute
from ..latent_svd.attribute import SVDAttribute
from ..response import scale_of
from ..samplers import OnState, Schedule, from_step
from .attributes import Attribute, guidance_factor, with_scale
from .latent_svd import LatentSpace, edited_step
from .retries import retries_of
from .settings import EditSettings
from .slide import slide_of
from .together import together


@torch.no_grad()
def edit(
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    attributes: Sequence[tuple[Attribute, float]],
    **options: Any,
) -> Tensor:
    """Sample by Euler steps with attributes applied.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[0], an inverted picture's code or noise, [B, C, H, W] in model space.
        schedule: The sampler's own.
        attributes: Attributes and strengths; 0 changes nothing, 1 is as learned, below 0 takes away. Each is
            sampled at the scale that its response has for its strength, where it carries one (slide.py).
        **options: As ``editor`` takes them.

    Returns:
        The state at sigmas[-1], like x. Where every strength is 0 it is bit for bit what sample_euler returns, or
        sample_traced.

    Raises:
        EditError: x or the schedule is not the trace's, or an attribute does not fit the model.
    """
    return editor(denoise, x, schedule, attributes, **options)(1.0)


def editor(  # noqa: PLR0913
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    attributes: Sequence[tuple[Attribute, float]],
    *,
    until: float = EditSettings().edit_percent,
    space: LatentSpace = LatentSpace(),
    trace: Trace | None = None,
    mask: Tensor | None = None,
    absolute: bool = False,
    fade: float = 0.0,
    retries: int = EditSettings().retries,
    decode: Callable[[Tensor], Tensor] | None = None,
    callback: OnState | None = None,
) -> Callable[[float | None], Tensor]:
    """Return what samples with every strength times a factor; what factors have in common is sampled once.

    Args:
        denoise: As ``edit`` takes it, and so x, schedule and attributes.
        x: State at sigmas[0].
        schedule: The sampler's own.
        attributes: Attributes and strengths.
        until: Sampling progress until which directions and readouts edit; not read for SVD attributes.
        space: The space that SVD attributes are applied in.
        trace: The trace of the picture's inversion, which the sampler then follows; x is a state of it.
        mask: Where the picture may change, [B or 1, 1, H, W] in [0, 1]; None is everywhere. With a trace nothing
            changes elsewhere; without one the edits are made inside only.
        absolute: Whether the strength of one attribute says how much of it the picture has in the end, and not how
            much is added; read where the attribute has a response.
        fade: The sampling progress at which runs of one attribute with a response are mixed; see slide.py.
        retries: How often a picture that one attribute changes too little is edited again, more strongly, where the
            attribute's response says what it usually changes; see retries.py. Not read with a mask.
        decode: Makes pictures of the states at sigmas[-1], so that strengths are even in pictures and not in latents;
            values beyond those of pictures are left to the caller. None leaves states as they are.
        callback: Called with (step, state, denoised) once a step of each sampling.

    Returns:
        factor -> the state at sigmas[-1], like x, or what ``decode`` makes of it; None is without an edit, which an
        absolute strength of 0 is not.

    Raises:
        EditError: As ``edit``.
    """
    denoise = follow_trace(denoise, trace, x, schedule.sigmas, mask)
    guidance = guidance_of(denoise)

    def sample(weighted: Sequence[tuple[Attribute, float]], start: Tensor, part: Schedule, first: int = 0) -> Tensor:
        reported = from_step(callback, first)
        return _sample(denoise, start, part, weighted, until=until, space=space, mask=mask, callback=reported)

    if len(attributes) == 1:
        one, strength = attributes[0]
        plain, factor_of_guidance = with_scale(one), guidance_factor(one, guidance)
        steps = len(schedule.sigmas) - 1

        def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
            if state is None and scale == 0 and last < steps and trace is not None:
                return trace.state_at(schedule.sigmas[last], x)
            weighted = [(plain, factor_of_guidance * scale_after(one, scale, first))]
            return sample(weighted, x if state is None else state, schedule.part(first, last), first)

        end = None if trace is None else trace.state_at(schedule.sigmas[-1], x)
        cut = partial(cut_at, one, schedule)
        slide = slide_of(run, one.response, steps=steps, cut=cut, decode=decode, plain=end)
        options: dict[str, Any] = {"absolute": absolute, "fade": fade, "retries": retries_of(retries, until, mask)}
        return lambda factor: slide.at(0.0) if factor is None else slide.at(factor * strength, **options)

    def at(factor: float | None) -> Tensor:
        weighted = [
            (with_scale(one), guidance_factor(one, guidance) * scale_of(one.response, (factor or 0.0) * strength))
            for one, strength in attributes
        ]
        end = sample(weighted, x, schedule)
        return end if decode is None else decode(end)

    return at


def cut_at(attribute: Attribute, schedule: Schedule, progress: float) -> int:
    """Return the step where runs with an attribute and without are mixed; after the step where an SVD attribute acts.

    Args:
        attribute: The attribute.
        schedule: The sampler's own.
        progress: The sampling progress at which they are to be mixed.
    """
    cut = schedule.step_at(progress)
    step = edited_step(attribute, schedule) if isinstance(attribute, SVDAttribute) else None
    return cut if step is None else max(cut, step + 1)


def scale_after(attribute: Attribute, scale: float, first: int) -> float:
    """Return the scale of an attribute in a part of a sampling.

    Args:
        attribute: The attribute.
        scale: Its scale in the whole sampling.
        first: The step where the part begins: 0, or one that cut_at returned, by which an SVD attribute has acted.
    """
    return 0.0 if first and isinstance(attribute, SVDAttribute) else scale


def _sample(
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    attributes: Sequence[tuple[Attribute, float]],
    *,
    until: float,
    space: LatentSpace,
    mask: Tensor | None,
    callback: OnState | None,
) -> Tensor:
    """Sample with attributes at their scales, as ``edit`` takes its arguments."""
    sigmas = schedule.sigmas
    directions = []
    edited = []
    for one, scale in attributes:
        if scale != 0 and isinstance(one, SVDAttribute):
            step = edited_step(one, schedule)
            if step is not None:
                edited.append((step, one, scale))
        elif scale != 0 and isinstance(one, HDirection):
            directions.append((one, scale))
    window = EditWindow()
    bound = BoundEdit()
    if directions:
        direction, scale = together(directions)
        window = EditWindow(schedule.sigma_at(until), edit_from=direction.start)
        bound = bind_edit(direction, scale, sigmas, window)
    cuts = sorted({0, *(step for step, *_ in edited), len(sigmas) - 1})
    for first, last in pairwise(cuts):
        for step, one, scale in edited:
            if step == first:
                latent = apply_attribute(space.to_latent(x, sigmas[step]), one, scale, mask=mask)
                x = space.to_model(latent, sigmas[step])
        part = sigmas[first : last + 1]
        x = sample_asyrp(
            denoise,
            x,
            part,
            bound,
            window,
            mask=mask if mask_of(denoise) is None else None,
            callback=from_step(callback, first),
        )
    return x
