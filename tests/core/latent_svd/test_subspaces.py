"""Distances between codes, and which atoms an attribute moves."""

import math

import pytest
import torch
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import channel_svd, geodesic_distance, principal_angles
from singular_edit.core.latent_svd.subspaces import (
    attribute_profile,
    band_energy,
    leading_distance,
    mean_rank,
    random_distance,
    trajectory_distances,
)
from singular_edit.core.latent_svd.svd import compose

SHAPE = (2, 3, 8, 12)
seeds = st.integers(0, 10_000)


def turned(x, seed, angle=1.0):
    """x with every column space turned by a random rotation of about this angle."""
    size = x.shape[-2]
    drawn = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    rotation = torch.matrix_exp(angle * (drawn - drawn.mT) / size)
    return rotation.to(x) @ x


def orthonormal(rows, columns, generator):
    return torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.double))[0]


def test_principal_angles_of_known_subspaces():
    angle = 0.3
    a = torch.eye(4, dtype=torch.double)[:, :2]
    b = a.clone()
    b[:, 1] = torch.tensor([0, math.cos(angle), math.sin(angle), 0], dtype=torch.double)
    assert torch.allclose(principal_angles(a, b), torch.tensor([0, angle], dtype=torch.double), atol=1e-7)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_principal_angles_ignore_signs_and_rotations(seed):
    generator = torch.Generator().manual_seed(seed)
    a = orthonormal(7, 3, generator)
    b = orthonormal(7, 3, generator)
    rotation = orthonormal(3, 3, generator)
    assert torch.allclose(principal_angles(a, b), principal_angles(a @ rotation, -b), atol=1e-7)
    assert principal_angles(a, a @ rotation).max() < 1e-7


@given(seeds, st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_distance_is_a_metric_blind_to_signs_and_scale(seed, rank):
    a = noise(SHAPE, seed)
    b = noise(SHAPE, seed + 1)
    c = noise(SHAPE, seed + 2)
    a_to_b = leading_distance(a, b, rank)
    assert leading_distance(a, a, rank).max() < 1e-6
    assert torch.allclose(a_to_b, leading_distance(b, a, rank))
    assert (a_to_b <= leading_distance(a, c, rank) + leading_distance(c, b, rank) + 1e-9).all()
    assert torch.allclose(leading_distance(a, -5 * b, rank), a_to_b, atol=1e-6)
    assert (a_to_b <= math.sqrt(rank) * math.pi / 2 + 1e-9).all()


def test_a_small_turn_is_a_small_distance_and_unrelated_codes_are_as_far_as_random_subspaces():
    x = noise((4, 4, 16, 16), 0)
    small = leading_distance(x, turned(x, 1, 0.1), 3).mean()
    large = leading_distance(x, turned(x, 1, 1.0), 3).mean()
    chance = random_distance(16, 3)
    assert small > 0
    assert small < 0.3 * large
    assert 0.3 * large < chance
    assert leading_distance(x, noise((4, 4, 16, 16), 5), 3).mean() == pytest.approx(chance, rel=0.05)


def test_a_trajectory_has_a_symmetric_table_of_distances():
    x = noise((4, 4, 16, 16), 0)
    table = trajectory_distances([x, turned(x, 1, 0.1), turned(x, 1, 1.0)], 3)
    assert torch.allclose(table, table.mT, atol=1e-6)
    assert table[0, 1] < table[0, 2]


def test_random_distances_of_whole_spaces_and_of_single_directions():
    assert random_distance(5, 5) < 1e-6
    assert random_distance(100, 1) > 1.4


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_one_dimensional_distance_is_the_angle(seed):
    angle = (seed % 150) / 100
    a = torch.tensor([[1.0], [0.0]], dtype=torch.double)
    b = torch.tensor([[math.cos(angle)], [-math.sin(angle)]], dtype=torch.double)
    assert geodesic_distance(a, -b).item() == pytest.approx(angle, abs=1e-7)


def test_band_energies_add_up_and_fall():
    energy = band_energy(noise((2, 3, 9, 9), 3))
    assert torch.allclose(energy.sum(-1), torch.ones(2, 3, dtype=torch.double))
    assert (energy.diff(dim=-1) < 0).all()


def test_a_profile_says_which_atoms_are_moved():
    x = noise((2, 3, 9, 9), 3)
    first = attribute_profile(x, x + compose(channel_svd(x, 1)))
    last = attribute_profile(x, x + 5 * (x - compose(channel_svd(x, 8))))
    unrelated = attribute_profile(x, x + noise((2, 3, 9, 9), 4))
    assert torch.allclose(first.sum(-1), torch.ones(2, dtype=torch.double))
    assert (mean_rank(first) < mean_rank(unrelated)).all()
    assert (mean_rank(unrelated) < mean_rank(last)).all()
    assert mean_rank(unrelated).mean().item() == pytest.approx(0.5, abs=0.1)
