"""Where a ComfyUI U-Net's bottleneck is read and edited: an output_block_patch before the first decoder block.

This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.denoiser import HEdit


class BottleneckPatch:
    """An output_block_patch that edits the middle block's output, which is what ("output", 0) receives as h.

    Args:
        h_edit: Called with the rows that are to be edited.
        edit_uncond: Whether the rows of the negative prompt are edited too.
        grad: Whether gradients flow from the bottleneck on.

    Attributes:
        fired: Whether the network has reached its bottleneck.
    """

    def __init__(self, h_edit: HEdit, edit_uncond: bool, grad: bool) -> None:
        self.h_edit = h_edit
        self.edit_uncond = edit_uncond
        self.grad = grad
        self.fired = False

    def __call__(
        self, h: Tensor, hsp: Tensor | None, transformer_options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Edit h [R, Ch, h, w] before the first decoder block; hand on everything else."""
        if not before_decoder(transformer_options):
            return h, hsp
        self.fired = True
        torch.set_grad_enabled(self.grad)
        kinds = transformer_options["cond_or_uncond"]
        chunks = list(h.detach().chunk(len(kinds)))
        chosen = edited_chunks(kinds, self.edit_uncond)
        if chosen:
            rows = torch.cat([chunks[i] for i in chosen])
            edited = self.h_edit(rows).to(h.dtype).chunk(len(chosen))
            for i, part in zip(chosen, edited, strict=True):
                chunks[i] = part
        return torch.cat(chunks), hsp


def before_decoder(transformer_options: dict[str, Any]) -> bool:
    """Return whether a patch is called at the place where h is the bottleneck."""
    return tuple(transformer_options.get("block", ())) == ("output", 0)


def edited_chunks(kinds: Sequence[int], edit_uncond: bool) -> list[int]:
    """Choose the chunks of a batch that are edited.

    Args:
        kinds: ComfyUI's cond_or_uncond: conditional (0) and unconditional (1) may share one batch, in any order and
            number of chunks.
        edit_uncond: Whether all chunks are edited.

    Returns:
        Their numbers, ascending.
    """
    return [i for i, kind in enumerate(kinds) if edit_uncond or kind == 0]


def with_first_output_patch(model_options: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Copy model_options with one more output_block_patch, before any other.

    FreeU and its kind act on the same block.

    Args:
        model_options: ComfyUI's; left as they are.
        patch: The output_block_patch.

    Returns:
        The copy.
    """
    transformer = model_options.get("transformer_options", {}).copy()
    patches = transformer.get("patches", {}).copy()
    patches["output_block_patch"] = [patch, *patches.get("output_block_patch", [])]
    return {**model_options, "transformer_options": {**transformer, "patches": patches}}
