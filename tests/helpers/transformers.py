"""A small random transformer of the SD3 family behind diffusers and behind ComfyUI: the same weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .families import SD3, conditioning, fill, tiny

WIDTH = 64 * SD3["depth"]


def diffusers_sd3(seed: int = 0, blocks: int = SD3["num_blocks"]) -> nn.Module:
    """A small random transformer, frozen, of the configuration that helpers.families has for ComfyUI."""
    from diffusers import SD3Transformer2DModel

    network = SD3Transformer2DModel(
        sample_size=32,
        patch_size=SD3["patch_size"],
        in_channels=SD3["in_channels"],
        out_channels=SD3["out_channels"],
        num_layers=blocks,
        attention_head_dim=64,
        num_attention_heads=SD3["depth"],
        joint_attention_dim=SD3["context_embedder_config"]["params"]["in_features"],
        caption_projection_dim=WIDTH,
        pooled_projection_dim=SD3["adm_in_channels"],
        pos_embed_max_size=SD3["pos_embed_max_size"],
    )
    fill(network, seed)
    return network.eval()


def comfyui_sd3(network: nn.Module):
    """A MODEL of ComfyUI's own class with the weights of a diffusers transformer."""
    from singular_edit.demo.mmdit_weights import mmdit_weights

    model = tiny("sd3")
    model.model.diffusion_model.load_state_dict(mmdit_weights(network.state_dict()))
    return model


class Prompt(NamedTuple):
    """What a transformer is told: tokens [1, n, width] and their pooled embedding [1, width]."""

    context: Tensor
    pooled: Tensor

    @classmethod
    def of(cls, seed: int) -> Prompt:
        """The prompt of conditioning("sd3", seed)."""
        [[context, more]] = conditioning("sd3", seed)
        return cls(context, more["pooled_output"])


def sd3_denoiser(network: nn.Module, cfg: float = 1.0, *, prompt: int = 1, **options):
    """The transformer under prompt 1 (or another), guided away from prompt 2."""
    from singular_edit.backends.diffusers_transformer import TransformerDenoiser

    positive = Prompt.of(prompt)
    negative = Prompt.of(2)
    return TransformerDenoiser(
        network,
        positive.context,
        negative.context,
        cfg,
        pooled=positive.pooled,
        negative_pooled=negative.pooled,
        **options,
    )


def state(size: tuple[int, int] = (12, 16), seed: int = 0, count: int = 2) -> Tensor:
    """Random latents of the size."""
    return torch.randn((count, SD3["in_channels"], *size), generator=torch.Generator().manual_seed(seed))
