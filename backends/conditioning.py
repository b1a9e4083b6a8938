"""What a prompt becomes for a diffusers network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.errors import EditError


class Conditioning(NamedTuple):
    """An encoded prompt, or several of one length.

    Attributes:
        embeds: What cross-attention or joint attention listens to, [1 or B, tokens, width].
        pooled: One vector for the whole prompt, [1 or B, width]; None for models that take none.
    """

    embeds: Tensor
    pooled: Tensor | None = None

    @classmethod
    def of(cls, context: Tensor | Conditioning) -> Conditioning:
        """Return an encoded prompt; a tensor alone is its embeds.

        Raises:
            EditError: The embeds are not [B, tokens, width].
        """
        prompt = cls(context) if isinstance(context, Tensor) else context
        if prompt.embeds.ndim != 3:
            raise EditError(
                f"a prompt is a tensor of shape {tuple(prompt.embeds.shape)}; embeddings [batch, tokens, width] are "
                "accepted."
            )
        return prompt

    def to(self, like: Tensor, dtype: torch.dtype) -> Conditioning:
        """Return it for a batch of states: on their device, in a dtype, with as many rows.

        Args:
            like: States, [B, ...].
            dtype: The network's.
        """
        rows = len(like)
        embeds = self.embeds.to(like.device, dtype).expand(rows, -1, -1)
        pooled = None if self.pooled is None else self.pooled.to(like.device, dtype).expand(rows, -1)
        return Conditioning(embeds, pooled)


def joined(parts: list[Conditioning]) -> Conditioning:
    """Return several encoded prompts as one batch, the first one's rows first."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.embeds for part in parts]), torch.cat(pooled) if pooled else None)
