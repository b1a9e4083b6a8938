"""Codes of pictures to learn from, in place of noise.

A model may draw worse from noise than the pictures are that an attribute is for. Then pairs that begin at the codes of
such pictures teach more (docs/results/other_models.md, *Drawings by other hands*). Traced inversion draws noise in its
first step, so that one picture has a code for every seed, and a few pictures make as many pairs as are needed. What
differs between codes of one picture is mostly noise, which a mean leaves out. Ours, not the papers'.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..inversion.traced import traced_inversion
from ..samplers import Run

MAX_SEED = 2**63 - 1


@torch.no_grad()
def picture_codes(
    denoise: Denoiser, pictures: Tensor, sigmas: Tensor, count: int, *, seed: int = 0, run: Run = Run()
) -> Iterator[Tensor]:
    """Invert pictures one batch after the other, and all of them again with other noise, until there are enough codes.

    Args:
        denoise: The model under the prompt that says what they show.
        pictures: Pictures at sigmas[-1], [N, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        count: Codes that are made, one or more.
        seed: Seed of all noise.
        run: on_step is called for each model call of each batch.

    Yields:
        Codes at sigmas[0], [B, C, H, W] in model space on the device of ``run``.

    Raises:
        EditError: The pictures or the sigmas are not accepted.
    """
    seeds = torch.Generator().manual_seed(seed)
    for batches in rounds(len(pictures), count, run.batch):
        noise_seed = int(torch.randint(MAX_SEED, (), generator=seeds))
        for first, last in batches:
            x = pictures[first:last].to(run.device)
            trace, _ = traced_inversion(denoise, x, sigmas, seed=noise_seed, callback=lambda *_: run.tick())
            yield trace.code.to(x)


def rounds(pictures: int, count: int, batch: int) -> list[list[tuple[int, int]]]:
    """Return which pictures are inverted together, (first, last), in each round, so that they make ``count`` codes."""
    sizes = [min(pictures, count - done) for done in range(0, count, pictures)]
    return [[(first, min(first + batch, size)) for first in range(0, size, batch)] for size in sizes]


def code_batches(pictures: int, count: int, batch: int) -> int:
    """Return in how many batches picture_codes makes ``count`` codes of so many pictures."""
    return sum(len(batches) for batches in rounds(pictures, count, batch))
