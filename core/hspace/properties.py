"""The paper's five properties of h-space (arXiv 2210.10960, section 5) as numbers of pictures' attribute scores.

Here is the arithmetic alone; benchmarks/hspace.py draws the pictures, and core.average has the likeness of steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser, HEdit, denoise_pair


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Rank correlation along the last axis, ties sharing their mean rank; 0 where one side is constant."""
    ra, rb = (_ranks(t.double()) - (t.shape[-1] - 1) / 2 for t in (a, b))
    norm = (ra.square().sum(-1) * rb.square().sum(-1)).sqrt()
    return torch.where(norm > 0, (ra * rb).sum(-1) / norm.clamp(min=1e-12), torch.zeros_like(norm))


def _ranks(values: Tensor) -> Tensor:
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal - 1) / 2.0


def linearity(scores: Tensor, strengths: Tensor) -> float:
    """Mean over pictures of the rank correlation of score and strength. scores: [strengths, B]."""
    return float(spearman(scores.T, strengths.expand(scores.shape[1], -1)).mean())


def r_squared(scores: Tensor, strengths: Tensor) -> float:
    """R^2 of the mean score as a line of the strength. scores: [strengths, B]."""
    mean = scores.double().mean(dim=1)
    return float(torch.corrcoef(torch.stack([mean, strengths.double()]))[0, 1].square())


def mean_pairwise_cosine(changes: Tensor) -> float:
    """Mean cosine between the changes of different pictures, [B, ...]: 1 where all change by the same (homogeneity)."""
    unit = torch.nn.functional.normalize(changes.flatten(1).double(), dim=1)
    count = len(unit)
    return float(((unit @ unit.T).sum() - count) / (count * (count - 1)))


def denoising_error(denoise: Denoiser, x0: Tensor, sigma: Tensor, seed: int = 0, draws: int = 4) -> Tensor:
    """How unlikely the model finds pictures x0 [B, C, H, W] (model space): mean |D(x0 + sigma*n) - x0|^2 / sigma^2, [B].

    The model's own loss at one noise level, on noise that is the same for every picture: it needs no reference.
    """
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(x0), dtype=torch.float64)
    for _ in range(draws):
        noise = torch.randn(x0.shape[1:], generator=generator).to(x0)
        total += (denoise(x0 + sigma * noise, sigma) - x0).double().flatten(1).square().mean(dim=1).cpu() / float(
            sigma
        ) ** 2
    return total / draws


class ShiftedInX:
    """A denoiser whose edited prediction moves by a fixed random picture as far as its h-edit moves it: noise of equal
    size put beside h-space instead of into it.
    """

    def __init__(self, denoise: Denoiser, seed: int):
        self.denoise, self.seed = denoise, seed

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        return self.denoise(x, sigma, h_edit)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        plain, edited = denoise_pair(self.denoise, x, sigma, h_edit)
        noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(self.seed)).to(x)
        sizes: Callable[[Tensor], Tensor] = lambda t: t.flatten(1).norm(dim=1)[:, None, None, None]
        return plain, plain + noise * (sizes(edited - plain) / noise.norm())
