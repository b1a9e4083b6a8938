"""Learn an SVD attribute from two prompts; edit.py edits with it.

This is the one recipe of nodes, command line, library and benchmarks. Inside ComfyUI its steps are nodes of their own
too: Latent Pair, SVD Attribute Learn, Latent SVD Edit.

Codes here are in model space. An attribute lives at unit variance, so that a space which differs by a factor alone, as
LATENT space does for most models, makes no difference to it. SD3's and Flux's differs by more: see LatentSpace.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..denoiser import Denoiser, PromptDenoisers
from ..errors import EditError
from ..inversion.trace import Trace
from ..inversion.traced import follow_trace
from ..latent_svd.apply import apply_attribute
from ..latent_svd.attribute import SVDAttribute
from ..latent_svd.learn import AttributeSettings, learn_attribute
from ..latent_svd.pair_notes import LEFT_OUT_SHARE, PICTURES
from ..prompt_evidence import PromptEvidence
from ..samplers import Run, Schedule, sample_euler
from . import defaults
from .left_out import left_out_share
from .settings import PairSettings
from .slide import Slide
from .svd_pairs import accepted_pairs

# A run that starts at a cleaner state than an attribute's by more than this ratio of noise levels leaves it out.
MAX_RATIO_ABOVE = 1.5


class Space(Protocol):
    """The way between LATENT space and model space, at a noise level; see LatentSpace."""

    def to_latent(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Bring a state to LATENT space."""
        ...

    def to_model(self, latent: Tensor, sigma: Tensor) -> Tensor:
        """Bring a latent back to model space."""
        ...


class LatentSpace(NamedTuple):
    """How LATENT space, which ComfyUI's wires carry and attributes are learned in, lies to model space.

    A clean latent is scale * (latent - shift) in model space. LatentSpace() leaves everything as it is, bit for bit.

    Attributes:
        scale: The VAE's scaling factor.
        shift: The VAE's shift factor.
        flow: Whether the model is a flow model, whose states also shrink with the noise level.
    """

    scale: float = 1.0
    shift: float = 0.0
    flow: bool = False

    def to_latent(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """Bring a state to LATENT space.

        Args:
            x: State at sigma, [B, C, H, W] in model space.
            sigma: Noise level.

        Raises:
            EditError: It is a flow model's pure noise, which has no LATENT form.
        """
        sigma = float(sigma)
        if self.flow:
            check_latent_form(sigma)
        return (x / (1 - sigma) if self.flow else x) / self.scale + self.shift

    def to_model(self, latent: Tensor, sigma: Tensor | float) -> Tensor:
        """Bring a latent back to model space; the inverse of to_latent."""
        x = (latent - self.shift) * self.scale
        return x * (1 - float(sigma)) if self.flow else x


def check_latent_form(sigma: float) -> None:
    """Raise an EditError for the noise level of a flow model's pure noise."""
    if sigma >= 1:
        raise EditError(
            "an SVD attribute is to be applied at sigma 1, where a flow model's state is pure noise and has no "
            "LATENT form; more sampling steps, or an attribute that was learned at a cleaner step, are needed."
        )


def step_at_sigma(sigmas: Tensor, sigma: float) -> int | None:
    """Return the step that starts nearest to a noise level, by its logarithm.

    Args:
        sigmas: Descending noise levels, [n + 1].
        sigma: The noise level, above 0.

    Returns:
        The step; None if sampling starts below that level, as image to image may.
    """
    levels = sigmas[:-1].cpu().double()
    nearest = int((levels.log() - math.log(sigma)).abs().argmin())
    is_behind = nearest == 0 and sigma > float(levels[0]) * MAX_RATIO_ABOVE
    return None if is_behind else nearest


def edited_step(attribute: SVDAttribute, schedule: Schedule) -> int | None:
    """Return the step of a schedule where an attribute is applied.

    Args:
        attribute: The attribute.
        schedule: The sampler's own.

    Returns:
        The step nearest to the attribute's own noise level, or, if it replaces what it covers, to a little before it;
        where its file does not say one, the first step at the default progress. None if sampling starts below that
        level.
    """
    if attribute.sigma > 0:
        sigma = attribute.sigma
        if attribute.cover is not None:
            sigma = schedule.sigma_at(defaults.COVER_APPLIED_AT * schedule.percent_at(sigma))
        return step_at_sigma(schedule.sigmas, sigma)
    step = schedule.step_at(defaults.T_X_PERCENT)
    return step if step < len(schedule.sigmas) - 1 else None


def learn_from_prompts(  # noqa: PLR0913
    prompts: PromptDenoisers,
    starts: Tensor | Iterable[Tensor],
    sigmas: Tensor,
    settings: PairSettings = PairSettings(),
    *,
    attribute: AttributeSettings = AttributeSettings(),
    space: Space = LatentSpace(),
    evidence: PromptEvidence | None = None,
    pictures: int = 0,
    info: dict[str, str] | None = None,
    run: Run = Run(),
) -> SVDAttribute:
    """Learn an attribute from two prompts: the mean edit of several pairs (arXiv 2502.02225, section 4).

    Args:
        prompts: The model under both prompts.
        starts: As accepted_pairs takes them.
        sigmas: Descending noise levels, [n + 1].
        settings: Where the pairs come from.
        attribute: How the attribute is learned from them.
        space: The space that it is learned in.
        evidence: As accepted_pairs takes it. It also tells in how many pairs left out it comes (left_out.py).
        pictures: As accepted_pairs takes it.
        info: Free text that the attribute carries.
        run: As accepted_pairs takes it.

    Returns:
        The attribute.

    Raises:
        EditError: As accepted_pairs and learn_attribute do.
    """
    pairs = accepted_pairs(prompts, starts, sigmas, settings, evidence=evidence, pictures=pictures, run=run)
    sigma, target_sigma = sigmas[settings.step], sigmas[settings.step + settings.delta]
    pairs = pairs._replace(
        source=space.to_latent(pairs.source, sigma), target=space.to_latent(pairs.target, target_sigma)
    )
    learn = partial(learn_attribute, sigma=float(sigma), target_sigma=float(target_sigma))
    counted = {PICTURES: str(pictures)} if pictures else {}
    learned = learn(pairs.source, pairs.target, attribute, info={**(info or {}), **pairs.info(), **counted})
    if evidence is None or pairs.evidence is None:
        return learned
    before = pairs.evidence[0]  # of predicted pictures; edited codes are finished, which tells more of a mean

    def gained(edited: Tensor) -> Tensor:
        asked = []
        for x in space.to_model(edited, sigma).to(run.device).split(run.batch):
            finished = sample_euler(prompts.source, x, sigmas[settings.step :], run.on_state)
            asked.append(evidence.of(finished, run.on_step))
        gain: Tensor = torch.cat(asked).cpu() - before
        return gain

    # A network would be trained anew for each part.
    share = left_out_share(pairs, partial(learn, settings=replace(attribute, training=None)), gained)
    return learned if share is None else replace(learned, info={**learned.info, LEFT_OUT_SHARE: f"{share:.2f}"})


@torch.no_grad()
def edit(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    attribute: SVDAttribute,
    *,
    strength: float = defaults.THERE,
    step: int = defaults.T_X_STEP,
    start_step: int = 0,
    trace: Trace | None = None,
) -> Tensor:
    """Sample with an attribute applied on the way.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[start_step], an inverted picture's code or noise, [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        attribute: What to apply.
        strength: 0 changes nothing, 1 is the whole attribute, negative removes.
        step: The step where it is applied.
        start_step: The step that x is at, at most ``step``.
        trace: The trace of the picture's inversion, which the sampler then follows; x is a state of it.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: x or the schedule is not the trace's, or apply_attribute does not accept the code.
    """
    denoise = follow_trace(denoise, trace, x, sigmas[start_step:])
    code = sample_euler(denoise, x, sigmas[start_step : step + 1])

    def sample(scale: float) -> Tensor:
        return sample_euler(denoise, apply_attribute(code, attribute, scale), sigmas[step:])

    return Slide(sample, attribute.response).at(strength)
