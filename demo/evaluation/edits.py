"""The pack's main job on the embedded model, through diffusers: invert pictures, learn, edit. Each edit is a function of
a Session, which holds the inverted pictures; the command line, the tests and the benchmarks all call these.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core import (
    Denoiser,
    EditWindow,
    Endpoints,
    HDirection,
    SVDAttribute,
    Trajectories,
    apply_attribute,
    calibrate,
    learn_attribute,
    learn_direction,
    learn_readout,
    record_prediction_changes,
    record_trajectories,
    sample_asyrp,
    sample_endpoints,
    sample_euler,
    sample_prompt_pair,
)
from ...core.hspace.strength import bind_edit
from ...core.recipes.defaults import (
    BRANCH_STEPS,
    CALIBRATION_NOISES,
    DH_BRANCH_STEP,
    EDIT_PERCENT,
    H_BATCH,
    H_STRENGTH,
    LEARN_GUIDANCE,
    LEARN_PERCENT,
    READOUT_BRANCH_STEP,
    READOUT_CALIBRATION_NOISES,
    STEPS,
    SVD_STRENGTH,
    T_X_STEP,
)
from ..faces import ATTRIBUTES
from ..loader import DemoModel
from ..words import caption
from .session import SOURCE, Session, starting_noise


def unedited(s: Session) -> Tensor:
    """The round trip: what the VAE and the inversion alone do to the picture."""
    return s.finish(s.code, 0)


def prompt_swap(s: Session, step: int = 0) -> Tensor:
    """The target prompt from a step on; at 0, all the way from T."""
    return s.model.decode(sample_euler(s.denoiser(s.target), s.to_step(SOURCE, step), s.sigmas[step:]))


def svd_own_pair(
    s: Session,
    strength: float = SVD_STRENGTH,
    step: int = T_X_STEP,
    delta: int = 0,
    partings: tuple[int, ...] = BRANCH_STEPS,
    apply: Callable[..., Tensor] = apply_attribute,
    **learning,
) -> Tensor:
    """Each picture edited with the attribute of its own pair of codes; learning: how it is learned, as learn_attribute takes it."""
    target, source = (
        s.to_step(s.target, step, partings, delta),
        s.to_step(SOURCE, step),
    )  # the pair brings its source along
    edited = [apply(x[None], learn_attribute(x[None], z[None], **learning), strength) for x, z in zip(source, target)]
    return s.finish(torch.cat(edited), step)


def svd_attribute(
    model: DemoModel,
    attribute: str,
    pairs: int,
    seed: int,
    step: int = T_X_STEP,
    delta: int = 0,
    steps: int = STEPS,
    cfg: float = LEARN_GUIDANCE,
) -> SVDAttribute:
    """An attribute from pairs of codes sampled from noise: the mean edit of ``pairs`` faces nobody has seen."""
    source, target = accepted_pairs(model, attribute, pairs, seed, step, delta, steps, cfg)
    sigmas = model.sigmas(steps)
    return learn_attribute(
        source,
        target,
        sigma=float(sigmas[step]),
        target_sigma=float(sigmas[step + delta]),
        info={
            "name": attribute,
            "latent_format": "singular_edit demo",
            "source_prompt": SOURCE,
            "target_prompt": caption([attribute]),
        },
    )


def accepted_pairs(
    model: DemoModel,
    attribute: str,
    count: int,
    seed: int,
    step: int = T_X_STEP,
    delta: int = 0,
    steps: int = STEPS,
    cfg: float = LEARN_GUIDANCE,
    partings: tuple[int, ...] = BRANCH_STEPS,
) -> tuple[Tensor, Tensor]:
    """Codes of ``count`` pairs whose pictures show what their prompts say, [count, 4, 16, 16] each.

    An artist looks at both pictures before learning from them; here the judge does. Of a face that wears a hat
    already, or of one that stays without, nothing is learned.
    """
    sigmas, index, found = model.sigmas(steps), ATTRIBUTES.index(attribute), []
    shared, towards = model.denoiser(SOURCE, cfg=cfg), model.denoiser(caption([attribute]), cfg=cfg)
    for noise in starting_noise(model, 4 * count + 8, seed, sigmas).split(32):
        source, target, _ = sample_prompt_pair(shared, towards, noise, sigmas, step, partings, delta)
        has, gets = (
            model.judged(model.decode(sample_euler(prompt, code, sigmas[at:])))[:, index]
            for prompt, code, at in ((shared, source, step), (towards, target, step + delta))
        )
        found += [(source[i], target[i]) for i in (gets & ~has).nonzero().flatten()]
        if len(found) >= count:
            break
    source, target = zip(*found[:count])
    return torch.stack(source), torch.stack(target)


def svd_apply(
    s: Session,
    attribute: SVDAttribute,
    strength: float = SVD_STRENGTH,
    step: int = T_X_STEP,
    apply: Callable[..., Tensor] = apply_attribute,
) -> Tensor:
    """A learned attribute slid on every picture."""
    return s.finish(apply(s.to_step(SOURCE, step), attribute, strength), step)


def svd_one_foreign_pair(
    s: Session,
    attributes: list[SVDAttribute],
    strength: float = SVD_STRENGTH,
    step: int = T_X_STEP,
    apply: Callable[..., Tensor] = apply_attribute,
) -> Tensor:
    """Each of these on its share of the pictures, for one pair is luck: their mean says what to expect of one."""
    code = s.to_step(SOURCE, step)
    shares = code.tensor_split(min(len(attributes), len(code)))
    return s.finish(torch.cat([apply(x, attribute, strength) for x, attribute in zip(shares, attributes)]), step)


def single_pairs(model: DemoModel, attribute: str, count: int, seed: int) -> list[SVDAttribute]:
    """``count`` attributes, each of one foreign pair."""
    return [learn_attribute(x[None], z[None]) for x, z in zip(*accepted_pairs(model, attribute, count, seed))]


def trajectories(
    model: DemoModel,
    attribute: str,
    samples: int = 128,
    seed: int = 0,
    steps: int = STEPS,
    cfg: float = 1.0,
    part: int = DH_BRANCH_STEP,
) -> Trajectories:
    """What directions are learned from: trajectories under both prompts, which part at a step."""
    sigmas = model.sigmas(steps)
    source, target = model.denoiser(SOURCE, cfg=cfg), model.denoiser(caption([attribute]), cfg=cfg)
    return record_trajectories(
        source,
        target,
        starting_noise(model, samples, seed, sigmas),
        sigmas,
        float(sigmas[part]),
        batch=32,
        device=model.device,
    )


def h_direction(
    model: DemoModel,
    attribute: str,
    recorded: Trajectories,
    method: str = "combined",
    train_steps: int = 600,
    learning_rate: float = 3e-2,
    seed: int = 0,
    cfg: float = 1.0,
    gain: str = "step",
    callback=None,
) -> HDirection:
    """An h-space direction from the two prompts, at its measured unit."""
    source, end = model.denoiser(SOURCE, cfg=cfg), model.percent_to_sigma(LEARN_PERCENT)
    learned, _ = learn_direction(
        source,
        recorded,
        method,
        train_steps,
        H_BATCH,
        learning_rate,
        seed,
        gain=gain,
        end=end,
        device=model.device,
        info={"name": attribute},
        callback=callback,
    )
    return calibrate(
        source,
        learned,
        Endpoints.of(recorded, CALIBRATION_NOISES),
        EditWindow(end, edit_from=learned.start),
        batch=H_BATCH,
        device=model.device,
    )[0]


def readout(
    model: DemoModel,
    attribute: str,
    samples: int = 512,
    train_steps: int = 1000,
    seed: int = 0,
    steps: int = STEPS,
    cfg: float = 1.0,
    part: int = READOUT_BRANCH_STEP,
    callback=None,
) -> HDirection:
    """A readout from the two prompts, at its measured unit."""
    sigmas, end = model.sigmas(steps), model.percent_to_sigma(LEARN_PERCENT)
    source, target = model.denoiser(SOURCE, cfg=cfg), model.denoiser(caption([attribute]), cfg=cfg)
    noise, onset = starting_noise(model, samples, seed, sigmas), float(sigmas[part])
    changes = record_prediction_changes(source, target, noise, sigmas, onset, end, 32, seed, model.device)
    learned, _ = learn_readout(
        changes, train_steps, seed=seed, info={"name": attribute}, device=model.device, callback=callback
    )
    ends = sample_endpoints(source, target, noise[:READOUT_CALIBRATION_NOISES], sigmas, onset, H_BATCH, model.device)
    return calibrate(
        source, learned, ends, EditWindow(end, edit_from=learned.start), batch=H_BATCH, device=model.device
    )[0]


def asyrp(
    s: Session,
    direction: HDirection,
    strength: float = H_STRENGTH,
    edit_percent: float = EDIT_PERCENT,
    symmetric: bool = False,
) -> Tensor:
    """The pictures resampled from their codes with the bottleneck edited."""
    return s.model.decode(asyrp_latents(s, direction, strength, edit_percent, symmetric))


def asyrp_latents(
    s: Session,
    direction: HDirection,
    strength: float = H_STRENGTH,
    edit_percent: float = EDIT_PERCENT,
    symmetric: bool = False,
    denoise: Denoiser | None = None,
) -> Tensor:
    """The same in model space, [B, 4, 16, 16]; denoise: in place of the source prompt's."""
    window = EditWindow(s.model.percent_to_sigma(edit_percent), edit_from=direction.start)
    edit, amount, reading = bind_edit(direction, strength, s.sigmas, window)
    return sample_asyrp(
        denoise or s.denoiser(), s.code, s.sigmas, edit, window, symmetric=symmetric, amount=amount, reading=reading
    )
