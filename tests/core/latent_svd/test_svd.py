"""Channel-wise SVD and Attribute Vector Integration, by properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import (
    EditError,
    LossWeights,
    atoms,
    channel_svd,
    integrate,
    principal_angles,
    standardise,
    truncate,
)
from singular_edit.core.latent_svd.svd import compose

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 10_000)


def codes(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.double), torch.randn(
        shape, generator=generator, dtype=torch.double
    )


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
    left = (x - truncate(x, rank)).square().sum((-2, -1))
    assert torch.allclose(left, torch.linalg.svdvals(x)[..., rank:].square().sum(-1), atol=1e-8)


@given(shapes, seeds, st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_standardise_is_blind_to_scale(shape, seed, scale):
    x, _ = codes((shape[0], shape[1] + 1, shape[2] + 1, shape[3] + 1), seed)
    assert torch.allclose(standardise(x)[0], standardise(scale * x)[0], atol=1e-9)
    unit, std = standardise(x)
    assert torch.allclose(unit * std, x, atol=1e-9)


def test_principal_angles_of_known_subspaces():
    angle = 0.3
    a = torch.eye(4, dtype=torch.double)[:, :2]
    b = a.clone()
    b[:, 1] = torch.tensor([0, torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle)), 0])
    assert torch.allclose(principal_angles(a, b), torch.tensor([0, angle], dtype=torch.double), atol=1e-7)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_principal_angles_ignore_signs_and_rotations(seed):
    a, b = (torch.linalg.qr(m[0, 0])[0] for m in codes((1, 1, 7, 3), seed))
    q, _ = torch.linalg.qr(codes((1, 1, 3, 3), seed + 1)[0][0, 0])
    assert torch.allclose(principal_angles(a, b), principal_angles(a @ q, -b), atol=1e-7)
    assert principal_angles(a, a @ q).max() < 1e-7


def loss(x, z, rank, w, a, b):
    """The four terms, written down again from the paper."""
    sx, sz = channel_svd(x, rank), channel_svd(z, rank)
    y = x - truncate(x, rank) + (a[..., None, None] * atoms(sx)).sum(-3) + (b[..., None, None] * atoms(sz)).sum(-3)
    value = (
        w.target * (y - z).square().sum()
        + w.source * (y - x).square().sum()
        + w.target_spectrum * (b - sz.s).square().sum()
        + w.source_spectrum * (a - sx.s).square().sum()
    )
    return value, y


@given(shapes, seeds, st.integers(1, 9), st.tuples(*[st.floats(0.01, 5)] * 4))
@settings(max_examples=40, deadline=None)
def test_closed_form_is_the_minimum_of_the_loss(shape, seed, rank, weights):
    x, z = codes(shape, seed)
    w = LossWeights(*weights)
    result = integrate(x, z, rank, w)
    a, b = result.a.clone().requires_grad_(), result.b.clone().requires_grad_()
    value, y = loss(x, z, rank, w, a, b)
    assert torch.allclose(y, result.y, atol=1e-7)
    value.backward()
    assert a.grad.abs().max() < 1e-5
    assert b.grad.abs().max() < 1e-5


def test_target_alone_at_full_rank_gives_the_target_and_source_alone_the_source():
    x, z = codes((2, 3, 6, 5), 0)
    assert torch.allclose(integrate(x, z, 5, LossWeights(1, 0, 0, 0)).y, z, atol=1e-7)
    assert torch.allclose(integrate(x, z, 2, LossWeights(0, 1, 0, 0)).y, x, atol=1e-7)


def test_what_lies_outside_the_top_k_of_both_is_kept():
    x, z = codes((1, 1, 6, 6), 1)
    y = integrate(x, z, 1, LossWeights(1, 0, 0, 0)).y
    change = y - x
    assert torch.linalg.matrix_rank(change[0, 0], rtol=1e-8) <= 2


@pytest.mark.parametrize(
    "make", [lambda x: x * 0 + 1, lambda x: torch.eye(6, dtype=x.dtype).expand(1, 2, 6, 6), lambda x: x]
)
def test_rank_deficient_repeated_and_identical_codes(make):
    x, _ = codes((1, 2, 6, 6), 2)
    result = integrate(make(x), make(x), 4, LossWeights(1, 0.1, 0.1, 0.1))
    assert torch.isfinite(result.y).all()
    assert integrate(x, x, 6, LossWeights(1, 1, 0, 0)).y.allclose(x, atol=1e-7)


def test_bad_weights_and_rank():
    with pytest.raises(EditError, match="target_weight is -1"):
        LossWeights(target=-1)
    with pytest.raises(EditError, match="All weights are zero"):
        LossWeights(0, 0, 0, 0)
    with pytest.raises(EditError, match="rank is 0"):
        integrate(*codes((1, 1, 4, 4), 0), 0)


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
    leading, eps = channel_svd(x, rank), 1e-5 if dtype == torch.float32 else 1e-7
    assert leading.s.dtype == dtype
    assert leading.s.shape[-1] == min(rank, *shape[2:])
    k = leading.s.shape[-1]
    assert torch.allclose(leading.s.double(), s[..., :k], atol=eps * float(s.max()))
    for basis in (leading.u, leading.v):
        assert torch.allclose(basis.mT @ basis, torch.eye(k, dtype=dtype).expand(*shape[:2], k, k), atol=30 * eps)
    gap = (s[..., k - 1] - s[..., k]).min() if k < s.shape[-1] else torch.tensor(1.0)
    if gap > 0.05:  # else the cut falls between equal values, and neither is the true one
        assert torch.allclose(
            compose(leading).double(), (u[..., :k] * s[..., None, :k]) @ vh[..., :k, :], atol=30 * eps * float(s.max())
        )


@given(seeds, st.integers(1, 5), st.sampled_from([(10, 10), (6, 14), (14, 6)]))
@settings(max_examples=30, deadline=None)
def test_leading_atoms_of_rank_deficient_channels(seed, rank, size):
    """Fewer atoms in the latent than asked for, and one channel of zeros."""
    a, b = codes((1, 2, size[0], rank), seed)[0], codes((1, 2, rank, size[1]), seed + 1)[1]
    x = a @ b
    x[:, 1] = 0
    leading = channel_svd(x, min(size) - 1)
    assert torch.allclose(compose(leading), x, atol=1e-9)
    eye = torch.eye(min(size) - 1, dtype=x.dtype)
    assert torch.allclose(leading.u.mT @ leading.u, eye.expand(1, 2, *eye.shape), atol=1e-9)


@given(seeds, st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_leading_atoms_are_deterministic_turn_with_the_latent_and_change_sign_with_it(seed, rank):
    x, y = codes((1, 2, 7, 9), seed)
    assert all(torch.equal(p, q) for p, q in zip(channel_svd(x, rank), channel_svd(x.clone(), rank)))
    left, right = torch.linalg.qr(y[0, 0, :, :7])[0], torch.linalg.qr(codes((1, 1, 9, 9), seed + 1)[0][0, 0])[0]
    turned = left @ truncate(x, rank) @ right
    assert torch.allclose(truncate(left @ x @ right, rank), turned, atol=1e-7)
    assert torch.allclose(truncate(-x, rank), -truncate(x, rank), atol=1e-9)
    assert torch.allclose(truncate(x.mT, rank), truncate(x, rank).mT, atol=1e-8)


@given(seeds, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_integration_turns_and_changes_sign_with_its_codes(seed, rank):
    """Whatever signs and rotations the SVD chose inside, y is the same."""
    x, z = codes((1, 2, 6, 6), seed)
    left, right = (torch.linalg.qr(m[0, 0])[0] for m in codes((1, 1, 6, 6), seed + 1))
    y = integrate(x, z, rank, LossWeights(1, 0.2, 0.1, 0.1)).y
    assert torch.allclose(
        integrate(left @ x @ right, left @ z @ right, rank, LossWeights(1, 0.2, 0.1, 0.1)).y,
        left @ y @ right,
        atol=1e-6,
    )
    assert torch.allclose(integrate(-x, -z, rank, LossWeights(1, 0.2, 0.1, 0.1)).y, -y, atol=1e-7)
    assert torch.allclose(integrate(3 * x, 3 * z, rank, LossWeights(1, 0.2, 0.1, 0.1)).y, 3 * y, atol=1e-6)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_batch_is_integrated_pair_by_pair(seed):
    x, z = codes((3, 2, 5, 7), seed)
    together = integrate(x, z, 3).y
    assert torch.allclose(
        together, torch.cat([integrate(x[i : i + 1], z[i : i + 1], 3).y for i in range(3)]), atol=1e-8
    )


@given(seeds, st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_repeated_singular_values_do_no_harm(seed, rank):
    """All singular values equal: any basis is a basis, but the minimum of the loss is reached whichever is chosen."""
    left, right = (torch.linalg.qr(m[0, 0])[0] for m in codes((1, 1, 6, 6), seed))
    x, z = (2 * left @ right).expand(1, 1, 6, 6), 2 * torch.eye(6, dtype=torch.double).expand(1, 1, 6, 6)
    result = integrate(x, z, rank)
    assert torch.isfinite(result.y).all()
    assert result.loss.sum() <= LossWeights().target * (x - z).square().sum() + 1e-9  # no worse than doing nothing
