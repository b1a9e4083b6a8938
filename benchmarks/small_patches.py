"""A random LoRA and a random ControlNet of a small model, which act. Imported by compatibility.py and by the tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lora(model: Any, seed: int = 0) -> dict[str, Tensor]:
    """Return a random LoRA of rank 2 on the attention layers of a MODEL, in the common key format."""
    import comfy.lora

    targets = comfy.lora.model_lora_keys_unet(model.model, {})
    layers = model.model.state_dict()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, target in targets.items():
        if not key.startswith("lora_unet_") or "to_v" not in key:
            continue
        rows, columns = layers[target].shape[:2]
        state[f"{key}.lora_up.weight"] = 0.3 * torch.randn(rows, 2, generator=generator)
        state[f"{key}.lora_down.weight"] = 0.3 * torch.randn(2, columns, generator=generator)
        state[f"{key}.alpha"] = torch.tensor(2.0)
    assert state
    return state


def controlnet(model: Any) -> Any:
    """Return a small random ControlNet of a U-Net's shape; its zero convolutions are given values so that it acts."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    not_its = ("out_channels", "transformer_depth_output", "use_temporal_attention", "use_temporal_resblock")
    unet = model.model.model_config.unet_config
    config = {key: value for key, value in unet.items() if key not in not_its}
    torch.manual_seed(0)
    network = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, operations=comfy.ops.disable_weight_init, device="cpu"
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"), manual_cast_dtype=torch.float32)
