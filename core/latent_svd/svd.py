"""Channel-wise SVD of latents: a latent [B, C, H, W] is C matrices of H x W a sample, x_c = U diag(s) V^T.

(u_j, v_j) carry a joint sign and, where singular values cluster, a joint rotation: keep u_j v_j^T together
and compare subspaces by their principal angles. Nothing here is differentiable on purpose: the gradient of
an SVD blows up at equal singular values. Source: arXiv 2502.02225, section 3.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError

# Below this share of the largest singular value, squaring the matrix costs digits that matter.
GRAM_FLOOR = 1e-4


class ChannelSVD(NamedTuple):
    """u: [..., C, H, r], s: [..., C, r] descending, v: [..., C, W, r]."""

    u: Tensor
    s: Tensor
    v: Tensor


@torch.no_grad()
def channel_svd(x: Tensor, rank: int | None = None) -> ChannelSVD:
    """The thin SVD of every channel of x [..., C, H, W], or its ``rank`` leading atoms.

    Leading atoms come from the eigenvectors of the short side's Gram matrix in float64 where that is faster and as
    exact: up to twice as fast on square latents, more on wide ones.
    """
    if rank is not None and 0 < rank < min(x.shape[-2:]) and x.device.type != "mps":
        leading = _leading(x, rank)
        if leading is not None:
            return leading
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    rank = s.shape[-1] if rank is None else min(rank, s.shape[-1])
    return ChannelSVD(u[..., :rank], s[..., :rank], vh.mT[..., :rank])


def _leading(x: Tensor, rank: int) -> ChannelSVD | None:
    """None where a wanted singular value is too small beside the largest to come out of the Gram matrix."""
    wide = x.shape[-2] <= x.shape[-1]
    full = (x if wide else x.mT).double()
    values, vectors = torch.linalg.eigh(full @ full.mT)
    s = values[..., -rank:].flip(-1).clamp(min=0).sqrt()
    if not (s[..., -1] > GRAM_FLOOR * s[..., 0]).all():
        return None
    short = vectors[..., -rank:].flip(-1)
    long = full.mT @ short / s[..., None, :]
    u, v = (short, long) if wide else (long, short)
    return ChannelSVD(u.to(x.dtype), s.to(x.dtype), v.to(x.dtype))


def atoms(svd: ChannelSVD) -> Tensor:
    """The rank-one matrices u_j v_j^T themselves: [..., C, r, H, W]."""
    return torch.einsum("...hr,...wr->...rhw", svd.u, svd.v)


def compose(svd: ChannelSVD) -> Tensor:
    """sum_j s_j u_j v_j^T: [..., C, H, W]."""
    return (svd.u * svd.s[..., None, :]) @ svd.v.mT


def truncate(x: Tensor, rank: int) -> Tensor:
    """The part of x in its ``rank`` leading atoms a channel."""
    return compose(channel_svd(x, rank))


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """X divided by each sample's own standard deviation, and that deviation [B, 1, 1, 1]; nothing is subtracted."""
    std = x.flatten(1).std(dim=1).clamp(min=1e-12)[:, None, None, None]
    return x / std, std


def channel_norm(x: Tensor) -> Tensor:
    """The Frobenius norm of each channel of x [B, C, H, W]: [B, C, 1, 1]."""
    return x.flatten(2).norm(dim=2)[:, :, None, None]


BANDS = ("all", "coarse", "medium", "fine")


def band_range(band: str, count: int) -> tuple[int, int]:
    """First atom and one past the last of a third of ``count`` atoms, coarse to fine. Raises EditError for another band."""
    if band not in BANDS:
        raise EditError(f"band is '{band}'; {', '.join(BANDS)} are accepted.")
    if band == "all":
        return 0, count
    third = BANDS.index(band) - 1
    return round(third * count / 3), round((third + 1) * count / 3)


def select(svd: ChannelSVD, first: int, last: int) -> ChannelSVD:
    """The atoms from ``first`` up to, not including, ``last``."""
    return ChannelSVD(svd.u[..., first:last], svd.s[..., first:last], svd.v[..., first:last])


def trim(svd: ChannelSVD) -> ChannelSVD:
    """The atoms of svd [C, ...] that matter in any channel, one at least, in float32: what a file keeps."""
    used = max(1, int((svd.s > 1e-4 * svd.s.max()).any(dim=0).sum()))
    return ChannelSVD(*(part.float().contiguous() for part in select(svd, 0, used)))


def orthonormalise(svd: ChannelSVD) -> ChannelSVD:
    """The SVD of sum_j s_j u_j v_j^T for any columns u_j, v_j and any signs of s_j, without writing the sum out."""
    (qu, ru), (qv, rv) = torch.linalg.qr(svd.u), torch.linalg.qr(svd.v)
    u, s, vh = torch.linalg.svd((ru * svd.s[..., None, :]) @ rv.mT, full_matrices=False)
    return ChannelSVD(qu @ u, s, qv @ vh.mT)


def resize_atoms(svd: ChannelSVD, height: int, width: int) -> ChannelSVD:
    """Atoms [C, ...] at another resolution: u and v interpolated along their axes and made orthonormal again."""
    if (svd.u.shape[-2], svd.v.shape[-2]) == (height, width) or svd.s.shape[-1] == 0:
        return svd
    return orthonormalise(ChannelSVD(_resize(svd.u, height), svd.s, _resize(svd.v, width)))


def _resize(columns: Tensor, length: int) -> Tensor:
    """[C, n, r] to [C, length, r], linear, antialiased when it shrinks."""
    # As an image twice as wide as one column: torch's antialiased kernel returns zeros at width 1.
    image = columns.permute(0, 2, 1)[..., None].expand(-1, -1, -1, 2).contiguous()
    return F.interpolate(image, size=(length, 2), mode="bilinear", antialias=True)[..., 0].permute(0, 2, 1)
