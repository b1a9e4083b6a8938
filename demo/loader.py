"""Load the embedded model for use with diffusers: U-Net, text encoder, VAE and the judge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..backends.diffusers import DiffusersDenoiser, normal_sigmas, percent_to_sigma
from .networks import AttributeClassifier, FaceVAE, TextEncoder, alphas_cumprod, unet
from .words import tokenize

WEIGHTS = Path(__file__).parent / "weights"

Network = TypeVar("Network", bound=nn.Module)


def read_weights(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read one weight file.

    Args:
        name: The file's name without its ending.

    Returns:
        Its tensors, in float32 (they are stored in fp16), and its metadata.
    """
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items() if key != "format"}
        names = file.keys()
        return {key: file.get_tensor(key).float() for key in names}, metadata


def _load(name: str, module: Network) -> Network:
    """Fill a module with the weights of that name, and freeze it."""
    module.load_state_dict(read_weights(name)[0])
    return module.eval().requires_grad_(False)


@dataclass
class DemoModel:
    """The embedded model, with what its latents and noise levels mean.

    Latents are in model space: the VAE's latents times ``latent_scale``, so that their variance is about one.

    Attributes:
        unet: diffusers' U-Net.
        text: The text encoder.
        vae: The VAE.
        latent_scale: From the VAE's latents to model space.
        device: Where the networks are.
    """

    unet: nn.Module
    text: nn.Module
    vae: FaceVAE
    latent_scale: float
    device: torch.device

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The noise schedule, [1000] in float64."""
        return alphas_cumprod()

    @cached_property
    def judge(self) -> AttributeClassifier:
        """The attribute classifier, loaded on first use."""
        return _load("judge", AttributeClassifier()).to(self.device)

    def context(self, prompt: str) -> Tensor:
        """Embed a prompt, [1, 8, 64]."""
        return self.text(torch.tensor([tokenize(prompt)], device=self.device))

    def denoiser(
        self, prompt: str, negative: str = "", cfg: float = 1.0, edit_uncond: bool = False
    ) -> DiffusersDenoiser:
        """Return the model under two prompts as a denoiser.

        Args:
            prompt: The prompt.
            negative: The negative prompt.
            cfg: Guidance.
            edit_uncond: Whether an edit of the bottleneck gets the rows of the negative prompt too.

        Returns:
            The denoiser.
        """
        return DiffusersDenoiser(
            self.unet,
            self.context(prompt),
            self.context(negative),
            cfg,
            alphas_cumprod=self.alphas_cumprod,
            edit_uncond=edit_uncond,
        )

    def sigmas(self, steps: int) -> Tensor:
        """Return ComfyUI's "normal" schedule, descending to 0, [steps + 1]."""
        return normal_sigmas(self.alphas_cumprod, steps).to(self.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a share of the way through sampling."""
        return percent_to_sigma(self.alphas_cumprod, percent)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures [B, 3, 64, 64] in [0, 1] as latents [B, 4, 16, 16] in model space."""
        return self.vae.encode(pictures.to(self.device) * 2 - 1) * self.latent_scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, 4, 16, 16] in model space as pictures [B, 3, 64, 64] in [0, 1]."""
        return (self.vae.decode(latents / self.latent_scale) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """Return how clearly the judge sees each attribute: [B, 4] in ATTRIBUTES order, positive where it does."""
        return self.judge(pictures.to(self.device))

    def judged(self, pictures: Tensor) -> Tensor:
        """Return which attributes the judge sees: booleans [B, 4] in ATTRIBUTES order."""
        return self.logits(pictures) > 0


def load(device: str | torch.device | None = None) -> DemoModel:
    """Load the embedded model, in float32.

    Args:
        device: Where to; None means CUDA where there is one, else the CPU.

    Returns:
        The model, frozen.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    vae = _load("vae", FaceVAE()).to(device)
    return DemoModel(
        unet=_load("unet", unet()).to(device),
        text=_load("text", TextEncoder()).to(device),
        vae=vae,
        latent_scale=read_weights("vae")[1]["latent_scale"],
        device=device,
    )
