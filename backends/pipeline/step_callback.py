"""Latent SVD in a plain ``pipe(...)`` call: a callback_on_step_end that edits the latents of one step.

Schedulers hold latents in different scales: Euler's as x0 + sigma*n, DDIM's and others' divided by sqrt(1 + sigma^2),
flow schedulers' as (1 - sigma)*x0 + sigma*n. An attribute lives at unit variance, so that the first two make no
difference to it; the third is brought to LATENT space and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.errors import EditError
from ...core.latent_svd.apply import apply_attribute
from ...core.latent_svd.attribute import SVDAttribute
from ...core.recipes.latent_svd import edited_step
from ...core.samplers import Schedule
from .flux_denoiser import PATCH, packed, unpacked
from .model import PipelineModel


@dataclass(frozen=True, eq=False)
class SVDCallback:
    """A ``callback_on_step_end``: the whole attribute, at the end of the step before the level it was learned at.

    Attributes:
        model: The pipeline.
        attribute: What is applied.
        strength: 0 changes nothing, 1 is the whole attribute, negative removes.
        size: Height and width of the picture in pixels; Flux's latents do not say theirs. None stands for a square.
    """

    model: PipelineModel
    attribute: SVDAttribute
    strength: float
    size: tuple[int, int] | None = None

    def __call__(self, pipe: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Edit the latents where it is their step; diffusers calls it at the end of each step.

        Args:
            pipe: The pipeline that samples.
            step: The step that ended; of image to image, counted from where it began.
            timestep: That step's timestep.
            tensors: The step's tensors, "latents" among them.

        Returns:
            The edited latents, at one step; nothing at the others.
        """
        scheduler = pipe.scheduler
        reached = _next_index(scheduler, timestep)
        levels = self._levels(scheduler)
        if self.strength == 0 or reached != self._due(scheduler, levels):
            return {}
        latents = tensors["latents"]
        # A corrector (UniPC) would take the step from the unedited latents once more.
        if getattr(scheduler, "last_sample", None) is not None:
            scheduler.last_sample = None
        return {"latents": self._edited(latents.float(), levels[reached]).to(latents.dtype)}

    def _levels(self, scheduler: Any) -> Tensor:
        """Return the noise level before each step, and 0 behind the last one, [n + 1]."""
        count = len(scheduler.timesteps)
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None:
            return torch.cat([sigmas[:count].float().cpu(), torch.zeros(1)])
        alphas = scheduler.alphas_cumprod.cpu().double()[scheduler.timesteps.long().cpu()]
        return torch.cat([((1 - alphas) / alphas).sqrt().float(), torch.zeros(1)])

    def _due(self, scheduler: Any, levels: Tensor) -> int | None:
        """Return the step before which the attribute is applied, the second one at the earliest; None for no step."""
        percent_to_sigma = self.model.schedule(2).percent_to_sigma
        step = edited_step(self.attribute, Schedule(levels, percent_to_sigma))
        if step is None:
            return None
        step = max(step, 1)
        # Of a scheduler that takes two evaluations a step, every second state is on the way.
        return step + step % 2 if getattr(scheduler, "order", 1) == 2 else step

    def _edited(self, latents: Tensor, sigma: Tensor) -> Tensor:
        """Return the edited latents, in whatever form the pipeline holds them."""
        is_packed = latents.ndim == 3
        x = unpacked(latents, self._latent_size(latents)) if is_packed else latents
        space = self.model.space
        edited = space.to_model(apply_attribute(space.to_latent(x, sigma), self.attribute, self.strength), sigma)
        return packed(edited) if is_packed else edited

    def _latent_size(self, tokens: Tensor) -> tuple[int, int]:
        """Return height and width of packed latents.

        Raises:
            EditError: The size was not given, and the picture is no square.
        """
        count = tokens.shape[1]
        if self.size is None:
            height = width = math.isqrt(count)
        else:
            height, width = (side // (PATCH * self.model.pixels_per_latent) for side in self.size)
        if height * width != count:
            raise EditError(
                f"the pipeline's latents are {count} tokens, which are no picture of size "
                f"{self.size or '(a square)'}; give callback the size, (height, width) in pixels, of the pipe call."
            )
        return PATCH * height, PATCH * width


def _next_index(scheduler: Any, timestep: Any) -> int:
    """Return the index of the step that follows, in the scheduler's whole schedule."""
    index = getattr(scheduler, "step_index", None)
    if index is not None:
        return int(index)
    here = (scheduler.timesteps == timestep).nonzero().flatten()
    return int(here[-1]) + 1
