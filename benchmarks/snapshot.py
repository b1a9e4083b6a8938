"""What a node must leave as it found it: what is wired to it, and the state of the process, as plain values to compare.

A tensor counts by its bytes, its shape, its dtype and whether it asks for gradients; a MODEL by its weights, its
patches, its options and the hooks of its layers; other objects of the pack and of ComfyUI by what they hold.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# How deep objects are followed; deeper ones count by what they are.
MAX_DEPTH = 12
# What a MODEL's patcher keeps that is not its weights.
PATCHES = (
    *("patches", "object_patches", "model_options", "weight_wrapper_patches", "hook_patches", "injections", "wrappers"),
    *("callbacks", "attachments", "additional_models", "forced_hooks"),
)
# Notes that ComfyUI keeps while it samples, in the options of every MODEL that has sampled once.
NOTES = ("sample_sigmas", "sigmas")
FOLLOWED = ("singular_edit", "comfy_extras.nodes_custom_sampler")


def snapshot(wires: Any) -> dict[str, Any]:
    """Return what can be compared of everything that is wired, and of the process.

    Args:
        wires: Values as wires carry them, in containers.

    Returns:
        Plain values; a later snapshot is equal if nothing has changed.
    """
    return {"wires": seen(wires), "process": process_state()}


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Return the places where two snapshots differ."""
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [place for key in before for place in differences(before[key], after[key], f"{path}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [place for i in range(len(before)) for place in differences(before[i], after[i], f"{path}[{i}]")]
    return [] if before == after else [path.removeprefix(".")]


def process_state() -> dict[str, Any]:
    """Return the random numbers to come, and how torch computes."""
    import comfy.model_management

    management = comfy.model_management
    numpy_state = np.random.get_state()
    return {
        "torch RNG": seen(torch.get_rng_state()),
        "random": hash(random.getstate()),
        "numpy RNG": zlib.crc32(numpy_state[1].tobytes()) + int(numpy_state[2]),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": str(torch.get_default_dtype()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "training": getattr(management, "in_training", False),
        "cancelled": management.interrupt_processing,
    }


def seen(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """Return what can be compared of one value.

    Args:
        value: The value.
        depth: How deep it lies in others.
        done: The networks that were seen already, by their id; each is looked at once.
    """
    done = {} if done is None else done
    if isinstance(value, Tensor):
        plain = value.detach().cpu().reshape(-1).contiguous().view(torch.uint8)
        return [zlib.crc32(plain.numpy()), str(value.shape), str(value.dtype), value.requires_grad]
    if isinstance(value, Mapping):
        return {str(key): seen(one, depth + 1, done) for key, one in value.items() if key not in NOTES}
    if isinstance(value, list | tuple):
        return [seen(one, depth + 1, done) for one in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    if depth > MAX_DEPTH:
        return type(value).__name__
    if isinstance(value, nn.Module):
        if id(value) not in done:
            done[id(value)] = network_state(value)
        return done[id(value)]
    patcher = value if hasattr(value, "model_options") else getattr(value, "patcher", None)
    if patcher is not None:
        patches = {name: seen(getattr(patcher, name, None), depth + 1, done) for name in PATCHES}
        return {"is": id(value), **patches, "network": seen(patcher.model, depth + 1, done)}
    if type(value).__module__.startswith(FOLLOWED):
        return {name: seen(one, depth + 1, done) for name, one in vars(value).items()}
    return id(value)


def network_state(network: nn.Module) -> dict[str, Any]:
    """Return what can be compared of a network: its weights and buffers, and what hangs on its layers."""
    layers = {
        name: [
            layer.training,
            *(len(getattr(layer, hooks)) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")),
            *(len(getattr(layer, extra, ())) for extra in ("weight_function", "bias_function")),
            "forward" in vars(layer),
        ]
        for name, layer in network.named_modules()
    }
    weights = {name: seen(weight) for name, weight in network.named_parameters()}
    buffers = {name: seen(buffer) for name, buffer in network.named_buffers()}
    return {"weights": weights, "buffers": buffers, "layers": layers}
