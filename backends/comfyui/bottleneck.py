"""Where a ComfyUI U-Net's bottleneck is read and edited: an output_block_patch before the first decoder block.

This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .h_patch import HPatch


class BottleneckPatch(HPatch):
    """An output_block_patch that edits the middle block's output, which is what ("output", 0) receives as h."""

    def __call__(
        self, h: Tensor, hsp: Tensor | None, transformer_options: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Edit h [R, Ch, h, w] before the first decoder block; hand on everything else."""
        if not before_decoder(transformer_options):
            return h, hsp
        return self.passed_on(h, transformer_options["cond_or_uncond"]), hsp

    def options(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Copy model_options so that a prediction with them is the edited one."""
        return with_first_output_patch(model_options, self)


def before_decoder(transformer_options: dict[str, Any]) -> bool:
    """Return whether a patch is called at the place where h is the bottleneck."""
    return tuple(transformer_options.get("block", ())) == ("output", 0)


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
