"""U-Nets of full size with random weights, from their public configurations. Imported by full_size.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Channels of the bottleneck, latent pixels for each of its places, and text and pooled width.
CHANNELS = 1280
FACTOR = {"sd15": 8, "sdxl": 4}
CONTEXT = {"sd15": (768, 768), "sdxl": (2048, 1280)}
TOKENS = 77

COMMON: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "use_spatial_transformer": True,
    "legacy": False,
    "use_temporal_resblock": False,
}
# What ComfyUI detects from a checkpoint, beside the unet_config and unet_extra_config of its own classes.
DETECTED: dict[str, dict[str, Any]] = {
    "sd15": {
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    },
    "sdxl": {
        "num_res_blocks": [2, 2, 2],
        "channel_mult": [1, 2, 4],
        "transformer_depth_middle": 10,
        "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        "num_classes": "sequential",
        "num_head_channels": 64,
    },
}


def comfyui_model(network: str, dtype: torch.dtype) -> Any:
    """Build a MODEL with ComfyUI's own classes.

    Args:
        network: "sd15" or "sdxl".
        dtype: Of its weights, and of what it computes in.

    Returns:
        The MODEL.
    """
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    known = {"sd15": comfy.supported_models.SD15, "sdxl": comfy.supported_models.SDXL}[network]
    config = known({**COMMON, **known.unet_config, **DETECTED[network]})
    config.set_inference_dtype(dtype, None)
    model = config.get_model({}, "", device=torch.device("cpu")).to(dtype)
    fill(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=torch.device("cpu")
    )


def diffusers_unet() -> torch.nn.Module:
    """Build SD 1.5's U-Net with diffusers' class, in float32."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=CONTEXT["sd15"][0],
        attention_head_dim=8,
    )
    fill(unet)
    return unet.eval()


def fill(network: torch.nn.Module) -> None:
    """Draw every weight so that states neither grow nor vanish."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        weight.requires_grad_(False)
        if weight.ndim > 1:
            weight.normal_(0, 0.5 / weight[0].numel() ** 0.5, generator=generator)
        else:
            weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


def conditioning(network: str, seed: int) -> list:
    """Draw a random CONDITIONING."""
    generator = torch.Generator().manual_seed(seed)
    text, pooled = CONTEXT[network]
    tokens = torch.randn(1, TOKENS, text, generator=generator)
    return [[tokens, {"pooled_output": torch.randn(1, pooled, generator=generator)}]]


def sd_alphas() -> Tensor:
    """Return the noise schedule of SD 1.5 and SDXL, [1000] in float64."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)
