"""A random LoRA and a random ControlNet of a graph's model."""

from __future__ import annotations

import small_patches
from torch import Tensor


def lora(graph) -> dict[str, Tensor]:
    return small_patches.lora(graph.model)


def controlnet(graph):
    return small_patches.controlnet(graph.model)
