"""The small networks of the demo: a VAE, a text encoder, an attribute classifier, and two diffusion networks.

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

HEAD_WIDTH = 64  # ComfyUI's own SD3 class has heads of no other width, and a width of HEAD_WIDTH * HEADS
HEADS = 3
BLOCKS = 6
PATCH = 4  # latent pixels along a side of one token
TOKENS_SIDE = 8  # tokens along a side of a picture
# diffusers.SD3Transformer2DModel.
TRANSFORMER_CONFIG = dict(
    sample_size=PATCH * TOKENS_SIDE,
    patch_size=PATCH,
    in_channels=LATENT_CHANNELS,
    out_channels=LATENT_CHANNELS,
    num_layers=BLOCKS,
    attention_head_dim=HEAD_WIDTH,
    num_attention_heads=HEADS,
    joint_attention_dim=CONTEXT_WIDTH,
    caption_projection_dim=HEADS * HEAD_WIDTH,
    pooled_projection_dim=CONTEXT_WIDTH,
    pos_embed_max_size=TOKENS_SIDE,
    qk_norm="rms_norm",
)
# By which ComfyUI's schedules of the transformer are shifted towards noise; SD3's own.
FLOW_SHIFT = 3.0


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


def transformer() -> nn.Module:
    """Return a fresh transformer of the SD3 family; diffusers is imported here, on use.

    Its blocks begin as the identity and its answer as zero (adaLN-Zero, Peebles and Xie, arXiv 2212.09748), which
    diffusers leaves to who trains.
    """
    from diffusers import SD3Transformer2DModel

    network = SD3Transformer2DModel(**TRANSFORMER_CONFIG)
    for name, module in network.named_modules():
        if name.endswith(("norm1.linear", "norm1_context.linear", "norm_out.linear")) or name == "proj_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def position_table(side: int = TOKENS_SIDE) -> Tensor:
    """Return the sines and cosines that tell tokens where they are, as diffusers' SD3Transformer2DModel has them.

    Neighbours are as far apart, and the middle is the same, in a table of every size: pictures are cut out around the
    middle.

    Args:
        side: Tokens along a side of the table.

    Returns:
        [1, side**2, HEADS * HEAD_WIDTH], row by row.
    """
    waves = HEADS * HEAD_WIDTH // 4
    places = torch.arange(side, dtype=torch.float64) - (side - TOKENS_SIDE) / 2
    angles = places[:, None] * 10000 ** (-torch.arange(waves, dtype=torch.float64) / waves)
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    # The first half of the channels says the column, the second half the row.
    columns = axis[None].expand(side, -1, -1)
    rows = axis[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)[None].float()


def alphas_cumprod() -> Tensor:
    """Return SD 1.x's noise schedule ("scaled linear"), which ComfyUI assumes for eps models: [1000], float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)
