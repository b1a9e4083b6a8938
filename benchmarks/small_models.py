"""Small random models of the real families: their own classes, schedules and latent formats, without their weights.

Imported by half_precision.py, by compatibility.py and by the tests inside ComfyUI.
"""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

# Text width and pooled width.
CONTEXT = {
    "sd15": (64, 16),
    "sd2_v": (64, 16),
    "sdxl": (64, 1280),
    "sd3": (64, 32),
    "flux": (64, 32),
    "wan": (64, 16),
    "qwen_image": (64, 16),
}
FAMILIES = tuple(CONTEXT)
UNETS = ("sd15", "sd2_v", "sdxl")
VIDEO_FRAMES = 3

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "context_dim": 64,
    "use_spatial_transformer": True,
    "num_heads": 4,
    "num_head_channels": -1,
    "legacy": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "use_linear_in_transformer": False,
}
SD2 = {**UNET, "use_linear_in_transformer": True}
SDXL = {**SD2, "adm_in_channels": 2816, "num_classes": "sequential"}
SD3 = {
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "num_blocks": 4,
    "input_size": None,
    "adm_in_channels": 32,
    "qk_norm": None,
    "pos_embed_max_size": 64,
    "num_patches": 4096,
    "pos_embed_scaling_factor": None,
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 64, "out_features": 128}},
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 32,
    "context_in_dim": 64,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 4,
    "depth": 2,
    "depth_single_blocks": 1,
    "axes_dim": [4, 6, 6],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 16,
    "axes_dims_rope": (4, 6, 6),
}
WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 48,
    "ffn_dim": 96,
    "num_heads": 4,
    "num_layers": 1,
    "in_dim": 16,
    "out_dim": 16,
    "freq_dim": 32,
    "text_dim": 64,
    "text_len": 16,
    "patch_size": (1, 2, 2),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
    "window_size": (-1, -1),
}


def _known(family: str) -> tuple[type, dict[str, Any]]:
    """ComfyUI's class of this family, and the configuration of a small network."""
    import comfy.supported_models as known
    from comfy.ldm.flux.model import FluxParams

    newer = {"txt_ids_dims": []} if "txt_ids_dims" in FluxParams.__dataclass_fields__ else {}
    return {
        "sd15": (known.SD15, UNET),
        "sd2_v": (known.SD20, SD2),
        "sdxl": (known.SDXL, SDXL),
        "sd3": (known.SD3, SD3),
        "flux": (known.Flux, {**FLUX, **newer}),
        "wan": (known.WAN21_T2V, WAN),
        "qwen_image": (known.QwenImage, QWEN_IMAGE),
    }[family]


def patcher(model: Any) -> Any:
    """Return a BaseModel as a MODEL."""
    import comfy.model_management
    import comfy.model_patcher

    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def tiny(family: str, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Build a MODEL of a family with a small random network.

    Args:
        family: One of FAMILIES.
        seed: Seed of the weights, which are the same in every dtype but for rounding.
        dtype: Of the weights, and of what the network computes in.

    Returns:
        The MODEL.
    """
    import comfy.model_base

    known, settings = _known(family)
    config = type(known.__name__, (known,), {"unet_extra_config": {}})(dict(settings))
    # These two read their kind from the weights.
    kinds = {"sd2_v": comfy.model_base.ModelType.V_PREDICTION, "sdxl": comfy.model_base.ModelType.EPS}
    if family in kinds:

        def model_type(state_dict: dict[str, Any], prefix: str = "") -> Any:
            return kinds[family]

        config.model_type = model_type
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=torch.device("cpu"))
    model.diffusion_model.float()
    fill(model.diffusion_model, seed)
    model.diffusion_model.to(dtype)
    return patcher(model)


def fill(network: torch.nn.Module, seed: int) -> None:
    """Draw every weight; of the buffers too, because SD3's position table is allocated and left as it is."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in (*network.named_parameters(), *network.named_buffers()):
        drawn = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1:
            value = drawn * (0.5 / weight[0].numel() ** 0.5)
        else:
            value = drawn * 0.02
            if "norm" in name and name.endswith(("weight", "scale")):
                value = value + 1.0
        weight.requires_grad_(False).copy_(value)


def conditioning(family: str, seed: int) -> list:
    """Return a random CONDITIONING."""
    generator = torch.Generator().manual_seed(seed)
    text, pooled = CONTEXT[family]
    tokens = torch.randn(1, 8, text, generator=generator)
    return [[tokens, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def latent_channels(family: str) -> int:
    """Return the channels of a family's latents."""
    return 4 if family in UNETS else 16


def latent(family: str, size: tuple[int, int] = (12, 16), seed: int = 0) -> dict[str, Tensor]:
    """Return a LATENT of two pictures, of odd proportions. Video for video models, one frame for Qwen-Image."""
    generator = torch.Generator().manual_seed(seed)
    channels = latent_channels(family)
    frames = {"wan": (VIDEO_FRAMES,), "qwen_image": (1,)}.get(family, ())
    return {"samples": torch.randn(2, channels, *frames, *size, generator=generator)}


class LinearVAE:
    """Takes and gives pictures whose latent is their mean colours, in as many channels as the model wants."""

    def __init__(self, channels: int) -> None:
        self.mix = torch.linalg.qr(torch.randn(channels, 3, generator=torch.Generator().manual_seed(0)))[0]

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latent of an IMAGE."""
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8)
        return torch.einsum("cr,brhw->bchw", self.mix, 4 * small - 2)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the IMAGE of a latent."""
        small = (torch.einsum("cr,bchw->brhw", self.mix, latent) + 2) / 4
        return torch.nn.functional.interpolate(small, scale_factor=8).movedim(1, -1)


class FrameVAE(LinearVAE):
    """The same as a VAE of videos, which takes a batch for the frames of one, as Qwen-Image's does."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latent of an IMAGE, [1, C, B, h, w]."""
        return super().encode(pixels).movedim(0, 1)[None]

    def decode(self, latent: Tensor) -> Tensor:
        """Return the frames of a latent, [B, T, H, W, 3]."""
        frames = super().decode(latent.movedim(2, 1).flatten(0, 1))
        return frames.unflatten(0, (len(latent), latent.shape[2]))


class RandomClip:
    """Gives each text a random CONDITIONING of its own, the same one each time."""

    def __init__(self, family: str) -> None:
        self.family = family

    def tokenize(self, text: str) -> int:
        """Return a number of the text."""
        return zlib.crc32(text.encode())

    def encode_from_tokens_scheduled(self, tokens: int) -> list:
        """Return the CONDITIONING of a number."""
        return conditioning(self.family, tokens % 1000)
