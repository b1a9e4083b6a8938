"""SVD attributes, learned from pairs of codes."""

import pytest
import torch
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, LossWeights, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.saliency import saliency_weight
from torch.nn import functional as F

TARGET_ONLY = LossWeights(1, 0, 0, 0)


def pair(shape=(2, 4, 16, 16), seed=0):
    x = noise(shape, seed)
    bump = torch.outer(torch.hann_window(shape[2]), torch.hann_window(shape[3]))
    return x, x + 1.5 * bump


def test_a_batch_of_pairs_gives_their_mean():
    x, z = pair((6, 4, 16, 16))
    noisy = z + noise(x.shape, 1)
    how = AttributeSettings(rank=16, weights=TARGET_ONLY, focus=0.0)

    def edit(rows, target):
        return compose(learn_attribute(x[rows], target[rows], how).edit).flatten()

    everything = slice(None)
    clean = edit(everything, z)
    many = edit(everything, noisy)
    singles = [edit(slice(i, i + 1), noisy) for i in range(6)]
    likeness_of_singles = [F.cosine_similarity(single, clean, dim=0) for single in singles]
    assert F.cosine_similarity(many, clean, dim=0) > max(likeness_of_singles) + 0.1
    assert F.cosine_similarity(many, sum(singles), dim=0) > 0.999


def test_focus_keeps_what_differs_much_and_leaves_out_what_differs_little():
    x, _ = pair((1, 4, 16, 16))
    patch = torch.zeros(16, 16)
    patch[3:8, 4:12] = 2.0
    z = x + patch + 0.1  # much in one place, a shade everywhere
    edits = []
    for focus in (0.0, 1.0, 3.0):
        how = AttributeSettings(rank=16, weights=TARGET_ONLY, focus=focus)
        edits.append(compose(learn_attribute(x, z, how).edit))
    inside = torch.stack([edit[:, 4:7, 5:11].abs().mean() for edit in edits])
    outside = torch.stack([edit[:, 11:16, 0:16].abs().mean() for edit in edits])
    assert (inside[1:] / inside[0] > torch.tensor([1.5, 2.2])).all()
    assert outside[0] > 0.02
    assert (outside[1:] < 0.15 * outside[0]).all()


def test_without_focus_the_edit_gives_the_target_at_the_norm_of_the_source():
    x, _ = pair((1, 4, 16, 16))
    patch = torch.zeros(16, 16)
    patch[3:8, 4:12] = 2.0
    z = x + patch + 0.1
    whole = learn_attribute(x, z, AttributeSettings(rank=16, weights=TARGET_ONLY, focus=0.0))
    edited = apply_attribute(x, whole, 1.0)
    assert (F.cosine_similarity(edited.flatten(2), z.flatten(2), dim=2) > 0.99).all()


def test_the_saliency_weight_is_local_and_has_no_scale():
    edit = compose(learn_attribute(*pair((1, 4, 16, 16)), AttributeSettings(focus=0.0)).edit)
    assert torch.equal(saliency_weight(edit, 0.0), torch.ones(1, 16, 16))
    assert torch.allclose(saliency_weight(7 * edit), saliency_weight(edit), rtol=1e-4)
    assert torch.allclose(saliency_weight(edit.flip(-1)), saliency_weight(edit).flip(-1), atol=1e-5)
    assert torch.allclose(saliency_weight(edit.mT), saliency_weight(edit).mT, atol=1e-5)
    same_everywhere = torch.full((4, 8, 8), 0.3)
    assert torch.allclose(saliency_weight(same_everywhere, 3.0), torch.ones(1, 8, 8))
    assert torch.isfinite(saliency_weight(torch.zeros(4, 1, 5))).all()


@given(st.integers(0, 999), st.sampled_from([(1, 4, 1, 1), (1, 4, 2, 3), (3, 4, 5, 1), (2, 4, 7, 12)]))
@settings(max_examples=20, deadline=None)
def test_tiny_and_oblong_latents_learn_and_edit(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    z = torch.randn(shape, generator=generator)
    attribute = learn_attribute(x, z, AttributeSettings(rank=4))
    y = apply_attribute(x, attribute, 1.0)
    assert torch.isfinite(y).all()
    wanted = attribute.growth * x.flatten(2).norm(dim=2)
    assert torch.allclose(y.flatten(2).norm(dim=2), wanted, rtol=1e-3, atol=1e-5)
    assert torch.equal(apply_attribute(x, attribute, 0.0), x)


@given(st.floats(0.05, 20), st.floats(0.05, 20))
@settings(max_examples=20, deadline=None)
def test_codes_of_two_levels_are_each_measured_by_themselves(first, second):
    x, z = pair((1, 4, 16, 16))
    plain = learn_attribute(x, z, sigma=2.0, target_sigma=1.0)
    scaled = learn_attribute(first * x, second * z, sigma=2.0, target_sigma=1.0)
    assert scaled.growth is None
    assert torch.allclose(compose(plain.edit), compose(scaled.edit), atol=2e-3)


@given(st.floats(0.05, 20))
@settings(max_examples=20, deadline=None)
def test_codes_of_one_level_are_measured_by_the_source(scale):
    """A target with the same noise and twice the contrast is no target of unit variance with half the noise."""
    x, z = pair((1, 4, 16, 16))
    plain, scaled = (learn_attribute(factor * x, factor * (z + x), sigma=2, target_sigma=2) for factor in (1.0, scale))
    assert torch.allclose(compose(plain.edit), compose(scaled.edit), atol=2e-3)
    assert torch.allclose(plain.growth, scaled.growth, rtol=1e-3)
    assert (plain.growth > 1.5).all()
    assert torch.equal(learn_attribute(x, z + x).growth, plain.growth), "of unknown levels they count as one"


@pytest.mark.parametrize("make", [torch.zeros, torch.ones])
def test_a_source_of_zeros_or_of_one_value_stays_finite(make):
    _, z = pair((1, 4, 16, 16))
    assert torch.isfinite(learn_attribute(make(1, 4, 16, 16), z).edit.s).all()


def test_large_latents_are_learned_and_edited_in_their_shape():
    x = noise((4, 16, 128, 128), 0)
    z = x + torch.hann_window(128)
    attribute = learn_attribute(x, z)
    assert attribute.edit.u.shape[:2] == (16, 128)
    assert torch.isfinite(compose(attribute.edit)).all()
    y = apply_attribute(x, attribute, 1.0)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


def test_bad_pairs_and_settings_get_a_sentence():
    x, z = pair()
    with pytest.raises(EditError, match="must be the same size"):
        learn_attribute(x, z[..., :8])
    with pytest.raises(EditError, match="nothing to learn"):
        learn_attribute(x, x)
    with pytest.raises(EditError, match="target_weight is 0"):
        learn_attribute(x, z, AttributeSettings(weights=LossWeights(0, 1, 0, 0)))
    with pytest.raises(EditError, match="focus is -1"):
        AttributeSettings(focus=-1.0)
