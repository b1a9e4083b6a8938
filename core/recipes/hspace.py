"""Learn a direction or a readout from two prompts, and edit with it.

This is the one recipe of nodes, command line, library, tests and benchmarks. Learning is three stages: record what the
model does under both prompts, fit, and measure the unit of strength on finished pictures. Percents are sampling
progress, as ControlNet's are: 0 before the first step, 1 after the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser, PromptDenoisers, guidance_of, layer_of
from ..errors import EditError
from ..hspace.asyrp import Boost, sample_asyrp
from ..hspace.calibration import calibrate, measured_sigmas
from ..hspace.direction import HDirection
from ..hspace.learn_clip import ClipObjective, learn_clip_direction
from ..hspace.learn_direction import learn_direction
from ..hspace.learn_readout import learn_readout
from ..hspace.picture_range import PictureRange
from ..hspace.prediction_changes import learned_steps, record_prediction_changes
from ..hspace.strength import bind_edit
from ..hspace.trajectories import (
    Endpoints,
    Trajectories,
    record_trajectories,
    sample_endpoints,
)
from ..hspace.window import EditWindow
from ..inversion.trace import Trace
from ..inversion.traced import follow_trace
from ..layers import AUTO, layer_info, layer_text
from ..samplers import OnState, Run, Schedule, from_step
from . import defaults
from .attributes import guidance_factor
from .draws import Draws
from .learning_cost import TRAINING_STEPS_PER_TICK
from .settings import CLIP, READOUT, EditSettings, LearnSettings
from .slide import slide_of
from .start import Start, measure_start


class Learned(NamedTuple):
    """What was learned and how well.

    Attributes:
        direction: The direction or readout, at its unit of strength, on the CPU.
        losses: The loss of every training step.
        scale: What the unit of strength multiplied it by; None for method clip, whose unit is not measured.
        progress: The share of the way that was measured there; None for method clip.
        start: Where the prompts branch.
    """

    direction: HDirection
    losses: list[float]
    scale: float | None = None
    progress: float | None = None
    start: Start | None = None


def learn_from_prompts(
    prompts: PromptDenoisers,
    noise: Tensor,
    schedule: Schedule,
    settings: LearnSettings,
    *,
    objective: ClipObjective | None = None,
    info: dict[str, str] | None = None,
    run: Run = Run(),
) -> Learned:
    """Learn a direction or a readout from two prompts.

    Args:
        prompts: The model under both prompts.
        noise: Starting noises at the first sigma, [samples, C, H, W] in model space; plan_learning says how many are
            needed, and what learning from them takes.
        schedule: The schedule to learn on.
        settings: How to learn.
        objective: What CLIP asks for; read by method clip only.
        info: Free text that the direction carries, such as its name.
        run: on_step is called for each model call of each batch, for each training step that calls the model, and for
            a readout once every TRAINING_STEPS_PER_TICK training steps.

    Returns:
        The direction or readout with its losses and its unit of strength.

    Raises:
        EditError: The method is unknown, the prompts predict the same, no step of the schedule lies in the window, or h
            of the denoisers is at another layer than the settings ask for.
    """
    source, target, _ = prompts
    info = _with_layer(info, prompts.student, settings)
    settings = replace(settings, samples=len(noise))
    sigmas = schedule.sigmas
    start = start_of(prompts, noise, schedule, settings, run=run)
    branch_sigma = schedule.sigma_at(start.percent)
    if settings.method != READOUT:
        trajectories = record_trajectories(source, target, noise, sigmas, branch_sigma=branch_sigma, run=run)
        learned = learn_from_trajectories(
            prompts.student, trajectories, schedule, settings, objective=objective, info=info, run=run
        )
        return learned._replace(start=start)
    end_sigma = schedule.sigma_at(settings.end_percent)
    changes = record_prediction_changes(
        source,
        target,
        noise,
        sigmas,
        branch_sigma=branch_sigma,
        end_sigma=end_sigma,
        seed=settings.training.seed,
        run=run,
    )

    def tick_sometimes(step: int, loss: float) -> None:
        if (step + 1) % TRAINING_STEPS_PER_TICK == 0:
            run.tick()

    readout, losses = learn_readout(changes, settings.training, info=info, device=run.device, callback=tick_sometimes)
    endpoints = sample_endpoints(
        source,
        target,
        noise[: settings.measured],
        measured_sigmas(sigmas, *learned_steps(sigmas, branch_sigma, end_sigma)),
        branch_sigma=branch_sigma,
        run=run,
    )
    readout = readout.with_range(PictureRange.of(torch.cat([endpoints.source, endpoints.target])))
    window = EditWindow(end_sigma, edit_from=readout.start)
    calibration = calibrate(prompts.student, readout, endpoints, window, full=defaults.FULL_SCALE, run=run)
    return Learned(calibration.direction, losses, calibration.scale, calibration.progress, start)


def start_of(
    prompts: PromptDenoisers, noise: Tensor, schedule: Schedule, settings: LearnSettings, *, run: Run = Run()
) -> Start:
    """Return where learning begins: as the settings say, or measured where they leave it open.

    Args:
        prompts: The model under both prompts.
        noise: Starting noises, as learn_from_prompts takes them.
        schedule: The schedule to learn on.
        settings: How to learn.
        run: As measure_start takes it.
    """
    if settings.measures_start:
        return measure_start(prompts, noise, schedule, run=run)
    return Start(settings.start_percent)


def learn_from_trajectories(
    student: Denoiser,
    trajectories: Trajectories,
    schedule: Schedule,
    settings: LearnSettings,
    *,
    gain: str = "step",
    objective: ClipObjective | None = None,
    info: dict[str, str] | None = None,
    run: Run = Run(),
) -> Learned:
    """Learn a direction that moves h from recorded trajectories, which several directions may share.

    Args:
        student: The model under the source prompt, differentiable in its bottleneck.
        trajectories: What record_trajectories returned.
        schedule: The schedule to learn on.
        settings: How to learn; any method but readout.
        gain: As learn_direction takes it.
        objective: What CLIP asks for; read by method clip only.
        info: Free text that the direction carries.
        run: As learn_from_prompts takes it.

    Returns:
        The direction with its losses and, but for method clip, its unit of strength.

    Raises:
        EditError: The method is unknown, method clip has no objective, or the prompts predict the same.
    """
    end_sigma = schedule.sigma_at(settings.end_percent)
    info = _with_layer(info, student, settings)
    if settings.method == CLIP:
        if objective is None:
            raise EditError("method clip lacks an objective; a ClipObjective of an embedding and a text is needed.")
        clip_direction, losses = learn_clip_direction(
            student,
            trajectories,
            objective,
            defaults.CLIP_DIRECTION,
            settings.training,
            end_sigma=end_sigma,
            info=info,
            device=run.device,
            callback=run.on_training_step,
        )
        return Learned(clip_direction, losses)
    direction, losses = learn_direction(
        student,
        trajectories,
        settings.method,
        settings.training,
        gain=gain,
        end_sigma=end_sigma,
        info=info,
        device=run.device,
        callback=run.on_training_step,
    )
    endpoints = Endpoints.of(trajectories, settings.measured)
    window = EditWindow(end_sigma, edit_from=direction.start)
    calibration = calibrate(student, direction, endpoints, window, full=defaults.FULL_SCALE, run=run)
    return Learned(calibration.direction, losses, calibration.scale, calibration.progress)


def _with_layer(info: dict[str, str] | None, denoise: Denoiser, settings: LearnSettings) -> dict[str, str]:
    """Return the info of a direction that says where h of the denoiser is, after a check that it is as asked for."""
    layer = layer_of(denoise)
    if settings.layer not in (AUTO, layer):
        raise EditError(
            f"layer is '{settings.layer}' but h of the denoiser is at {layer_text(layer)}; make the denoiser with the "
            f"layer, or leave it at '{AUTO}'."
        )
    return {**layer_info(layer), **(info or {})}


@torch.no_grad()
def edit(  # noqa: PLR0913
    denoise: Denoiser,
    x: Tensor,
    schedule: Schedule,
    direction: HDirection,
    settings: EditSettings = EditSettings(),
    *,
    noise: Callable[[Tensor], Tensor] | None = None,
    mask: Tensor | None = None,
    trace: Trace | None = None,
    callback: OnState | None = None,
) -> Tensor:
    """Sample with a direction or a readout applied: Asyrp (arXiv 2210.10960), and slide.py where it has a response.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[0], an inverted picture's code or noise, [B, C, H, W] in model space.
        schedule: The sampler's own.
        direction: What to edit along.
        settings: How strongly, and until when.
        noise: Draws noise like its argument, for boosted steps; None for no boost.
        mask: Where to edit, broadcastable to x, 0 to 1.
        trace: The trace of the picture's inversion, which the sampler then follows; x is a state of it.
        callback: Called with (step, state, denoised) once a step of each sampling.

    Returns:
        The state at sigmas[-1], like x. At strength 0, where no step is boosted, it is bit for bit what sample_euler
        returns, or sample_traced.

    Raises:
        EditError: x or the schedule is not the trace's, or sample_asyrp does not accept the direction.
    """
    window = EditWindow(
        edit_until=schedule.sigma_at(settings.edit_percent),
        boost_from=schedule.sigma_at(settings.boost_percent),
        edit_from=direction.start,
    )
    denoise = follow_trace(denoise, trace, x, schedule.sigmas)
    plain, factor = direction.with_response(None), guidance_factor(direction, guidance_of(denoise))
    draws = Draws(noise)

    def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
        boosts = sum(window.boosts(sigma) for sigma in schedule.sigmas[:first])
        return sample_asyrp(
            denoise,
            x if state is None else state,
            schedule.part(first, last).sigmas,
            bind_edit(plain, factor * scale, schedule.sigmas, window),
            window,
            boost=None if noise is None else Boost(settings.eta, draws.again(boosts)),
            symmetric=settings.symmetric,
            mask=mask,
            callback=from_step(callback, first),
        )

    end = None if trace is None else trace.state_at(schedule.sigmas[-1], x)
    slide = slide_of(run, direction.response, steps=len(schedule.sigmas) - 1, cut=schedule.step_at, plain=end)
    return slide.at(settings.strength, **settings.slide_options(mask))
