"""Pipelines of a flow-matching transformer: SD3 and Flux."""

from __future__ import annotations

import math
from functools import partial

import torch

from ...core.denoiser import Denoiser
from ...core.layers import AUTO
from ...core.model_family import ModelFamily
from ...core.samplers import Schedule
from ..conditioning import Conditioning
from ..diffusers_transformer import TIMESTEPS, TransformerDenoiser, normal_sigmas, percent_to_sigma
from .flux_denoiser import PATCH, FluxDenoiser
from .model import PipelineModel
from .pictures import Sides

# ComfyUI's schedule of Flux knows so many times, where its shift is one of the picture's size.
FLUX_TIMESTEPS = 10000


class SD3Model(PipelineModel):
    """A pipeline of SD3's transformer. h is its image tokens after one block."""

    flow = True
    network_name = "transformer"

    def _recognised_family(self) -> ModelFamily:
        network = self.network
        patch = int(network.config.patch_size)
        return ModelFamily("SD3", "SD3", "flow", network.inner_dim, patch, blocks=len(network.transformer_blocks))

    def schedule(self, steps: int) -> Schedule:
        """Return ComfyUI's "normal" schedule at the scheduler's shift."""
        shift = float(self.pipe.scheduler.config.shift)
        sigmas = normal_sigmas(shift, steps).to(self.device)
        return Schedule(sigmas, partial(percent_to_sigma, shift))

    def denoiser(self, prompt: Conditioning, negative: Conditioning, guidance: float, layer: str = AUTO) -> Denoiser:
        """Return the transformer under a prompt."""
        network = self.network
        dtype = next(network.parameters()).dtype
        # Each keeps its own rows: one for all pictures, or one for each.
        prompt, negative = (
            one.to(torch.empty(len(one.embeds), device=self.device), dtype) for one in (prompt, negative)
        )
        return TransformerDenoiser(
            network,
            prompt.embeds,
            negative.embeds,
            guidance,
            pooled=prompt.pooled,
            negative_pooled=negative.pooled,
            layer=layer,
        )

    def _encoded(self, texts: list[str]) -> Conditioning:
        asked = dict(prompt_2=None, prompt_3=None, device=self.device, do_classifier_free_guidance=False)
        embeds, _, pooled, _ = self.pipe.encode_prompt(texts, **asked)
        return Conditioning(embeds, pooled)

    @property
    def sides(self) -> Sides:
        """The sizes of pictures that it takes."""
        config = self.network.config
        pixels = self.pixels_per_latent
        token = config.patch_size * pixels
        return Sides(config.sample_size * pixels, token, config.pos_embed_max_size * token)

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return int(self.network.config.in_channels)


class FluxModel(PipelineModel):
    """A pipeline of Flux's transformer. h is its image tokens after one of the blocks that keep them apart."""

    flow = True
    network_name = "transformer"

    def _recognised_family(self) -> ModelFamily:
        network = self.network
        named = ("Flux", "Flux", "flux") if network.config.guidance_embeds else ("FluxSchnell", "Flux", "flow")
        return ModelFamily(*named, network.inner_dim, PATCH, blocks=len(network.transformer_blocks))

    def schedule(self, steps: int) -> Schedule:
        """Return ComfyUI's "normal" schedule, at the shift that belongs to the largest picture."""
        config = self.pipe.scheduler.config
        dynamic = config.get("use_dynamic_shifting", False)
        shift = math.exp(config.max_shift) if dynamic else float(config.shift)
        sigmas = normal_sigmas(shift, steps, FLUX_TIMESTEPS if dynamic else TIMESTEPS)
        return Schedule(sigmas.to(self.device), partial(percent_to_sigma, shift))

    def denoiser(self, prompt: Conditioning, negative: Conditioning, guidance: float, layer: str = AUTO) -> Denoiser:
        """Return the transformer under a prompt."""
        return FluxDenoiser(self.network, prompt, negative, guidance, layer)

    def _encoded(self, texts: list[str]) -> Conditioning:
        embeds, pooled, _ = self.pipe.encode_prompt(texts, device=self.device)
        return Conditioning(embeds, pooled)

    @property
    def sides(self) -> Sides:
        """The sizes of pictures that it takes."""
        pixels = self.pixels_per_latent
        return Sides(int(self.pipe.default_sample_size) * pixels, PATCH * pixels)

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return int(self.network.config.in_channels) // PATCH**2
