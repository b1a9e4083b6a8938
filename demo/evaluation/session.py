"""session."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ...core import (
    InversionReport,
    fixed_point_inversion,
    sample_euler,
    sample_prompt_pair,
)
from ...core.recipes.defaults import BRANCH_STEPS, EDIT_GUIDANCE, LEARN_GUIDANCE, STEPS
from ..faces import Faces, render
from ..loader import DemoModel
from ..words import caption

SOURCE = caption([])


@dataclass
class Session:
    """Held-out pictures without one attribute, or all with it (``worn``), inverted. ``latents``, ``code``: [B, 4, 16, 16], model space."""

    model: DemoModel
    faces: Faces
    attribute: str
    cfg: float = EDIT_GUIDANCE
    steps: int = STEPS
    has_attribute: bool = False
    codes: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.faces = self.faces.with_attributes(**{self.attribute: self.has_attribute})
        self.pictures = render(self.faces)
        self.sigmas = self.model.sigmas(self.steps)
        self.target = caption([self.attribute])

    def denoiser(self, prompt: str = SOURCE):
        return self.model.denoiser(prompt, cfg=self.cfg)

    @cached_property
    def latents(self) -> Tensor:
        return self.model.encode(self.pictures)

    @cached_property
    def inversion(self) -> tuple[Tensor, InversionReport]:
        return fixed_point_inversion(self.denoiser(), self.latents, self.sigmas, tolerance=1e-3)

    @property
    def code(self) -> Tensor:
        return self.inversion[0]

    def to_step(self, prompt: str, step: int, partings: tuple[int, ...] = BRANCH_STEPS, delta: int = 0) -> Tensor:
        """The code carried down to a step, under the source prompt, or as the target of its own pair with ``prompt``, ``delta`` steps further. Kept."""
        key = (prompt, step) if prompt == SOURCE else (prompt, step, partings, delta)
        if key not in self.codes:
            if prompt == SOURCE:
                self.codes[key] = sample_euler(self.denoiser(), self.code, self.sigmas[: step + 1])
            else:
                towards = self.model.denoiser(prompt, cfg=LEARN_GUIDANCE)
                pair = sample_prompt_pair(self.denoiser(), towards, self.code, self.sigmas, step, partings, delta)
                self.codes |= {(SOURCE, step): pair.source, key: pair.target}
        return self.codes[key]

    def finish(self, x: Tensor, step: int) -> Tensor:
        """From a code at a step to pictures, under the source prompt."""
        return self.model.decode(sample_euler(self.denoiser(), x, self.sigmas[step:]))


def starting_noise(model: DemoModel, count: int, seed: int, sigmas: Tensor) -> Tensor:
    """Pure noise at sigmas[0], scaled as ComfyUI scales it for full denoising: [count, 4, 16, 16]."""
    noise = torch.randn(count, 4, 16, 16, generator=torch.Generator().manual_seed(seed)).to(model.device)
    return noise * torch.sqrt(1 + sigmas[0] ** 2)
