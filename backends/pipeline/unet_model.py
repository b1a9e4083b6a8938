"""Pipelines of a U-Net: SD 1.x, SD 2.x (eps and v) and SDXL."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.errors import EditError
from ...core.layers import AUTO
from ...core.model_family import ModelFamily
from ...core.samplers import Schedule
from ..conditioning import Conditioning
from ..diffusers import EPS, V_PREDICTION, DiffusersDenoiser, normal_sigmas, percent_to_sigma
from .model import PipelineModel
from .pictures import Sides

PREDICTIONS = {"epsilon": EPS, "v_prediction": V_PREDICTION}
# A schedule that ends in pure noise has an infinite sigma there; ComfyUI takes this alpha, which is sigma 4518.
LAST_ALPHA = 4.8973451890853435e-08


class UNetModel(PipelineModel):
    """A pipeline of a U-Net.

    Raises:
        EditError: Its network is conditioned on more than text, or its scheduler is of another kind of model.
    """

    flow = False
    network_name = "unet"

    def __init__(self, pipe: Any, family: ModelFamily | None = None) -> None:
        _check_network(pipe)
        scheduler = pipe.scheduler.config
        prediction = scheduler.get("prediction_type", "epsilon")
        if prediction not in PREDICTIONS or getattr(pipe.scheduler, "betas", None) is None:
            raise EditError(
                f"the pipeline's scheduler is {type(pipe.scheduler).__name__} with prediction_type '{prediction}'; "
                f"for a U-Net, schedulers with betas and {' or '.join(PREDICTIONS)} are accepted."
            )
        self.prediction = PREDICTIONS[prediction]
        # Read once: a scheduler that is swapped in later samples the pipeline's own calls, not the model's training.
        self.alphas_cumprod = alphas_cumprod_of(pipe.scheduler)
        super().__init__(pipe, family)

    @property
    def is_sdxl(self) -> bool:
        """Whether the network takes SDXL's added conditioning."""
        return self.network.config.get("addition_embed_type") == "text_time"

    @property
    def place_size(self) -> int:
        """Latent pixels along a side of a place of the bottleneck."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    def _recognised_family(self) -> ModelFamily:
        config = self.network.config
        width = config.cross_attention_dim
        if self.is_sdxl:
            model_class, latent_format = "SDXL", "SDXL"
        else:
            model_class, latent_format = "SD20" if config.get("use_linear_projection") else "SD15", "SD15"
        return ModelFamily(
            model_class=model_class,
            latent_format=latent_format,
            prediction=self.prediction,
            bottleneck_channels=int(config.block_out_channels[-1]),
            place_size=self.place_size,
            text_width=int(width if isinstance(width, int) else width[0]),
        )

    def schedule(self, steps: int) -> Schedule:
        """Return ComfyUI's "normal" schedule of the scheduler's betas."""
        alphas = self.alphas_cumprod
        return Schedule(normal_sigmas(alphas, steps).to(self.device), partial(percent_to_sigma, alphas))

    def denoiser(self, prompt: Conditioning, negative: Conditioning, guidance: float, layer: str = AUTO) -> Denoiser:
        """Return the U-Net under a prompt; it has one layer."""
        return DiffusersDenoiser(
            self.network,
            prompt,
            negative,
            guidance,
            alphas_cumprod=self.alphas_cumprod,
            prediction=self.prediction,
            pixels_per_latent=self.pixels_per_latent,
        )

    def _encoded(self, texts: list[str]) -> Conditioning:
        asked = dict(device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False)
        encoded = self.pipe.encode_prompt(texts, **asked)
        return Conditioning(encoded[0], encoded[2] if self.is_sdxl else None)

    @property
    def sides(self) -> Sides:
        """The sizes of pictures that it takes."""
        pixels = self.pixels_per_latent
        side = self.network.config.sample_size
        side = side if isinstance(side, int) else max(side or [64])
        return Sides(side * pixels, pixels * self.place_size)

    @property
    def latent_channels(self) -> int:
        """Channels of its latents."""
        return int(self.network.config.in_channels)


def alphas_cumprod_of(scheduler: Any) -> Tensor:
    """Return the noise schedule of a scheduler, [T] in float64.

    Args:
        scheduler: A scheduler with betas. Its own alphas_cumprod is in float32, which loses digits of 1 - a.
    """
    alphas = torch.cumprod(1 - scheduler.betas.cpu().double(), dim=0)
    return alphas.clamp(min=LAST_ALPHA)


def _check_network(pipe: Any) -> None:
    """Raise an EditError for a U-Net that asks for more than a text."""
    config = pipe.unet.config
    asks = []
    if config.in_channels != config.out_channels:
        asks.append(f"{config.in_channels} input channels, {config.out_channels} of them of the latent")
    if config.get("addition_embed_type") not in (None, "text_time") or config.get("class_embed_type"):
        asks.append("class or image embeddings")
    if config.get("encoder_hid_dim_type") == "ip_image_proj":
        asks.append("pictures of an IP-Adapter")
    if pipe.config.get("requires_aesthetics_score"):
        asks.append("aesthetic scores (a refiner)")
    if asks:
        raise EditError(
            f"the pipeline's U-Net takes {' and '.join(asks)}; a U-Net that is conditioned on a text alone is accepted."
        )
