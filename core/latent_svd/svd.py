"""Channel-wise SVD of latents: a latent [B, C, H, W] is C matrices of H x W a sample, x_c = U diag(s) V^T.

(u_j, v_j) carry a joint sign and, where singular values cluster, a joint rotation: keep u_j v_j^T together and compare
subspaces by their principal angles (subspaces.py). Nothing here is differentiable, on purpose: the gradient of an SVD
blows up at equal singular values. Source: arXiv 2502.02225, section 3. Resizing atoms is ours, not the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError

# Below this share of the largest singular value, squaring the matrix costs digits that matter.
GRAM_FLOOR = 1e-4
# An attribute file keeps no atoms below this share of the largest singular value; they would not show in an edit.
TRIM_FLOOR = 1e-4

BANDS = ("all", "coarse", "medium", "fine")


class ChannelSVD(NamedTuple):
    """The leading atoms of every channel, largest first.

    Attributes:
        u: Left singular vectors, [..., C, H, r].
        s: Singular values, [..., C, r], descending.
        v: Right singular vectors, [..., C, W, r].
    """

    u: Tensor
    s: Tensor
    v: Tensor


@torch.no_grad()
def channel_svd(x: Tensor, rank: int | None = None) -> ChannelSVD:
    """Decompose every channel: the thin SVD, or its leading atoms.

    Leading atoms come from the eigenvectors of the short side's Gram matrix in float64 where that is faster and as
    exact: up to twice as fast on square latents, more on wide ones (benchmarks/latent_svd_speed.py).

    Args:
        x: Latents in any space, [..., C, H, W].
        rank: How many atoms, at most min(H, W); None for all.

    Returns:
        The atoms, in the dtype of x.
    """
    if rank is not None and 0 < rank < min(x.shape[-2:]) and x.device.type != "mps":
        leading = _leading_from_gram(x, rank)
        if leading is not None:
            return leading
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    rank = s.shape[-1] if rank is None else min(rank, s.shape[-1])
    return ChannelSVD(u[..., :rank], s[..., :rank], vh.mT[..., :rank])


def _leading_from_gram(x: Tensor, rank: int) -> ChannelSVD | None:
    """Return the leading atoms; None where a wanted singular value is too small to come out of the Gram matrix."""
    is_wide = x.shape[-2] <= x.shape[-1]
    matrix = (x if is_wide else x.mT).double()
    eigenvalues, eigenvectors = torch.linalg.eigh(matrix @ matrix.mT)
    s = eigenvalues[..., -rank:].flip(-1).clamp(min=0).sqrt()
    if not (s[..., -1] > GRAM_FLOOR * s[..., 0]).all():
        return None
    short = eigenvectors[..., -rank:].flip(-1)
    long = matrix.mT @ short / s[..., None, :]
    u, v = (short, long) if is_wide else (long, short)
    return ChannelSVD(u.to(x.dtype), s.to(x.dtype), v.to(x.dtype))


def atoms(svd: ChannelSVD) -> Tensor:
    """Return the rank-one matrices u_j v_j^T themselves, without their singular values, [..., C, r, H, W]."""
    return torch.einsum("...hr,...wr->...rhw", svd.u, svd.v)


def compose(svd: ChannelSVD) -> Tensor:
    """Return the latent that the atoms add up to, sum_j s_j u_j v_j^T, [..., C, H, W]."""
    return (svd.u * svd.s[..., None, :]) @ svd.v.mT


def truncate(x: Tensor, rank: int) -> Tensor:
    """Return the part of x [..., C, H, W] that lies in the ``rank`` leading atoms of each channel."""
    return compose(channel_svd(x, rank))


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each sample by its own standard deviation; nothing is subtracted.

    Args:
        x: Latents in any space, [B, C, H, W].

    Returns:
        x at unit variance, and the standard deviation of each sample, [B, 1, 1, 1].
    """
    std = x.flatten(1).std(dim=1).clamp(min=1e-12)[:, None, None, None]
    return x / std, std


def channel_norm(x: Tensor) -> Tensor:
    """Return the Frobenius norm of each channel of x [B, C, H, W], [B, C, 1, 1]."""
    norm: Tensor = x.flatten(2).norm(dim=2)
    return norm[:, :, None, None]


def band_range(band: str, count: int) -> tuple[int, int]:
    """Return which atoms a band holds.

    Args:
        band: One of BANDS: all atoms, or a third of them; the largest atoms are the coarse ones.
        count: How many atoms there are.

    Returns:
        The first atom and one past the last.

    Raises:
        EditError: There is no such band.
    """
    if band not in BANDS:
        raise EditError(f"band is '{band}'; {', '.join(BANDS)} are accepted.")
    if band == "all":
        return 0, count
    third = BANDS.index(band) - 1
    return round(third * count / 3), round((third + 1) * count / 3)


def select(svd: ChannelSVD, first: int, last: int) -> ChannelSVD:
    """Return the atoms from ``first`` up to, not including, ``last``."""
    return ChannelSVD(svd.u[..., first:last], svd.s[..., first:last], svd.v[..., first:last])


def trim(svd: ChannelSVD) -> ChannelSVD:
    """Keep the atoms that matter in any channel, at least one: what a file keeps.

    Args:
        svd: Atoms of one sample, u [C, H, r].

    Returns:
        Those above TRIM_FLOOR, in float32.
    """
    matters = (svd.s > TRIM_FLOOR * svd.s.max()).any(dim=0)
    count = max(1, int(matters.sum()))
    return ChannelSVD._make(part.float().contiguous() for part in select(svd, 0, count))


def orthonormalise(svd: ChannelSVD) -> ChannelSVD:
    """Return the SVD of sum_j s_j u_j v_j^T, without writing the sum out.

    Args:
        svd: Any columns u_j and v_j, orthonormal or not, and any signs of s_j, in any order.

    Returns:
        Orthonormal u and v, and s descending.
    """
    q_u, r_u = torch.linalg.qr(svd.u)
    q_v, r_v = torch.linalg.qr(svd.v)
    u, s, vh = torch.linalg.svd((r_u * svd.s[..., None, :]) @ r_v.mT, full_matrices=False)
    return ChannelSVD(q_u @ u, s, q_v @ vh.mT)


def resize_atoms(svd: ChannelSVD, height: int, width: int) -> ChannelSVD:
    """Bring atoms to another resolution: u and v are interpolated along their axes and made orthonormal again.

    Args:
        svd: Atoms of one sample, u [C, H, r].
        height: The new H.
        width: The new W.

    Returns:
        The atoms; svd itself where it has that size.
    """
    if (svd.u.shape[-2], svd.v.shape[-2]) == (height, width):
        return svd
    if svd.s.shape[-1] == 0:
        channels = svd.s.shape[:-1]
        return svd._replace(u=svd.u.new_empty(*channels, height, 0), v=svd.v.new_empty(*channels, width, 0))
    return orthonormalise(ChannelSVD(_resize(svd.u, height), svd.s, _resize(svd.v, width)))


def _resize(columns: Tensor, length: int) -> Tensor:
    """Interpolate columns [C, n, r] to [C, length, r]: linear, antialiased when they shrink."""
    # As an image twice as wide as one column: torch's antialiased kernel returns zeros at width 1.
    image = columns.permute(0, 2, 1)[..., None].expand(-1, -1, -1, 2).contiguous()
    return F.interpolate(image, size=(length, 2), mode="bilinear", antialias=True)[..., 0].permute(0, 2, 1)
