"""Attribute Vector Integration (arXiv 2502.02225, section 4) with a predictor in closed form.

A pair of codes comes from the same initial noise: x from the source prompt at step T_x, z from the target prompt at
T_x + delta. The k leading atoms of both are integrated with new singular values (a, b):

    y_c = (x_c - x_c[:k]) + sum_j a_j u^x_j v^x_j^T + sum_j b_j u^z_j v^z_j^T
    loss = target*|y - z|^2 + source*|y - x|^2 + target_spectrum*|b - s_z|^2 + source_spectrum*|a - s_x|^2

With the bases fixed y is linear in (a, b), so the loss is quadratic in 2k unknowns a channel. closed_form takes its
minimum. The paper trains a small network for (a, b) instead (predictor.py), and publishes neither its weights nor its
sizes. The closed form and the default weights of the loss are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import EditError
from .svd import ChannelSVD, channel_svd, compose


@dataclass(frozen=True)
class LossWeights:
    """Weights of the four terms of the loss, 0 or more each.

    The defaults were chosen on the embedded model of drawn faces, by
    ``python benchmarks/latent_svd.py ablation --first 60000``.

    Attributes:
        target: Pulls y to the target's code, so that the attribute comes in.
        source: Pulls y to the source's code, so that the identity is kept.
        target_spectrum: Keeps the target's singular values.
        source_spectrum: Keeps the source's singular values.

    Raises:
        EditError: A weight is negative or not finite, or no weight pulls at anything.
    """

    target: float = 1.0
    source: float = 0.05
    target_spectrum: float = 0.0
    source_spectrum: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise EditError(f"{name}_weight is {value}; zero or a positive number is accepted.")
        if self.target + self.source + min(self.target_spectrum, self.source_spectrum) <= 0:
            raise EditError("All weights are zero; give target_weight or source_weight a positive value.")


class QuadraticLoss(NamedTuple):
    """The loss of each channel as a quadratic in values = (a, b), in float64 and free of autograd.

    loss = values^T matrix values - 2 right^T values + constant

    Attributes:
        matrix: [B, C, 2k, 2k].
        right: [B, C, 2k].
        constant: [B, C].
        spectra: The singular values of both codes, (s_x, s_z), [B, C, 2k].
    """

    matrix: Tensor
    right: Tensor
    constant: Tensor
    spectra: Tensor

    def loss(self, values: Tensor) -> Tensor:
        """Return each channel's loss [B, C] at values [B, C, 2k]; differentiable in them."""
        product: Tensor = (self.matrix @ values[..., None])[..., 0]
        return (values * (product - 2 * self.right)).sum(-1) + self.constant


# The loss of pairs -> the new singular values (a, b), [B, C, 2k]
Predict = Callable[[QuadraticLoss], Tensor]


class Integration(NamedTuple):
    """What integration makes of pairs of codes.

    Attributes:
        y: The codes with the attribute, [B, C, H, W].
        a: New singular values on the source's atoms, [B, C, k].
        b: New singular values on the target's atoms, [B, C, k].
        source: Leading atoms of the source's codes, with their own singular values.
        target: Leading atoms of the target's codes, likewise.
        loss: The loss of each channel at y, [B, C].
    """

    y: Tensor
    a: Tensor
    b: Tensor
    source: ChannelSVD
    target: ChannelSVD
    loss: Tensor


def closed_form(quadratic: QuadraticLoss) -> Tensor:
    """Return the values (a, b) at the minimum of the loss, [B, C, 2k].

    The two sets of atoms may overlap or coincide, so that many values reach the minimum; those of least norm are taken.
    """
    inverse: Tensor = torch.linalg.pinv(quadratic.matrix, hermitian=True, rtol=1e-10)
    return (inverse @ quadratic.right[..., None])[..., 0]


@torch.no_grad()
def integrate(
    x: Tensor, z: Tensor, rank: int, weights: LossWeights = LossWeights(), predict: Predict = closed_form
) -> Integration:
    """Integrate pairs of codes: x with the singular values of both sets of atoms chosen anew.

    Args:
        x: Codes of the source prompt, [B, C, H, W] at unit variance, in any one space.
        z: Codes of the target prompt, like x.
        rank: Leading atoms of each that take part, 1 or more; at most min(H, W) are used.
        weights: Weights of the terms of the loss.
        predict: Chooses the singular values: closed_form, or a Predictor.

    Returns:
        The integrated codes and how they came about.

    Raises:
        EditError: rank is below 1.
    """
    if rank < 1:
        raise EditError(f"rank is {rank}; 1 or more is accepted.")
    x64 = x.double()
    z64 = z.double()
    source = channel_svd(x64, rank)
    target = channel_svd(z64, rank)
    leading = compose(source)
    rest = x64 - leading
    quadratic = _quadratic_loss(source, target, leading, z64 - rest, weights)
    values = predict(quadratic)
    a, b = values.split(source.s.shape[-1], dim=-1)
    y = rest + compose(source._replace(s=a)) + compose(target._replace(s=b))
    return Integration(y.to(x.dtype), a, b, source, target, quadratic.loss(values))


def _quadratic_loss(
    source: ChannelSVD, target: ChannelSVD, to_source: Tensor, to_target: Tensor, weights: LossWeights
) -> QuadraticLoss:
    """Write the loss as a quadratic; the atoms are never written out.

    to_source and to_target are x and z less the part of x that is kept, [B, C, H, W].
    """
    k = source.s.shape[-1]
    u = torch.cat([source.u, target.u], dim=-1)
    v = torch.cat([source.v, target.v], dim=-1)
    spectra = torch.cat([source.s, target.s], dim=-1)
    stiffness = torch.tensor([weights.source_spectrum] * k + [weights.target_spectrum] * k).to(spectra)
    # <u_i v_i^T, u_j v_j^T> = (u_i.u_j)(v_i.v_j)
    gram = (u.mT @ u) * (v.mT @ v)
    # <u_j v_j^T, M> = u_j^T M v_j
    pull = weights.target * to_target + weights.source * to_source
    along_atoms = (u * (pull @ v)).sum(-2)
    constant = (
        weights.target * to_target.square().sum((-2, -1))
        + weights.source * to_source.square().sum((-2, -1))
        + (stiffness * spectra.square()).sum(-1)
    )
    return QuadraticLoss(
        matrix=(weights.target + weights.source) * gram + torch.diag(stiffness),
        right=along_atoms + stiffness * spectra,
        constant=constant,
        spectra=spectra,
    )
