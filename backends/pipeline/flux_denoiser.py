"""The core's denoiser on a diffusers ``FluxTransformer2DModel``, in ComfyUI's sigma convention.

States are latents [B, 16, H, W] as everywhere in the pack; the network takes them packed, 2 x 2 latent pixels a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.denoiser import HEdit
from ...core.layers import AUTO, block_of, choose_block
from ...core.recipes.defaults import BLOCK_DEPTH
from ..compiled import uncompiled
from ..conditioning import Conditioning, joined
from ..diffusers_transformer import BlockHook
from ..token_grid import grid_of

# The guidance that Flux was distilled to be told, and that pipelines and ComfyUI tell it.
DISTILLED_GUIDANCE = 3.5
# Latent pixels along a side of a token.
PATCH = 2


def packed(x: Tensor) -> Tensor:
    """Return latents [B, C, H, W] as tokens, [B, H/2 * W/2, 4 * C]; an odd side is continued from the other side."""
    x = F.pad(x, (0, -x.shape[-1] % PATCH, 0, -x.shape[-2] % PATCH), mode="circular")
    return F.pixel_unshuffle(x, PATCH).flatten(2).transpose(1, 2)


def unpacked(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Return tokens as latents; the inverse of packed.

    Args:
        tokens: [B, H/2 * W/2, 4 * C].
        size: (H, W) of the latents.
    """
    height, width = (-(-side // PATCH) for side in size)
    grid = tokens.transpose(1, 2).unflatten(2, (height, width))
    return F.pixel_shuffle(grid, PATCH)[..., : size[0], : size[1]]


class FluxDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of a Flux transformer, with prompts and guidance.

    h_edit gets rows of the image tokens after one block, as the grid of their places [R, width, h, w]. The blocks up to
    there are never part of the gradient graph.

    Args:
        transformer: The network.
        prompt: The encoded prompt.
        negative: The encoded negative prompt.
        cfg: Guidance by the negative prompt, beside the distilled one, which stays at DISTILLED_GUIDANCE; with 1 the
            negative prompt is not evaluated.
        layer: The block whose image tokens are h; AUTO chooses by the depth of the network.

    Attributes:
        guidance: By how much guidance multiplies a change of the conditional prediction.
        flow: True: this is a flow model.
        layer: Where h is, by name.

    Raises:
        EditError: The network has no such block.
    """

    flow = True

    def __init__(
        self, transformer: nn.Module, prompt: Conditioning, negative: Conditioning, cfg: float, layer: str = AUTO
    ) -> None:
        self.transformer = transformer
        self.dtype = next(transformer.parameters()).dtype
        self.prompts = [prompt] if cfg == 1.0 else [prompt, negative]
        self.cfg = self.guidance = cfg
        self.layer = choose_block(layer, len(transformer.transformer_blocks), BLOCK_DEPTH)

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser."""
        size = (x.shape[-2], x.shape[-1])
        network: Callable[..., Any] = self.transformer
        handle = None
        if h_edit is not None:
            network = uncompiled(self.transformer)
            block = self.transformer.transformer_blocks[block_of(self.layer)]
            handle = block.register_forward_hook(BlockHook(h_edit, len(x), grid_of(size, PATCH)))
        prompts = joined([prompt.to(x, self.dtype) for prompt in self.prompts])
        rows = len(prompts.embeds)
        try:
            # The hook turns gradients on from its block onwards.
            with torch.no_grad():
                tokens = network(
                    hidden_states=packed(x).to(self.dtype).repeat(len(self.prompts), 1, 1),
                    timestep=sigma.expand(rows).to(x),
                    guidance=self._distilled(rows, x),
                    pooled_projections=prompts.pooled,
                    encoder_hidden_states=prompts.embeds,
                    txt_ids=torch.zeros(prompts.embeds.shape[1], 3, device=x.device, dtype=self.dtype),
                    img_ids=self._places(x),
                    return_dict=False,
                )[0]
        finally:
            if handle is not None:
                handle.remove()
        velocity = unpacked(tokens.to(x), size)
        if len(self.prompts) > 1:
            velocity, uncond = velocity.chunk(2)
            velocity = uncond + self.cfg * (velocity - uncond)
        return x - velocity * sigma

    def _distilled(self, rows: int, x: Tensor) -> Tensor | None:
        """Return the guidance that the network is told, where it asks for one."""
        if not self.transformer.config.guidance_embeds:
            return None
        return torch.full([rows], DISTILLED_GUIDANCE, device=x.device)

    def _places(self, x: Tensor) -> Tensor:
        """Return the place of each token: (0, row, column), [tokens, 3]."""
        height, width = (-(-side // PATCH) for side in x.shape[-2:])
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1)
        return places.flatten(0, 1).to(x.device, self.dtype)
