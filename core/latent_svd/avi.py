"""Attribute Vector Integration (arXiv 2502.02225, section 4) with its closed-form predictor.

A pair of codes from the same initial noise: x from the source prompt at step T_x, z from the target prompt at
T_x + delta. The k leading atoms of both are integrated with new singular values (a, b):

    y_c = (x_c - x_c[:k]) + sum_j a_j u^x_j v^x_j^T + sum_j b_j u^z_j v^z_j^T
    loss = target*|y - z|^2 + source*|y - x|^2 + target_spectrum*|b - s_z|^2 + source_spectrum*|a - s_x|^2

With the bases fixed y is linear in (a, b), so the loss is a quadratic in 2k unknowns a channel. closed_form takes its
minimum; the paper trains a small network for (a, b) instead (predictor.py) and publishes neither weights nor sizes; the
defaults here are ours.
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
    """Of the four terms of the loss: let the attribute in, keep identity, keep the target's and the source's spectra."""

    target: float = 1.0
    source: float = 0.05
    target_spectrum: float = 0.0
    source_spectrum: float = 0.0

    def __post_init__(self):
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise EditError(f"{name}_weight is {value}; zero or a positive number is accepted.")
        if self.target + self.source + min(self.target_spectrum, self.source_spectrum) <= 0:
            raise EditError("All weights are zero; give target_weight or source_weight a positive value.")


class QuadraticLoss(NamedTuple):
    """The loss as a quadratic in values = (a, b) [B, C, 2k]: values^T matrix values - 2 right^T values + constant.

    matrix: [B, C, 2k, 2k]; right, spectra = (s_x, s_z): [B, C, 2k]; constant: [B, C]. float64, free of autograd.
    """

    matrix: Tensor
    right: Tensor
    constant: Tensor
    spectra: Tensor

    def loss(self, values: Tensor) -> Tensor:
        """Each channel's loss [B, C], differentiable in the values."""
        curved = (self.matrix @ values[..., None])[..., 0]
        return (values * (curved - 2 * self.right)).sum(-1) + self.constant


Predict = Callable[[QuadraticLoss], Tensor]


class Integration(NamedTuple):
    """y: [B, C, H, W]; a, b: the new singular values [B, C, k] on the source's and the target's atoms; loss: [B, C]."""

    y: Tensor
    a: Tensor
    b: Tensor
    source: ChannelSVD
    target: ChannelSVD
    loss: Tensor


def closed_form(system: QuadraticLoss) -> Tensor:
    """The exact minimum. The two sets of atoms may overlap or coincide: the minimum-norm solution is taken."""
    return (torch.linalg.pinv(system.matrix, hermitian=True, rtol=1e-10) @ system.right[..., None])[..., 0]


@torch.no_grad()
def integrate(
    x: Tensor, z: Tensor, rank: int, weights: LossWeights = LossWeights(), predict: Predict = closed_form
) -> Integration:
    """The y with the predicted singular values. x, z: [B, C, H, W] at unit variance, in any one space."""
    if rank < 1:
        raise EditError(f"rank is {rank}; 1 or more is accepted.")
    x64, z64 = x.double(), z.double()
    source, target = channel_svd(x64, rank), channel_svd(z64, rank)
    top = compose(source)
    rest = x64 - top
    system = _system(source, target, top, z64 - rest, weights)
    values = predict(system)
    a, b = values.split(source.s.shape[-1], dim=-1)
    y = rest + compose(source._replace(s=a)) + compose(target._replace(s=b))
    return Integration(y.to(x.dtype), a, b, source, target, system.loss(values))


def _system(
    source: ChannelSVD, target: ChannelSVD, to_source: Tensor, to_target: Tensor, weights: LossWeights
) -> QuadraticLoss:
    """to_source, to_target: x and z less the part of x that is kept, [B, C, H, W]. Atoms are never written out."""
    k = source.s.shape[-1]
    u, v = torch.cat([source.u, target.u], dim=-1), torch.cat([source.v, target.v], dim=-1)
    spectra = torch.cat([source.s, target.s], dim=-1)
    stiffness = torch.tensor([weights.source_spectrum] * k + [weights.target_spectrum] * k).to(spectra)
    # <u_i v_i^T, u_j v_j^T> = (u_i.u_j)(v_i.v_j), and <u_j v_j^T, M> = u_j^T M v_j.
    gram = (u.mT @ u) * (v.mT @ v)
    pulled = weights.target * to_target + weights.source * to_source
    constant = (
        weights.target * to_target.square().sum((-2, -1))
        + weights.source * to_source.square().sum((-2, -1))
        + (stiffness * spectra.square()).sum(-1)
    )
    return QuadraticLoss(
        (weights.target + weights.source) * gram + torch.diag(stiffness),
        (u * (pulled @ v)).sum(-2) + stiffness * spectra,
        constant,
        spectra,
    )
