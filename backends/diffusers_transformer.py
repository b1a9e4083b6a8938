"""The core's denoiser on a flow-matching diffusers transformer of the SD3 family, in ComfyUI's sigma convention.

Every tensor is in model space, x = (1 - sigma)*x0 + sigma*n with sigma from 1 to 0. The network (Esser et al., arXiv
2403.03206) predicts the velocity n - x0, so that x0 = x - sigma * prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.denoiser import HEdit
from ..core.errors import EditError
from ..core.layers import AUTO, block_of, choose_block
from ..core.recipes.defaults import BLOCK_DEPTH
from .compiled import uncompiled
from .token_grid import edit_tokens, grid_of

# What the network's timestep is a multiple of sigma by, and how many of them ComfyUI's schedule knows.
TIMESTEPS = 1000


class TransformerDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of a diffusers ``SD3Transformer2DModel``, with prompts and guidance.

    h_edit gets rows of the image tokens after one block, as the grid of their places [R, width, h, w]. The blocks up to
    there are never part of the gradient graph.

    Args:
        transformer: The network, frozen.
        context: The prompt's embedding, [1 or B, tokens, width].
        negative_context: The negative prompt's embedding, of the same shape; None samples without guidance.
        cfg: Guidance; with 1 the negative prompt is not evaluated.
        pooled: The prompt's pooled embedding, [1 or B, width].
        negative_pooled: The negative prompt's pooled embedding; None where negative_context is None.
        edit_uncond: Whether h_edit gets the rows of the negative prompt too.
        layer: The block whose image tokens are h, such as "double_block:3"; AUTO chooses by the depth of the network.

    Attributes:
        guidance: By how much guidance multiplies a change of the conditional prediction.
        flow: True: this is a flow model.
        layer: Where h is, by name.

    Raises:
        EditError: The network is no transformer of this family, or has no such block.
    """

    flow = True

    def __init__(
        self,
        transformer: nn.Module,
        context: Tensor,
        negative_context: Tensor | None = None,
        cfg: float = 1.0,
        *,
        pooled: Tensor,
        negative_pooled: Tensor | None = None,
        edit_uncond: bool = False,
        layer: str = AUTO,
    ) -> None:
        blocks = getattr(transformer, "transformer_blocks", None)
        if blocks is None or not hasattr(transformer, "time_text_embed"):
            raise EditError(
                f"{type(transformer).__name__} is not a transformer of the SD3 family; diffusers' "
                "SD3Transformer2DModel is accepted here."
            )
        self.transformer = transformer
        self.dtype = next(transformer.parameters()).dtype
        self.context = context
        self.negative_context = negative_context
        self.pooled = pooled
        self.negative_pooled = negative_pooled
        self.edit_uncond = edit_uncond
        self.cfg = self.guidance = cfg if negative_context is not None else 1.0
        self.layer = choose_block(layer, len(blocks), BLOCK_DEPTH)

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser."""
        guided = self.cfg != 1.0
        rows = 2 * len(x) if guided and self.edit_uncond else len(x)
        prompts = [(self.context, self.pooled)]
        if guided:
            prompts.append((cast(Tensor, self.negative_context), cast(Tensor, self.negative_pooled)))
        velocity = self._predict(x, sigma, prompts, h_edit, rows)
        if guided:
            velocity, uncond = velocity.chunk(2)
            velocity = uncond + self.cfg * (velocity - uncond)
        return x - velocity * sigma

    def _predict(
        self, x: Tensor, sigma: Tensor, prompts: list[tuple[Tensor, Tensor]], h_edit: HEdit | None, rows: int
    ) -> Tensor:
        """Predict the velocity under each (context, pooled), with the hook on its block for the length of this call."""
        patch = int(self.transformer.config.patch_size)
        height, width = x.shape[-2:]
        # A side that patches do not divide is continued from the other side, as ComfyUI does it.
        whole = F.pad(x, (0, -width % patch, 0, -height % patch), mode="circular")
        network: Callable[..., Any] = self.transformer
        handle = None
        if h_edit is not None:
            network = uncompiled(self.transformer)
            hook = BlockHook(h_edit, rows, grid_of((height, width), patch))
            block = self.transformer.transformer_blocks[cast(int, block_of(self.layer))]
            handle = block.register_forward_hook(hook)
        try:
            # The hook turns gradients on from its block onwards.
            with torch.no_grad():
                velocity: Tensor = network(
                    whole.to(self.dtype).repeat(len(prompts), 1, 1, 1),
                    encoder_hidden_states=torch.cat([context.expand(len(x), -1, -1) for context, _ in prompts]),
                    pooled_projections=torch.cat([pooled.expand(len(x), -1) for _, pooled in prompts]),
                    timestep=(sigma * TIMESTEPS).expand(len(prompts) * len(x)).to(x),
                ).sample.to(x)
        finally:
            if handle is not None:
                handle.remove()
        return velocity[..., :height, :width]


class BlockHook:
    """A forward hook that edits the image tokens of the first rows, which a block returns beside the text's tokens.

    Gradients flow from there on where they were enabled when the hook was made.

    Args:
        h_edit: The edit.
        rows: How many rows are edited, from the first on.
        grid: Height and width of the picture in tokens.
    """

    def __init__(self, h_edit: HEdit, rows: int, grid: tuple[int, int]) -> None:
        self.h_edit = h_edit
        self.rows = rows
        self.grid = grid
        self.grad = torch.is_grad_enabled()

    def __call__(
        self, module: nn.Module, inputs: tuple[Any, ...], output: tuple[Tensor | None, Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """Return the block's output with its image tokens edited."""
        torch.set_grad_enabled(self.grad)
        text, tokens = output
        edited = edit_tokens(tokens[: self.rows].detach(), self.grid, self.h_edit)
        return text, torch.cat([edited, tokens[self.rows :]])


def shifted(shift: float, t: Tensor) -> Tensor:
    """Return the noise level at a time, moved towards noise (Esser et al. 2024, equation 23).

    Args:
        shift: How far; 1 is not at all, SD3 has 3.
        t: Times from 0 to 1.

    Returns:
        shift * t / (1 + (shift - 1) * t), like t.
    """
    return shift * t / (1 + (shift - 1) * t)


def normal_sigmas(shift: float, steps: int, timesteps: int = TIMESTEPS) -> Tensor:
    """Return ComfyUI's "normal" schedule of a flow model: evenly spaced times from sigma_max to sigma_min, then 0.

    Args:
        shift: The model's shift.
        steps: Sampling steps.
        timesteps: How many times the model's schedule knows.

    Returns:
        Descending noise levels, [steps + 1].
    """
    # ComfyUI takes the noise level itself as the time that it starts and ends with, and shifts it once more.
    sigma_min = float(shifted(shift, torch.tensor(1 / timesteps)))
    times = torch.linspace(1, sigma_min, steps)
    return torch.cat([shifted(shift, times), torch.zeros(1)])


def percent_to_sigma(shift: float, percent: float) -> float:
    """Return the noise level at a share of the way through sampling, as ComfyUI's ModelSamplingDiscreteFlow does.

    Args:
        shift: The model's shift.
        percent: 0 is before the first step, 1 after the last.

    Returns:
        The sigma there, 1 to 0.
    """
    return float(shifted(shift, torch.tensor(1 - min(max(percent, 0.0), 1.0), dtype=torch.float64)))
