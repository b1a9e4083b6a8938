"""Distances between codes, single atoms, attributes combined."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import (
    EditError,
    apply_attribute,
    channel_svd,
    combine_attributes,
    geodesic_distance,
    learn_attribute,
    scale_atoms,
    swap_atoms,
)
from singular_edit.core.latent_svd.subspaces import (
    attribute_profile,
    band_energy,
    leading_distance,
    mean_rank,
    random_distance,
    trajectory_distances,
)
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.latent_svd.transfer_gain import FOREIGN_GAIN

seeds = st.integers(0, 10_000)


def code(seed, shape=(2, 3, 8, 12)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def turned(x, seed, angle=1.0):
    """x with every column space turned by a random rotation of about this angle."""
    skew = torch.randn(x.shape[-2], x.shape[-2], generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return torch.matrix_exp(angle * (skew - skew.mT) / x.shape[-2]).to(x) @ x


@given(seeds, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_distance_is_a_metric_blind_to_signs_and_scale(seed, rank):
    a, b, c = (code(seed + i) for i in range(3))
    d = lambda x, y: leading_distance(x, y, rank)
    assert d(a, a).max() < 1e-6
    assert torch.allclose(d(a, b), d(b, a))
    assert (d(a, b) <= d(a, c) + d(c, b) + 1e-9).all()
    assert torch.allclose(d(a, -5 * b), d(a, b), atol=1e-6)
    assert (d(a, b) <= math.sqrt(rank) * math.pi / 2 + 1e-9).all()


def test_a_small_turn_is_a_small_distance_and_strangers_are_as_far_as_random_subspaces():
    x = code(0, (4, 4, 16, 16))
    small, large = (leading_distance(x, turned(x, 1, angle), 3).mean() for angle in (0.1, 1.0))
    chance = random_distance(16, 3)
    assert 0 < small < 0.3 * large < chance
    assert leading_distance(x, code(5, (4, 4, 16, 16)), 3).mean() == pytest.approx(chance, rel=0.05)
    table = trajectory_distances([x, turned(x, 1, 0.1), turned(x, 1, 1.0)], 3)
    assert torch.allclose(table, table.mT, atol=1e-6)
    assert table[0, 1] < table[0, 2]
    assert random_distance(5, 5) < 1e-6
    assert random_distance(100, 1) > 1.4


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_one_dimensional_distance_is_the_angle(seed):
    angle = (seed % 150) / 100
    a = torch.tensor([[1.0], [0.0]], dtype=torch.double)
    b = torch.tensor([[math.cos(angle)], [-math.sin(angle)]], dtype=torch.double)
    assert geodesic_distance(a, -b).item() == pytest.approx(angle, abs=1e-7)


def test_energies_and_profiles():
    x = code(3, (2, 3, 9, 9))
    assert torch.allclose(band_energy(x).sum(-1), torch.ones(2, 3, dtype=torch.double))
    assert (band_energy(x).diff(dim=-1) < 0).all()
    first = attribute_profile(x, x + compose(channel_svd(x, 1)))
    last = attribute_profile(x, x + 5 * (x - compose(channel_svd(x, 8))))
    none = attribute_profile(x, x + code(4, (2, 3, 9, 9)))
    assert torch.allclose(first.sum(-1), torch.ones(2, dtype=torch.double))
    assert (mean_rank(first) < mean_rank(none)).all()
    assert (mean_rank(none) < mean_rank(last)).all()
    assert mean_rank(none).mean().item() == pytest.approx(0.5, abs=0.1)


@given(seeds, st.integers(0, 7), st.floats(-1, 3))
@settings(max_examples=25, deadline=None)
def test_single_atoms_are_scaled(seed, j, factor):
    x = code(seed)
    y = scale_atoms(x, j, j + 1, factor, keep_norm=False)
    svd = channel_svd(x)
    got = (svd.u.mT @ y @ svd.v).diagonal(dim1=-2, dim2=-1)
    wanted = svd.s.clone()
    wanted[..., j] *= factor
    assert torch.allclose(got, wanted, atol=1e-3)
    kept = scale_atoms(x, j, j + 1, factor)
    assert torch.allclose(kept.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
    assert torch.equal(scale_atoms(x, j, j + 1, 1.0), x)


@given(seeds, st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_swapping(seed, scale):
    x, z = code(seed), code(seed + 1)
    assert torch.equal(swap_atoms(x, z, 0, 4, amount=0.0), x)
    assert torch.equal(swap_atoms(x, z, 3, 3), x)
    for what in ("atoms", "values", "both"):
        y = swap_atoms(x, z, 0, 4, what)
        assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
        assert torch.allclose(swap_atoms(scale * x, scale * z, 0, 4, what), scale * y, rtol=1e-3, atol=1e-3 * scale)
        assert torch.allclose(swap_atoms(x, x, 0, 4, what), x, atol=1e-5)
    values = swap_atoms(x, z, 0, 8, "values")
    shares = lambda t: channel_svd(t).s / channel_svd(t).s.norm(dim=-1, keepdim=True)
    assert torch.allclose(shares(values), shares(z), atol=1e-4)
    assert leading_distance(values, x, 4).max() < 1e-2 < leading_distance(swap_atoms(x, z, 0, 4, "atoms"), x, 4).min()


def test_swapping_refuses_what_does_not_fit():
    with pytest.raises(EditError, match="other has shape"):
        swap_atoms(code(0), code(1, (2, 3, 8, 8)), 0, 1)
    with pytest.raises(EditError, match="what is 'all'"):
        swap_atoms(code(0), code(1), 0, 1, "all")


def attribute(seed, shape=(1, 4, 16, 16), name="a", **info):
    x = code(seed, shape)
    bump = (
        torch.outer(torch.hann_window(shape[2]), torch.hann_window(shape[3]))
        if seed % 2
        else torch.linspace(-1, 1, shape[3]).expand(shape[2:])
    )
    return learn_attribute(x, x + 1.5 * bump, info={"name": name, **info}, sigma=1.0)


@given(st.floats(-2, 2).filter(abs), st.floats(-2, 2).filter(abs))
@settings(max_examples=15, deadline=None)
def test_combining_is_linear(first, second):
    a, b = attribute(1), attribute(2, name="b")
    edit = lambda attribute: compose(attribute.edit)
    together = combine_attributes([(first, a), (second, b)])
    assert torch.allclose(
        edit(together), FOREIGN_GAIN * (first * edit(a) + second * edit(b)), atol=4e-3
    )  # each as on a stranger's code
    assert (together.edit.s.diff(dim=-1) <= 1e-5).all()
    assert together.sigma == 1.0


def test_combining_across_sizes_ranks_and_families(tmp_path):
    a, b = attribute(1), attribute(2, (1, 4, 24, 20), "b", latent_format="SD15")
    together = combine_attributes([(1.0, a), (0.5, b)])
    assert together.edit.u.shape[1] == 24
    assert together.edit.v.shape[1] == 20
    assert together.info["latent_format"] == "SD15"
    x = code(7, (1, 4, 24, 20))
    assert (apply_attribute(x, together, 1.0) - x)[..., 8:16, 6:14].mean() > 0.2
    together.save(tmp_path / "both.safetensors")
    assert type(together).load(tmp_path / "both.safetensors").name == "+1 a +0.5 b"
    with pytest.raises(EditError, match="'c' has 3 channels but 'a' has 4"):
        combine_attributes([(1.0, a), (1.0, attribute(1, (1, 3, 16, 16), "c"))])
    with pytest.raises(EditError, match="another latent format"):
        combine_attributes([(1.0, b), (1.0, attribute(1, name="d", latent_format="SDXL"))])
    with pytest.raises(EditError, match="All weights are zero"):
        combine_attributes([(0.0, a)])
