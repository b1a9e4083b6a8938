"""Held-out faces, inverted once, that edits start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...core import Denoiser, sample_euler, sample_prompt_pair
from ...core.denoiser import PromptDenoisers
from ...core.inversion.report import Quality
from ...core.inversion.trace import Trace
from ...core.inversion.traced import TracedDenoiser, retraced
from ...core.layers import AUTO
from ...core.prompt_evidence import PromptEvidence
from ...core.recipes import defaults
from ...core.recipes.inversion import FIXED_POINT, TRACED, Inverted, invert
from ...core.recipes.settings import PairSettings
from ...core.recipes.svd_pairs import pair_evidence
from ..words import caption
from .evaluated import EvaluatedModel, Subjects, denoiser_at

SOURCE = caption([])
HELD_OUT = 50_000  # the first seed of what is reported; training starts at 1000000, defaults are chosen from 60000 up
# Edits do not show what a tighter inversion adds.
INVERSION = Quality(tolerance=1e-3, max_iterations=20)


@dataclass
class Session:
    """Held-out pictures without one attribute, or all with it, inverted under the source prompt.

    Attributes:
        model: The model.
        faces: The faces; the attribute is switched as has_attribute says.
        attribute: The attribute that edits are about.
        cfg: Guidance of the inversion and of the way back.
        steps: Sampling steps.
        has_attribute: Whether the pictures show the attribute, so that it can be taken away.
        traced: Whether the pictures are inverted by method traced, and every edit follows their trace.
        cache: Whatever was made of these pictures once, by a key of its own.
    """

    model: EvaluatedModel
    faces: Subjects
    attribute: str
    cfg: float = defaults.EDIT_GUIDANCE
    steps: int = defaults.STEPS
    has_attribute: bool = False
    traced: bool = False
    cache: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.faces = self.faces.with_attributes(**{self.attribute: self.has_attribute})
        self.pictures = self.model.render(self.faces)
        self.sigmas = self.model.sigmas(self.steps)
        self.target = self.model.target(self.attribute)

    def denoiser(self, prompt: str | None = None, cfg: float | None = None, *, layer: str = AUTO) -> Denoiser:
        """Return the model under a prompt, the source prompt if None, at the session's guidance or another.

        h is at the layer, where the model has several. In a traced session the denoiser follows the trace.
        """
        model = denoiser_at(
            self.model, layer, self.model.source if prompt is None else prompt, self.cfg if cfg is None else cfg
        )
        return model if self.trace is None else TracedDenoiser(model, self.trace)

    @cached_property
    def latents(self) -> Tensor:
        """The pictures as latents, [B, *latent_shape] in model space."""
        return self.model.encode(self.pictures)

    @cached_property
    def inversion(self) -> Inverted:
        """The pictures inverted under the source prompt, in model space."""
        method = TRACED if self.traced else FIXED_POINT
        model = self.model.denoiser(self.model.source, cfg=self.cfg)
        return invert(model, self.latents, self.sigmas, method, quality=INVERSION, measure=False)

    @property
    def trace(self) -> Trace | None:
        """What every edit follows; None in a session that is not traced."""
        return self.inversion.trace if self.traced else None

    @property
    def code(self) -> Tensor:
        """The code at sigmas[0], [B, *latent_shape] in model space."""
        return self.inversion.code

    def source_code(self, step: int) -> Tensor:
        """Return the code carried down to a step under the source prompt, [B, *latent_shape]."""
        key = ("source", step)
        if key not in self.cache:
            self.cache[key] = sample_euler(self.denoiser(), self.code, self.sigmas[: step + 1])
        return self.cache[key]

    def target_code(self, settings: PairSettings = PairSettings()) -> Tensor:
        """Return the target of each picture's own pair at step + delta, [B, *latent_shape]."""
        key = ("target", settings)
        if key not in self.cache:
            target = self._learning_denoiser(settings.step + settings.delta)
            pair = sample_prompt_pair(
                self.denoiser(),
                target,
                self.code,
                self.sigmas,
                settings.step,
                branch_steps=settings.branch_steps,
                delta=settings.delta,
                evidence=self._evidence(settings),
                min_evidence_share=settings.min_evidence_share,
            )
            self.cache[key] = pair.target
            self.cache["source", settings.step] = pair.source
        return self.cache[key]

    def _evidence(self, settings: PairSettings) -> PromptEvidence | None:
        """Return what own pairs are chosen by."""
        source, target = (self.model.denoiser(prompt) for prompt in (self.model.source, self.target))
        return pair_evidence(PromptDenoisers(source, target), settings, self.sigmas, self.model.latent_shape, 0)

    def _learning_denoiser(self, steps: int) -> Denoiser:
        """Return the model under the target prompt at the guidance of learning, for so many steps from the code on."""
        source, target = (
            self.model.denoiser(prompt, cfg=defaults.LEARN_GUIDANCE) for prompt in (self.model.source, self.target)
        )
        if self.trace is None:
            return target
        return TracedDenoiser(target, retraced(source, self.trace, self.code, self.sigmas[:steps]))

    def finish(self, x: Tensor, step: int) -> Tensor:
        """Sample from a code at a step to pictures under the source prompt, [B, 3, side, side] in [0, 1]."""
        return self.model.decode(sample_euler(self.denoiser(), x, self.sigmas[step:]))


def starting_noise(model: EvaluatedModel, count: int, seed: int, sigmas: Tensor) -> Tensor:
    """Draw pure noise at sigmas[0], scaled as ComfyUI scales it for full denoising: [count, *latent_shape]."""
    noise = torch.randn(count, *model.latent_shape, generator=torch.Generator().manual_seed(seed)).to(model.device)
    return model.scaled(noise, sigmas[0])
