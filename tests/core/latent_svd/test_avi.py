"""Attribute Vector Integration in closed form, by properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, LossWeights, atoms, channel_svd, integrate, truncate

shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 10_000)

TARGET_ONLY = LossWeights(1, 0, 0, 0)
ALL_FOUR = LossWeights(1, 0.2, 0.1, 0.1)


def codes(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.double)
    z = torch.randn(shape, generator=generator, dtype=torch.double)
    return x, z


def rotations(seed):
    """Two orthogonal 6 x 6 matrices."""
    first, second = codes((1, 1, 6, 6), seed)
    return torch.linalg.qr(first[0, 0])[0], torch.linalg.qr(second[0, 0])[0]


def identity_of(x):
    return torch.eye(6, dtype=x.dtype).expand(1, 2, 6, 6)


def loss_by_hand(x, z, rank, weights, a, b):
    """The four terms, written down again from the paper; y too."""
    source = channel_svd(x, rank)
    target = channel_svd(z, rank)
    on_source = (a[..., None, None] * atoms(source)).sum(-3)
    on_target = (b[..., None, None] * atoms(target)).sum(-3)
    y = x - truncate(x, rank) + on_source + on_target
    value = (
        weights.target * (y - z).square().sum()
        + weights.source * (y - x).square().sum()
        + weights.target_spectrum * (b - target.s).square().sum()
        + weights.source_spectrum * (a - source.s).square().sum()
    )
    return value, y


@given(shapes, seeds, st.integers(1, 9), st.tuples(*[st.floats(0.01, 5)] * 4))
@settings(max_examples=40, deadline=None)
def test_closed_form_is_the_minimum_of_the_loss(shape, seed, rank, weights):
    x, z = codes(shape, seed)
    result = integrate(x, z, rank, LossWeights(*weights))
    a = result.a.clone().requires_grad_()
    b = result.b.clone().requires_grad_()
    value, y = loss_by_hand(x, z, rank, LossWeights(*weights), a, b)
    assert torch.allclose(y, result.y, atol=1e-7)
    value.backward()
    assert a.grad.abs().max() < 1e-5
    assert b.grad.abs().max() < 1e-5


def test_target_alone_at_full_rank_gives_the_target_and_source_alone_the_source():
    x, z = codes((2, 3, 6, 5), 0)
    assert torch.allclose(integrate(x, z, 5, TARGET_ONLY).y, z, atol=1e-7)
    assert torch.allclose(integrate(x, z, 2, LossWeights(0, 1, 0, 0)).y, x, atol=1e-7)


def test_what_lies_outside_the_top_k_of_both_is_kept():
    x, z = codes((1, 1, 6, 6), 1)
    change = integrate(x, z, 1, TARGET_ONLY).y - x
    assert torch.linalg.matrix_rank(change[0, 0], rtol=1e-8) <= 2


@pytest.mark.parametrize("make", [torch.ones_like, identity_of, torch.clone], ids=["ones", "identity", "noise"])
def test_rank_deficient_repeated_and_identical_codes_stay_finite(make):
    x, _ = codes((1, 2, 6, 6), 2)
    result = integrate(make(x), make(x), 4, LossWeights(1, 0.1, 0.1, 0.1))
    assert torch.isfinite(result.y).all()


def test_identical_codes_are_kept():
    x, _ = codes((1, 2, 6, 6), 2)
    assert torch.allclose(integrate(x, x, 6, LossWeights(1, 1, 0, 0)).y, x, atol=1e-7)


def test_bad_weights_and_rank():
    with pytest.raises(EditError, match="target_weight is -1"):
        LossWeights(target=-1)
    with pytest.raises(EditError, match="All weights are zero"):
        LossWeights(0, 0, 0, 0)
    x, z = codes((1, 1, 4, 4), 0)
    with pytest.raises(EditError, match="rank is 0"):
        integrate(x, z, 0)


@given(seeds, st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_integration_turns_and_changes_sign_with_its_codes(seed, rank):
    """Whatever signs and rotations the SVD chose inside, y is the same."""
    x, z = codes((1, 2, 6, 6), seed)
    left, right = rotations(seed + 1)
    y = integrate(x, z, rank, ALL_FOUR).y
    turned = integrate(left @ x @ right, left @ z @ right, rank, ALL_FOUR).y
    assert torch.allclose(turned, left @ y @ right, atol=1e-6)
    assert torch.allclose(integrate(-x, -z, rank, ALL_FOUR).y, -y, atol=1e-7)
    assert torch.allclose(integrate(3 * x, 3 * z, rank, ALL_FOUR).y, 3 * y, atol=1e-6)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_batch_is_integrated_pair_by_pair(seed):
    x, z = codes((3, 2, 5, 7), seed)
    one_by_one = [integrate(x[i : i + 1], z[i : i + 1], 3).y for i in range(3)]
    assert torch.allclose(integrate(x, z, 3).y, torch.cat(one_by_one), atol=1e-8)


@given(seeds, st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_repeated_singular_values_do_no_harm(seed, rank):
    """All singular values equal: any basis is a basis, but the minimum is reached whichever is chosen."""
    left, right = rotations(seed)
    x = (2 * left @ right).expand(1, 1, 6, 6)
    z = 2 * torch.eye(6, dtype=torch.double).expand(1, 1, 6, 6)
    result = integrate(x, z, rank)
    assert torch.isfinite(result.y).all()
    loss_of_doing_nothing = LossWeights().target * (x - z).square().sum()
    assert result.loss.sum() <= loss_of_doing_nothing + 1e-9
