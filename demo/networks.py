"""The small networks of the demo: a VAE, a text encoder, an attribute classifier and the U-Net's configuration.

``ops`` lets ComfyUI pass its own casting layers where a class runs inside it; torch.nn is the default.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .faces import ATTRIBUTES
from .words import CONTEXT_LENGTH, TOKENS

LATENT_CHANNELS = 4
DOWNSCALE = 4
CONTEXT_WIDTH = 64

# diffusers.UNet2DConditionModel. Widths are integer multiples of the first and divide by 32 so that
# ComfyUI's own U-Net class takes the same weights; attention_head_dim counts heads in this family.
UNET_CONFIG = dict(
    sample_size=16,
    in_channels=LATENT_CHANNELS,
    out_channels=LATENT_CHANNELS,
    block_out_channels=(64, 128, 128),
    layers_per_block=1,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    cross_attention_dim=CONTEXT_WIDTH,
    attention_head_dim=4,
    norm_num_groups=32,
)


class _Block(nn.Module):
    """A residual block of two convolutions, which keeps the width."""

    def __init__(self, width: int, ops: Any) -> None:
        super().__init__()
        self.norm = ops.GroupNorm(8, width)
        self.conv_1 = ops.Conv2d(width, width, 3, padding=1)
        self.conv_2 = ops.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_1(F.silu(self.norm(x)))
        return x + self.conv_2(F.silu(h))


class FaceVAE(nn.Module):
    """A VAE of pictures [B, 3, H, W] in [-1, 1] and latents [B, 4, H/4, W/4].

    Latents are unscaled, which is ComfyUI's LATENT space; the scale to model space stands in the weights' metadata.

    Args:
        width: Channels of the hidden layers.
        ops: Where layers come from.
    """

    def __init__(self, width: int = 64, ops: Any = nn) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(DOWNSCALE),
            ops.Conv2d(3 * DOWNSCALE**2, width, 3, padding=1),
            _Block(width, ops),
            _Block(width, ops),
            ops.Conv2d(width, 2 * LATENT_CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            ops.Conv2d(LATENT_CHANNELS, width, 3, padding=1),
            _Block(width, ops),
            _Block(width, ops),
            _Block(width, ops),
            ops.Conv2d(width, 3 * DOWNSCALE**2, 3, padding=1),
            nn.PixelShuffle(DOWNSCALE),
        )

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent, each [B, 4, H/4, W/4]."""
        mean, log_variance = self.encoder(pictures).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the latent's mean: an editor needs the same latent for the same picture."""
        return self.moments(pictures)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures [B, 3, H, W], near [-1, 1] but not clamped."""
        return self.decoder(latents)


class TextEncoder(nn.Module):
    """An embedding of each word. There are no positions, so word order cannot matter.

    Args:
        ops: Where layers come from.
    """

    def __init__(self, ops: Any = nn) -> None:
        super().__init__()
        self.embedding = ops.Embedding(len(TOKENS), CONTEXT_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens [B, 8] as context [B, 8, 64]."""
        assert tokens.shape[-1] == CONTEXT_LENGTH
        return self.embedding(tokens)


class AttributeClassifier(nn.Module):
    """The judge of edits: which attributes a picture shows. It is never part of a loss.

    Args:
        width: Channels of the first layer.
        ops: Where layers come from.
    """

    def __init__(self, width: int = 32, ops: Any = nn) -> None:
        super().__init__()
        layers = []
        channels = 3
        for out in (width, 2 * width, 2 * width, 4 * width):
            layers += [ops.Conv2d(channels, out, 3, padding=1), ops.GroupNorm(8, out), nn.SiLU(), nn.MaxPool2d(2)]
            channels = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), ops.Linear(channels * 16, 64), nn.SiLU(), ops.Linear(64, len(ATTRIBUTES))
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits [B, 4] in ATTRIBUTES order of pictures [B, 3, 64, 64] in [0, 1]."""
        return self.head(self.features(pictures * 2 - 1))


# Shape of one picture's bottleneck, (Ch, h, w).
BOTTLENECK = (128, 4, 4)


def unet() -> nn.Module:
    """Return a fresh U-Net of the SD 1.x family; diffusers is imported here, on use."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET_CONFIG)


def alphas_cumprod() -> Tensor:
    """Return SD 1.x's noise schedule ("scaled linear"), which ComfyUI assumes for eps models: [1000], float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)
