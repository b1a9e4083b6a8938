"""How near two codes are by their leading singular vectors, and where an attribute sits among them.

The distance is the geodesic one on the Grassmannian: the norm of the principal angles between two subspaces, zero for
the same one and at most sqrt(r)*pi/2. It knows nothing of signs and rotations inside a subspace. Source: the three
properties of arXiv 2502.02225, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_same_shape
from .svd import BANDS, band_range, channel_svd, standardise


def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Between the column spaces of a and b ([..., n, r], orthonormal columns): [...]."""
    return principal_angles(a, b).norm(dim=-1)


@torch.no_grad()
def leading_angles(x: Tensor, other: Tensor, rank: int) -> Tensor:
    """Principal angles between the ``rank`` leading left (0) and right (1) subspaces of two codes [B, C, H, W]: [2, B, C, r]."""
    check_same_shape(x, other, "latent", "other")
    if not rank > 0:
        raise EditError(f"rank is {rank}; 1 or more is accepted.")
    a, b = channel_svd(x.double(), rank), channel_svd(other.double(), rank)
    return torch.stack([principal_angles(a.u, b.u), principal_angles(a.v, b.v)])


def leading_distance(x: Tensor, other: Tensor, rank: int) -> Tensor:
    """The geodesic distance between leading subspaces, mean of left and right: [B, C]."""
    return leading_angles(x, other, rank).norm(dim=-1).mean(dim=0)


@torch.no_grad()
def random_distance(size: int, rank: int, samples: int = 256, seed: int = 0) -> float:
    """The mean geodesic distance between two random subspaces of dimension ``rank`` in R^size: what no relation looks like."""
    rank = min(rank, size)
    bases = torch.linalg.qr(
        torch.randn(2, samples, size, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    )[0]
    return geodesic_distance(bases[0], bases[1]).mean().item()


def random_leading_distance(height: int, width: int, rank: int) -> float:
    """The baseline of leading_distance."""
    rank = min(rank, height, width)
    return (random_distance(height, rank) + random_distance(width, rank)) / 2


def trajectory_distances(codes: list[Tensor], rank: int) -> Tensor:
    """Distances among all codes of a trajectory, mean over samples and channels: [S, S]."""
    return torch.stack([torch.stack([leading_distance(a, b, rank).mean() for b in codes]) for a in codes])


@torch.no_grad()
def band_energy(x: Tensor) -> Tensor:
    """Shares of each channel's energy in its coarse, medium and fine third of atoms: [B, C, 3]."""
    energy = channel_svd(x.double()).s.square()
    parts = [energy[..., slice(*band_range(band, energy.shape[-1]))].sum(-1) for band in BANDS[1:]]
    return torch.stack(parts, dim=-1) / energy.sum(-1, keepdim=True).clamp(min=1e-300)


@torch.no_grad()
def attribute_profile(x: Tensor, z: Tensor) -> Tensor:
    """Which atoms of x an attribute moves: shares of the energy of z - x along each of x's atoms [B, r], mean of left and
    right vectors, over all channels; x and z [B, C, H, W] are brought to unit variance.

    A change that knows nothing of x's atoms has 1/r along each of them.
    """
    check_same_shape(x, z, "x", "z")
    x, z = standardise(x.double())[0], standardise(z.double())[0]
    svd, change = channel_svd(x), z - x
    left, right = (svd.u.mT @ change).square().sum(-1), (svd.v.mT @ change.mT).square().sum(-1)  # [B, C, r]
    shares = [part.sum(1) / part.sum((1, 2))[:, None].clamp(min=1e-300) for part in (left, right)]
    return (shares[0] + shares[1]) / 2


def mean_rank(profile: Tensor) -> Tensor:
    """The centre of a profile [..., r] in [0, 1]: 0 if all is in the first atom, 1 if in the last, 0.5 without any order."""
    r = profile.shape[-1]
    saliency_weight = torch.arange(r).to(profile)
    return (profile * saliency_weight).sum(-1) / max(r - 1, 1)


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Angles in radians between the column spaces of a and b ([..., n, r], orthonormal columns), ascending: [..., r]."""
    cosines = torch.linalg.svdvals(a.mT @ b)
    # Near zero the arc cosine loses half of the digits; the sine, from what b has outside of a, keeps them.
    sines = torch.linalg.svdvals(b - a @ (a.mT @ b)).flip(-1)[..., : cosines.shape[-1]]
    return torch.where(cosines > 0.7071, torch.asin(sines.clamp(max=1)), torch.acos(cosines.clamp(max=1)))
