"""Measure how near two codes are by their leading singular vectors, and which atoms an attribute moves.

The distance is the geodesic one on the Grassmannian: the norm of the principal angles between two subspaces, 0 for the
same one and at most sqrt(r)*pi/2. It does not depend on signs and rotations inside a subspace. These are the measures
behind the three properties of arXiv 2502.02225, section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditError, check_same_shape
from .svd import BANDS, band_range, channel_svd, standardise

# The cosine of 45 degrees: above it the arc sine is the more exact one, below it the arc cosine.
COS_45 = 0.7071


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Return the principal angles between the column spaces of a and b.

    Args:
        a: Orthonormal columns, [..., n, r].
        b: Likewise, of the same shape.

    Returns:
        The angles in radians, ascending, [..., r].
    """
    cosines: Tensor = torch.linalg.svdvals(a.mT @ b)
    # Near zero the arc cosine loses half of the digits; the sine, from what b has outside of a, keeps them.
    sines: Tensor = torch.linalg.svdvals(b - a @ (a.mT @ b)).flip(-1)[..., : cosines.shape[-1]]
    return torch.where(cosines > COS_45, torch.asin(sines.clamp(max=1)), torch.acos(cosines.clamp(max=1)))


def geodesic_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the distance [...] between the column spaces of a and b, [..., n, r] with orthonormal columns."""
    distance: Tensor = principal_angles(a, b).norm(dim=-1)
    return distance


@torch.no_grad()
def leading_angles(x: Tensor, other: Tensor, rank: int) -> Tensor:
    """Return the principal angles between the leading subspaces of two codes.

    Args:
        x: Codes in any space, [B, C, H, W].
        other: Codes of the same shape.
        rank: Dimension of the subspaces, 1 or more; at most min(H, W) is used.

    Returns:
        The angles in radians, [2, B, C, r]: of the left subspaces (0) and of the right ones (1).

    Raises:
        EditError: The shapes differ, or rank is below 1.
    """
    check_same_shape(x, other, "latent", "other")
    if not rank > 0:
        raise EditError(f"rank is {rank}; 1 or more is accepted.")
    a = channel_svd(x.double(), rank)
    b = channel_svd(other.double(), rank)
    return torch.stack([principal_angles(a.u, b.u), principal_angles(a.v, b.v)])


def leading_distance(x: Tensor, other: Tensor, rank: int) -> Tensor:
    """Return the geodesic distance between the leading subspaces of two codes, mean of left and right.

    Args:
        x: As leading_angles takes it.
        other: As leading_angles takes it.
        rank: As leading_angles takes it.

    Returns:
        The distance in each channel, [B, C].

    Raises:
        EditError: As leading_angles does.
    """
    left_and_right: Tensor = leading_angles(x, other, rank).norm(dim=-1)
    return left_and_right.mean(dim=0)


@torch.no_grad()
def random_distance(size: int, rank: int, samples: int = 256, seed: int = 0) -> float:
    """Return the mean geodesic distance between two random subspaces: the distance of codes that are not related.

    Args:
        size: Dimension of the space.
        rank: Dimension of the subspaces, at most size.
        samples: Pairs of subspaces that are drawn.
        seed: Seed of the draw.

    Returns:
        The mean over the pairs.
    """
    rank = min(rank, size)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, samples, size, rank, generator=generator, dtype=torch.double)
    bases, _ = torch.linalg.qr(drawn)
    return geodesic_distance(bases[0], bases[1]).mean().item()


def random_leading_distance(height: int, width: int, rank: int) -> float:
    """Return what leading_distance gives for unrelated codes of this height and width: its baseline."""
    rank = min(rank, height, width)
    return (random_distance(height, rank) + random_distance(width, rank)) / 2


def trajectory_distances(codes: list[Tensor], rank: int) -> Tensor:
    """Return the leading_distance between all codes of a trajectory.

    Args:
        codes: The states of a trajectory, S times [B, C, H, W].
        rank: As leading_distance takes it.

    Returns:
        The distances, mean over samples and channels, [S, S].
    """
    rows = []
    for code in codes:
        rows.append(torch.stack([leading_distance(code, other, rank).mean() for other in codes]))
    return torch.stack(rows)


@torch.no_grad()
def band_energy(x: Tensor) -> Tensor:
    """Return which shares of each channel's energy lie in its coarse, medium and fine third of atoms.

    Args:
        x: Codes in any space, [B, C, H, W].

    Returns:
        The shares, [B, C, 3].
    """
    energy = channel_svd(x.double()).s.square()
    parts = []
    for band in BANDS[1:]:
        first, last = band_range(band, energy.shape[-1])
        parts.append(energy[..., first:last].sum(-1))
    return torch.stack(parts, dim=-1) / energy.sum(-1, keepdim=True).clamp(min=1e-300)


@torch.no_grad()
def attribute_profile(x: Tensor, z: Tensor) -> Tensor:
    """Return which atoms of a code an attribute moves.

    Args:
        x: Codes without the attribute, [B, C, H, W] in any space; brought to unit variance here.
        z: The same codes with it, like x.

    Returns:
        The shares of the energy of z - x along each of x's atoms, over all channels, mean of left and right vectors,
        [B, r]. A change that has nothing to do with x's atoms has 1/r along each of them.

    Raises:
        EditError: The shapes differ.
    """
    check_same_shape(x, z, "x", "z")
    x, _ = standardise(x.double())
    z, _ = standardise(z.double())
    svd = channel_svd(x)
    change = z - x
    left = _atom_shares((svd.u.mT @ change).square().sum(-1))
    right = _atom_shares((svd.v.mT @ change.mT).square().sum(-1))
    return (left + right) / 2


def _atom_shares(energy: Tensor) -> Tensor:
    """Return the shares [B, r] of energies [B, C, r] that lie in each atom, over all channels."""
    return energy.sum(1) / energy.sum((1, 2))[:, None].clamp(min=1e-300)


def mean_rank(profile: Tensor) -> Tensor:
    """Return the centre of a profile [..., r], within 0 to 1.

    Args:
        profile: Shares that add up to 1, largest atoms first, as attribute_profile returns them.

    Returns:
        0 if everything is in the first atom, 1 if it is in the last, 0.5 without any order, [...].
    """
    count = profile.shape[-1]
    ranks = torch.arange(count).to(profile)
    return (profile * ranks).sum(-1) / max(count - 1, 1)
