"""Load the embedded model for use with diffusers: U-Net, text encoder, VAE and the judge."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..backends.diffusers import DiffusersDenoiser, normal_sigmas, percent_to_sigma
from .networks import AttributeClassifier, FaceVAE, TextEncoder, alphas_cumprod, unet
from .words import tokenize

WEIGHTS = Path(__file__).parent / "weights"


def read_weights(name: str) -> tuple[dict[str, Tensor], dict]:
    """float32 tensors of one weight file (stored in fp16) and its metadata."""
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items() if key != "format"}
        return {key: file.get_tensor(key).float() for key in file.keys()}, metadata


def _load(name: str, module: nn.Module) -> nn.Module:
    module.load_state_dict(read_weights(name)[0])
    return module.eval().requires_grad_(False)


@dataclass
class DemoModel:
    """Latents are in model space: VAE latents times ``latent_scale``, so that their variance is about one."""

    unet: nn.Module
    text: nn.Module
    vae: FaceVAE
    latent_scale: float
    device: torch.device

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        return alphas_cumprod()

    @cached_property
    def judge(self) -> AttributeClassifier:
        return _load("judge", AttributeClassifier()).to(self.device)

    def context(self, prompt: str) -> Tensor:
        """[1, 8, 64]"""
        return self.text(torch.tensor([tokenize(prompt)], device=self.device))

    def denoiser(
        self, prompt: str, negative: str = "", cfg: float = 1.0, edit_uncond: bool = False
    ) -> DiffusersDenoiser:
        return DiffusersDenoiser(
            self.unet,
            self.context(prompt),
            self.context(negative),
            cfg,
            alphas_cumprod=self.alphas_cumprod,
            edit_uncond=edit_uncond,
        )

    def sigmas(self, steps: int) -> Tensor:
        return normal_sigmas(self.alphas_cumprod, steps).to(self.device)

    def percent_to_sigma(self, percent: float) -> float:
        return percent_to_sigma(self.alphas_cumprod, percent)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """[B, 3, 64, 64] in [0, 1] to [B, 4, 16, 16]."""
        return self.vae.encode(pictures.to(self.device) * 2 - 1) * self.latent_scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 4, 16, 16] to [B, 3, 64, 64] in [0, 1]."""
        return (self.vae.decode(latents / self.latent_scale) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """How clearly the judge sees each attribute: [B, 4] in ATTRIBUTES order, positive where it does."""
        return self.judge(pictures.to(self.device))

    def judged(self, pictures: Tensor) -> Tensor:
        """Which attributes the judge sees: booleans [B, 4] in ATTRIBUTES order."""
        return self.logits(pictures) > 0


def load(device: str | torch.device | None = None) -> DemoModel:
    """The embedded model, in float32; on CUDA where there is one."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    vae = _load("vae", FaceVAE()).to(device)
    scale = read_weights("vae")[1]["latent_scale"]
    return DemoModel(_load("unet", unet()).to(device), _load("text", TextEncoder()).to(device), vae, scale, device)
