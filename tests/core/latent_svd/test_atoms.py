"""Single atoms of a code, scaled and swapped."""

import pytest
import torch
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, channel_svd, scale_atoms, swap_atoms
from singular_edit.core.latent_svd.atoms import SWAPS
from singular_edit.core.latent_svd.subspaces import leading_distance

SHAPE = (2, 3, 8, 12)
seeds = st.integers(0, 10_000)


def spectrum_shares(x):
    s = channel_svd(x).s
    return s / s.norm(dim=-1, keepdim=True)


@given(seeds, st.integers(0, 7), st.floats(-1, 3))
@settings(max_examples=25, deadline=None)
def test_single_atoms_are_scaled(seed, j, factor):
    x = noise(SHAPE, seed)
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
def test_swapping_keeps_norms_and_passes_scale_through(seed, scale):
    x = noise(SHAPE, seed)
    z = noise(SHAPE, seed + 1)
    assert torch.equal(swap_atoms(x, z, 0, 4, amount=0.0), x)
    assert torch.equal(swap_atoms(x, z, 3, 3), x)
    for what in SWAPS:
        y = swap_atoms(x, z, 0, 4, what)
        assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
        assert torch.allclose(swap_atoms(scale * x, scale * z, 0, 4, what), scale * y, rtol=1e-3, atol=1e-3 * scale)
        assert torch.allclose(swap_atoms(x, x, 0, 4, what), x, atol=1e-5)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_swapped_values_keep_the_subspaces_and_swapped_atoms_do_not(seed):
    x = noise(SHAPE, seed)
    z = noise(SHAPE, seed + 1)
    values = swap_atoms(x, z, 0, 8, "values")
    assert torch.allclose(spectrum_shares(values), spectrum_shares(z), atol=1e-4)
    assert leading_distance(values, x, 4).max() < 1e-2
    assert leading_distance(swap_atoms(x, z, 0, 4, "atoms"), x, 4).min() > 1e-2


def test_swapping_refuses_what_does_not_fit():
    x = noise(SHAPE, 0)
    with pytest.raises(EditError, match="other has shape"):
        swap_atoms(x, noise((2, 3, 8, 8), 1), 0, 1)
    with pytest.raises(EditError, match="what is 'all'"):
        swap_atoms(x, noise(SHAPE, 1), 0, 1, "all")
