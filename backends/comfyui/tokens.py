"""Where the image tokens of a ComfyUI transformer are read and edited: a patch of one block, ("double_block", i).

ComfyUI asks such a patch in place of the block, and hands it the block; SD3, Flux and Qwen-Image do so alike. Another
pack's patch of the same block still acts: it is called in place of the block, and what it returns is edited. This
module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from torch.autograd.graph import saved_tensors_hooks

from ...core.denoiser import HEdit
from ...core.errors import EditError
from ...core.layers import DOUBLE_BLOCK
from ..token_grid import edit_tokens, grid_of
from .h_patch import HPatch

WRAPPER_KEY = "singular_edit_tokens"


class TokenPatch(HPatch):
    """A patch of one block that edits the image tokens which the block returns, as the grid of their places.

    Args:
        block: The block's number.
        patch_size: Latent pixels along a side of what a token stands for.
        h_edit: Called with the rows that are to be edited.
        **options: As HPatch takes them.
    """

    def __init__(self, block: int, patch_size: int, h_edit: HEdit, **options: bool) -> None:
        super().__init__(h_edit, **options)
        self.key = (DOUBLE_BLOCK, block)
        self.patch_size = patch_size
        self.grid = (0, 0)
        self.before: Any = None

    def __call__(self, args: dict[str, Any], extra_options: dict[str, Any]) -> dict[str, Any]:
        """Run the block, or what another pack puts in its place, and edit its image tokens."""
        out = extra_options["original_block"](args) if self.before is None else self.before(args, extra_options)
        tokens = out["img"]
        # Reference pictures have tokens of their own, after the picture's.
        height, width = self.grid
        if tokens.shape[1] < height * width:
            raise EditError(
                f"Block {self.key[1]} of this MODEL has {tokens.shape[1]} image tokens for a picture of {height} x "
                f"{width} places; h-space needs a token for each place, so that another patch may have to go."
            )
        kinds = args["transformer_options"]["cond_or_uncond"]
        edited = edit_tokens(tokens, self.grid, lambda h: self.passed_on(h, kinds))
        if self.read_only:
            return out
        if self.grad and out["txt"] is not None:
            # Later blocks of Flux write into the text's tokens, which autograd allows for tensors of its own alone.
            out = {**out, "txt": out["txt"].clone()}
        return {**out, "img": edited}

    def options(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Copy model_options so that a prediction with them is the edited one; this patch is of that copy alone."""
        transformer = model_options.get("transformer_options", {}).copy()
        replaced = transformer.get("patches_replace", {}).copy()
        blocks = replaced.get("dit", {}).copy()
        self.before = blocks.get(self.key)
        blocks[self.key] = self
        replaced["dit"] = blocks
        wrappers = transformer.get("wrappers", {}).copy()
        of_model = {**wrappers.get(WrappersMP.APPLY_MODEL, {})}
        of_model[WRAPPER_KEY] = [*of_model.get(WRAPPER_KEY, []), self._measure]
        wrappers[WrappersMP.APPLY_MODEL] = of_model
        transformer.update(patches_replace=replaced, wrappers=wrappers)
        return {**model_options, "transformer_options": transformer}

    def _measure(self, executor: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Take the grid of what the network is given, which is smaller than the picture where a prompt has an area."""
        self.grid = grid_of((x.shape[-2], x.shape[-1]), self.patch_size)
        answer: torch.Tensor = executor(x, *args, **kwargs)
        return answer


@contextmanager
def gradients_through_blocks() -> Iterator[None]:
    """Let autograd record the blocks of ComfyUI's transformers.

    They write into their tokens, so that what the gradient needs is copied as it is recorded. Newer versions run some
    layers by kernels that have no gradient, unless ComfyUI is said to be training.
    """
    management = comfy.model_management
    before = getattr(management, "in_training", None)
    try:
        if before is not None:
            management.in_training = True
        with saved_tensors_hooks(torch.clone, _as_it_is):
            yield
    finally:
        if before is not None:
            management.in_training = before


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
