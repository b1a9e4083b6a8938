"""Small random files of a user: an SD1.5 checkpoint, a LoRA and a ControlNet for it, which ComfyUI's loaders detect."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

# Widths by which the loader knows SD1.5; fewer levels and blocks than its own.
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 1),
    "transformer_depth": [0, 1],
    "transformer_depth_middle": 1,
    "context_dim": 768,
    "use_spatial_transformer": True,
    "num_heads": 8,
    "num_head_channels": -1,
    "legacy": False,
}
CLIP_L = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
SEED = 0


def filled(network: nn.Module, prefix: str, scale: float = 1.0) -> dict[str, Tensor]:
    """The state of a network in float16, random where it was not, as modest as the widths ask for."""
    generator = torch.Generator().manual_seed(SEED)
    state = {}
    for name, weight in network.state_dict().items():
        if not weight.is_floating_point():
            state[prefix + name] = weight
        elif weight.ndim > 1:
            # Drawn once and repeated: what is in so many weights does not matter here.
            drawn = torch.randn(min(weight.numel(), 2**20), generator=generator)
            drawn = drawn.repeat(-(-weight.numel() // len(drawn)))[: weight.numel()].reshape(weight.shape)
            state[prefix + name] = (scale * drawn / weight[0].numel() ** 0.5).half()
        else:
            value = 0.0 if name.endswith(("bias", "shift")) else 1.0  # of norms
            state[prefix + name] = torch.full(weight.shape, value).half()
    return state


def sd15(path: Path) -> None:
    """Write a checkpoint of U-Net, CLIP and VAE."""
    import comfy.clip_model
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
    from comfy.taesd.taesd import TAESD

    layers = comfy.ops.disable_weight_init
    with torch.device("meta"):
        unet = UNetModel(**UNET, out_channels=4, transformer_depth_output=[0, 0, 1, 1], operations=layers)
        text = comfy.clip_model.CLIPTextModel(CLIP_L, torch.float16, "meta", layers)
    vae = TAESD(latent_channels=4)
    state = filled(unet, "model.diffusion_model.", 0.7)
    state |= filled(text, "cond_stage_model.transformer.", 0.5)
    state |= filled(vae, "first_stage_model.")
    save_file(state, path)


def lora(path: Path) -> None:
    """Write a LoRA of the middle block's attention, which acts."""
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
    generator = torch.Generator().manual_seed(SEED)
    width, rank = UNET["model_channels"], 2
    state = {
        f"{name}.lora_up.weight": torch.randn(width, rank, generator=generator),
        f"{name}.lora_down.weight": torch.randn(rank, width, generator=generator),
        f"{name}.alpha": torch.tensor(float(rank)),
    }
    save_file(state, path)


def controlnet(path: Path) -> None:
    """Write a ControlNet, which acts: its last convolutions are not zero."""
    import comfy.cldm.cldm
    import comfy.ops

    with torch.device("meta"):
        network = comfy.cldm.cldm.ControlNet(
            **UNET, hint_channels=3, operations=comfy.ops.disable_weight_init, device="meta"
        )
    save_file(filled(network, "control_model."), path)
