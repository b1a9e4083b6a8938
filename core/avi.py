"""Attribute Vector Integration (arXiv 2502.02225, section 4) with its closed-form predictor.

A pair of codes from the same initial noise: x from the source prompt at step T_x, z from the target prompt at
T_x + delta. The k leading atoms of both are integrated with new singular values (a, b):

    y_c = (x_c - x_c[:k]) + sum_j a_j u^x_j v^x_j^T + sum_j b_j u^z_j v^z_j^T
    loss = target*|y - z|^2 + source*|y - x|^2 + target_spectrum*|b - s_z|^2 + source_spectrum*|a - s_x|^2

With the bases fixed y is linear in (a, b), so the minimum is a linear system in 2k unknowns a channel. The paper
trains a small network for (a, b) instead and publishes neither weights nor sizes; the defaults here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .errors import EditError
from .svd import ChannelSVD, atoms, channel_svd, compose


@dataclass(frozen=True)
class Weights:
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


class Integration(NamedTuple):
    """y: [B, C, H, W]; a, b: the new singular values [B, C, k] on the source's and the target's atoms."""

    y: Tensor
    a: Tensor
    b: Tensor
    source: ChannelSVD
    target: ChannelSVD


@torch.no_grad()
def integrate(x: Tensor, z: Tensor, rank: int, weights: Weights = Weights()) -> Integration:
    """The y that minimises the loss exactly. x, z: [B, C, H, W] at unit variance, in any one space.

    The two sets of atoms may overlap or coincide: the minimum-norm solution is taken, in float64.
    """
    if rank < 1:
        raise EditError(f"rank is {rank}; 1 or more is accepted.")
    x64, z64 = x.double(), z.double()
    source, target = channel_svd(x64, rank), channel_svd(z64, rank)
    k = source.s.shape[-1]
    rest = x64 - compose(source)
    basis = torch.cat([atoms(source), atoms(target)], dim=-3).flatten(-2)  # [B, C, 2k, H*W]
    spectra = torch.cat([source.s, target.s], dim=-1)
    stiffness = torch.tensor([weights.source_spectrum] * k + [weights.target_spectrum] * k).to(spectra)
    pulled = weights.target * (z64 - rest) + weights.source * (x64 - rest)
    gram = (weights.target + weights.source) * basis @ basis.mT + torch.diag(stiffness)
    right = (basis @ pulled.flatten(-2)[..., None])[..., 0] + stiffness * spectra
    values = (torch.linalg.pinv(gram, hermitian=True, rtol=1e-10) @ right[..., None])[..., 0]
    y = rest + (values[..., None, :] @ basis)[..., 0, :].unflatten(-1, x.shape[-2:])
    a, b = values.split(k, dim=-1)
    return Integration(y.to(x.dtype), a, b, source, target)
