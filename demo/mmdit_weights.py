"""The weights of diffusers' SD3Transformer2DModel under the names of ComfyUI's class for the SD3 family, MMDiT."""

from __future__ import annotations

import re

import torch
from torch import Tensor

# Names in diffusers and in ComfyUI, outside the blocks.
OUTSIDE = {
    "context_embedder": "context_embedder",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
    "proj_out": "final_layer.linear",
}
# Inside a block.
INSIDE = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
# Queries, keys and values are three layers in diffusers and one in ComfyUI, in this order.
JOINED = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
BLOCK = re.compile(r"transformer_blocks\.(\d+)\.(.+)")


def mmdit_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of a transformer for ComfyUI.

    Args:
        weights: The state of diffusers' SD3Transformer2DModel (without dual attention).

    Returns:
        The state of ComfyUI's MMDiT, in which queries, keys and values are joined.
    """
    last = max(int(match[1]) for match in map(BLOCK.match, weights) if match)
    renamed = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, weight in weights.items():
        if name == "pos_embed.pos_embed":
            renamed["pos_embed"] = weight
            continue
        layer, _, kind = name.rpartition(".")
        match = BLOCK.match(layer)
        if match is None:
            renamed[f"{OUTSIDE[layer]}.{kind}"] = _shift_first(weight) if layer == "norm_out.linear" else weight
            continue
        prefix = f"joint_blocks.{match[1]}."
        inside = match[2]
        if inside in INSIDE:
            # The last block says nothing of the text after it, so that its norm there is a final one.
            final = inside == "norm1_context.linear" and int(match[1]) == last
            renamed[f"{prefix}{INSIDE[inside]}.{kind}"] = _shift_first(weight) if final else weight
        else:
            whole = next(whole for whole, parts in JOINED.items() if inside in parts)
            joined.setdefault(f"{prefix}{whole}.{kind}", {})[inside] = weight
    for name, parts in joined.items():
        order = next(order for whole, order in JOINED.items() if whole in name)
        renamed[name] = torch.cat([parts[part] for part in order])
    return renamed


def _shift_first(weight: Tensor) -> Tensor:
    """Swap the halves of a layer that makes scale and shift: diffusers' final norms put the scale first."""
    scale, shift = weight.chunk(2)
    return torch.cat([shift, scale])
