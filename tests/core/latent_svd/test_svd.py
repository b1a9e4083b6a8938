"""Channel-wise SVD, by properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, atoms, channel_svd, standardise, truncate
from singular_edit.core.latent_svd.svd import band_range, compose, resize_atoms, select

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 10_000)


def codes(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.double)
    z = torch.randn(shape, generator=generator, dtype=torch.double)
    return x, z


@given(shapes, seeds)
@settings(max_examples=40, deadline=None)
def test_atoms_rebuild_the_latent(shape, seed):
    x, _ = codes(shape, seed)
    svd = channel_svd(x)
    assert torch.allclose(compose(svd), x, atol=1e-9)
    assert torch.allclose((atoms(svd) * svd.s[..., None, None]).sum(-3), x, atol=1e-9)
    assert (svd.s.diff(dim=-1) <= 1e-12).all()


@given(shapes, seeds, st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_truncation_is_the_best_of_its_rank(shape, seed, rank):
    x, _ = codes(shape, seed)
    left_out = (x - truncate(x, rank)).square().sum((-2, -1))
    least = torch.linalg.svdvals(x)[..., rank:].square().sum(-1)
    assert torch.allclose(left_out, least, atol=1e-8)


@given(shapes, seeds, st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_standardise_is_blind_to_scale(shape, seed, scale):
    batch, channels, height, width = shape
    x, _ = codes((batch, channels + 1, height + 1, width + 1), seed)
    unit, std = standardise(x)
    assert torch.allclose(unit, standardise(scale * x)[0], atol=1e-9)
    assert torch.allclose(unit * std, x, atol=1e-9)


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    seeds,
    st.integers(1, 12),
    st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=60, deadline=None)
def test_leading_atoms_are_those_of_the_full_svd(shape, seed, rank, dtype):
    """The short way round (Gram matrix) against torch.linalg.svd, wide, tall and tiny."""
    x = codes(shape, seed)[0].to(dtype)
    u, s, vh = torch.linalg.svd(x.double(), full_matrices=False)
    leading = channel_svd(x, rank)
    eps = 1e-5 if dtype == torch.float32 else 1e-7
    largest = float(s.max())
    assert leading.s.dtype == dtype
    assert leading.s.shape[-1] == min(rank, *shape[2:])
    k = leading.s.shape[-1]
    assert torch.allclose(leading.s.double(), s[..., :k], atol=eps * largest)
    eye = torch.eye(k, dtype=dtype).expand(*shape[:2], k, k)
    assert torch.allclose(leading.u.mT @ leading.u, eye, atol=30 * eps)
    assert torch.allclose(leading.v.mT @ leading.v, eye, atol=30 * eps)
    gap = (s[..., k - 1] - s[..., k]).min() if k < s.shape[-1] else torch.tensor(1.0)
    if gap > 0.05:  # else the cut falls between equal values, and neither is the true one
        truncated = (u[..., :k] * s[..., None, :k]) @ vh[..., :k, :]
        assert torch.allclose(compose(leading).double(), truncated, atol=30 * eps * largest)


@given(seeds, st.integers(1, 5), st.sampled_from([(10, 10), (6, 14), (14, 6)]))
@settings(max_examples=30, deadline=None)
def test_leading_atoms_of_rank_deficient_channels(seed, rank, size):
    """Fewer atoms in the latent than asked for, and one channel of zeros."""
    height, width = size
    tall, _ = codes((1, 2, height, rank), seed)
    _, wide = codes((1, 2, rank, width), seed + 1)
    x = tall @ wide
    x[:, 1] = 0
    count = min(size) - 1
    leading = channel_svd(x, count)
    assert torch.allclose(compose(leading), x, atol=1e-9)
    eye = torch.eye(count, dtype=x.dtype).expand(1, 2, count, count)
    assert torch.allclose(leading.u.mT @ leading.u, eye, atol=1e-9)


@given(seeds, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_leading_atoms_are_deterministic_turn_with_the_latent_and_change_sign_with_it(seed, rank):
    x, y = codes((1, 2, 7, 9), seed)
    for first, second in zip(channel_svd(x, rank), channel_svd(x.clone(), rank), strict=True):
        assert torch.equal(first, second)
    left, _ = torch.linalg.qr(y[0, 0, :, :7])
    right, _ = torch.linalg.qr(codes((1, 1, 9, 9), seed + 1)[0][0, 0])
    turned = left @ truncate(x, rank) @ right
    assert torch.allclose(truncate(left @ x @ right, rank), turned, atol=1e-7)
    assert torch.allclose(truncate(-x, rank), -truncate(x, rank), atol=1e-9)
    assert torch.allclose(truncate(x.mT, rank), truncate(x, rank).mT, atol=1e-8)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 16])
def test_the_three_bands_follow_each_other(count):
    ranges = [band_range(band, count) for band in ("coarse", "medium", "fine")]
    assert ranges[0][0] == 0
    assert ranges[0][1] == ranges[1][0]
    assert ranges[1][1] == ranges[2][0]
    assert ranges[2][1] == count
    assert band_range("all", count) == (0, count)
    with pytest.raises(EditError, match="band is 'loud'"):
        band_range("loud", count)


def test_no_atoms_have_any_size():
    none = select(channel_svd(codes((4, 8, 8), 0)[0]), 0, 0)
    assert compose(resize_atoms(none, 12, 10)).shape == (4, 12, 10)
