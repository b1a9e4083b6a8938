"""What the patches have in common that read and edit h: of a U-Net (bottleneck.py) and of a transformer (tokens.py).

This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...core.denoiser import HEdit


class HPatch(ABC):
    """A patch of the network that edits h where it passes.

    Args:
        h_edit: Called with the rows that are to be edited.
        edit_uncond: Whether the rows of the negative prompt are edited too.
        grad: Whether gradients flow from h on.
        read_only: Whether h_edit only looks at h, which then goes on as it came.

    Attributes:
        fired: Whether the network has reached h.
    """

    def __init__(
        self, h_edit: HEdit, *, edit_uncond: bool = False, grad: bool = False, read_only: bool = False
    ) -> None:
        self.h_edit = h_edit
        self.edit_uncond = edit_uncond
        self.grad = grad
        self.read_only = read_only
        self.fired = False

    @abstractmethod
    def options(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Copy model_options so that a prediction with them is the edited one."""

    def passed_on(self, h: Tensor, kinds: Sequence[int]) -> Tensor:
        """Return what the network goes on with in place of h.

        Args:
            h: All rows, [R, Ch, h, w].
            kinds: ComfyUI's cond_or_uncond, one a chunk of the rows.

        Returns:
            A new tensor like h, edited, on which gradients are as ``grad`` says; h itself where it is only read.
        """
        self.fired = True
        if not self.read_only:
            torch.set_grad_enabled(self.grad)
        chunks = list(h.detach().chunk(len(kinds)))
        chosen = edited_chunks(kinds, self.edit_uncond)
        if chosen:
            # A copy, because the network may write into h.
            rows = torch.cat([chunks[i] for i in chosen])
            edited = self.h_edit(rows).to(h.dtype).chunk(len(chosen))
            for i, part in zip(chosen, edited, strict=True):
                chunks[i] = part
        return h if self.read_only else torch.cat(chunks)


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
