"""The paper's five properties of h-space (arXiv 2210.10960, section 5) as numbers.

Here is the arithmetic of homogeneity, linearity and robustness. step_cosines in mean_direction.py measures consistency
across steps; compositionality needs no arithmetic of its own. benchmarks/hspace_properties.py draws the pictures and
scores them. The measures are ours, not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..denoiser import Denoiser, HEdit, denoise_pair, is_flow, layer_of


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Return the rank correlation along the last axis; tied values share their mean rank.

    Args:
        a: Values, [..., N].
        b: Values, like a.

    Returns:
        Correlations from -1 to 1, [...]; 0 where one side is constant.
    """
    rank_a = _centred_ranks(a)
    rank_b = _centred_ranks(b)
    norm = (rank_a.square().sum(-1) * rank_b.square().sum(-1)).sqrt()
    correlation = (rank_a * rank_b).sum(-1) / norm.clamp(min=1e-12)
    return torch.where(norm > 0, correlation, torch.zeros_like(norm))


def _centred_ranks(values: Tensor) -> Tensor:
    """Return the ranks along the last axis, from 0, less their mean."""
    values = values.double()
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    ranks = below + (equal - 1) / 2.0
    return ranks - (values.shape[-1] - 1) / 2


def linearity(scores: Tensor, strengths: Tensor) -> float:
    """Return how steadily scores rise with strength: their rank correlation, as a mean over pictures.

    Args:
        scores: Attribute scores, [S, B]: a row for each strength, a column for each picture.
        strengths: The strengths, [S].

    Returns:
        From -1 to 1; 1 where the score of every picture rises with every strength.
    """
    return float(spearman(scores.T, strengths.expand(scores.shape[1], -1)).mean())


def r_squared(scores: Tensor, strengths: Tensor) -> float:
    """Return R^2 of a straight line through the mean score over strength.

    Args:
        scores: Attribute scores, [S, B].
        strengths: The strengths, [S].

    Returns:
        The part of the variance that the line explains, 0 to 1.
    """
    mean = scores.double().mean(dim=1)
    correlation = torch.corrcoef(torch.stack([mean, strengths.double()]))[0, 1]
    return float(correlation.square())


def mean_pairwise_cosine(changes: Tensor) -> float:
    """Return the mean cosine between the changes of different pictures, which is homogeneity.

    Args:
        changes: Changes in any space, [B, ...], of two pictures or more.

    Returns:
        From -1 to 1; 1 where all pictures change by the same up to size.
    """
    unit = torch.nn.functional.normalize(changes.flatten(1).double(), dim=1)
    count = len(unit)
    others = (unit @ unit.T).sum() - count
    return float(others / (count * (count - 1)))


def denoising_error(denoise: Denoiser, x0: Tensor, sigma: Tensor, seed: int = 0, draws: int = 4) -> Tensor:
    """Return how unlikely the model finds pictures: its own loss at one noise level, which needs no reference.

    Args:
        denoise: The model.
        x0: The pictures, [B, C, H, W] in model space.
        sigma: The noise level, a scalar tensor.
        seed: Seed of the noise, which is the same for every picture.
        draws: How many noises are averaged over.

    Returns:
        The mean of |D(a*x0 + sigma*n) - x0|^2 / sigma^2 of each picture, [B] in float64; a is 1, and 1 - sigma for
        flow models.
    """
    a = 1 - sigma if is_flow(denoise) else 1.0
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(x0), dtype=torch.float64)
    for _ in range(draws):
        noise = torch.randn(x0.shape[1:], generator=generator).to(x0)
        error = (denoise(a * x0 + sigma * noise, sigma) - x0).double()
        total += error.flatten(1).square().mean(dim=1).cpu() / float(sigma) ** 2
    return total / draws


class ShiftedInX:
    """A denoiser whose edited prediction is shifted by noise as far as its h-edit would shift it.

    It shows what noise of equal size does beside h-space instead of in it: the control of robustness.

    Args:
        denoise: The model.
        seed: Seed of the noise, which is one picture for all.
    """

    def __init__(self, denoise: Denoiser, seed: int) -> None:
        self.denoise = denoise
        self.seed = seed

    @property
    def flow(self) -> bool:
        """Whether the model is a flow model."""
        return is_flow(self.denoise)

    @property
    def layer(self) -> str:
        """Where h of the model is."""
        return layer_of(self.denoise)

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0 as the model does."""
        return self.denoise(x, sigma, h_edit)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Predict x0 plainly and shifted.

        Args:
            x: State at sigma, [B, C, H, W].
            sigma: Noise level, a scalar tensor.
            h_edit: The edit whose size the shift has.

        Returns:
            D, and D plus noise of the size of D_edit - D, each like x.
        """
        plain, edited = denoise_pair(self.denoise, x, sigma, h_edit)
        noise = torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(self.seed)).to(x)
        size = (edited - plain).flatten(1).norm(dim=1)[:, None, None, None]
        return plain, plain + noise * (size / noise.norm())
