"""What h-Space Direction Learn needs for method clip: the direction between two texts, and everything wired."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..backends.comfyui.clip import check_same_clip, text_direction
from ..core.errors import EditError


def text_of(clip: Any, clip_vision: Any, vae: Any, source_text: str, target_text: str) -> Tensor:
    """Return the direction between the texts.

    Args:
        clip: A CLIP with a text projection.
        clip_vision: The picture half of the same CLIP model.
        vae: The model's VAE.
        source_text: What the pictures are.
        target_text: What they should become.

    Returns:
        The direction, [E] in float32, on the CPU.

    Raises:
        EditError: Something that method clip needs is missing, or does not fit together.
    """
    needed = dict(vae=vae, clip_vision=clip_vision, clip=clip, source_text=source_text, target_text=target_text)
    missing = [name for name, value in needed.items() if not value]
    if missing:
        raise EditError(
            f"method clip lacks {', '.join(missing)}; wire a VAE, a CLIP Vision and a CLIP, and say both texts."
        )
    text = text_direction(clip, source_text, target_text)
    check_same_clip(clip_vision, text)
    return text
