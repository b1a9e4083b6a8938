"""An attribute applied to codes: its strength, its limits, and the norms that it keeps."""

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.apply import restore_channel_norm
from singular_edit.core.latent_svd.svd import channel_norm
from singular_edit.core.saliency import saliency_weight
from torch.nn import functional as F

WINDOW = torch.outer(torch.hann_window(16), torch.hann_window(16))


def brightness_of_the_middle(x):
    return x[..., 5:11, 5:11].mean()


def test_the_edit_carries_the_attribute_to_another_code(bump):
    other = noise((1, 4, 16, 16), 9)
    change = apply_attribute(other, bump, 1.0) - other
    wanted = (1.5 * WINDOW).expand(1, 4, 16, 16)
    assert F.cosine_similarity(change.flatten(), wanted.flatten(), dim=0) > 0.8


def test_strength_has_a_sign(bump):
    x = noise((1, 4, 16, 16), 3)
    before = brightness_of_the_middle(x)
    assert brightness_of_the_middle(apply_attribute(x, bump, 1.0)) > before + 0.3
    assert brightness_of_the_middle(apply_attribute(x, bump, -1.0)) < before - 0.3


@given(st.sampled_from([torch.float32, torch.float16, torch.float64]), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_strength_zero_is_the_input_bit_for_bit(dtype, seed):
    source = noise((2, 4, 16, 16), 0)
    attribute = learn_attribute(source, source + 1.5 * WINDOW)
    x = noise((2, 4, 12, 20), seed).to(dtype)
    y = apply_attribute(x, attribute, 0.0)
    assert torch.equal(x, y)
    assert y.dtype == dtype
    assert y.data_ptr() != x.data_ptr()


@given(st.floats(-3, 3).filter(lambda s: abs(s) > 0.01), st.floats(0.1, 15))
@settings(max_examples=20, deadline=None)
def test_norms_are_kept_or_grow_as_the_pairs_did_and_scale_passes_through(bump, strength, scale):
    x = noise((2, 4, 16, 16), 5)
    old = apply_attribute(x, replace(bump, growth=None), strength)
    assert torch.allclose(old.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
    growth = torch.tensor([0.7, 1.0, 1.2, 1.5])
    grown = apply_attribute(x, replace(bump, growth=growth), strength)
    wanted = growth ** max(-1.0, min(strength, 1.0)) * x.flatten(2).norm(dim=2)
    assert torch.allclose(grown.flatten(2).norm(dim=2), wanted, rtol=1e-4)
    y = apply_attribute(x, bump, strength)
    assert torch.allclose(apply_attribute(scale * x, bump, strength), scale * y, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize(("ground", "snow"), [(3.0, 1.0), (-2.0, 0.5), (0.5, 2.0)])
def test_a_change_of_a_whole_channel_comes_to_its_own_code_and_goes_back(ground, snow):
    """Snow over dark ground: a channel that was far from grey comes near to it, and its norm falls."""
    x = noise((1, 4, 16, 16), 0)
    x[:, 1] += ground
    z = x.clone()
    z[:, 1] += snow - ground
    attribute = learn_attribute(x, z, sigma=1.0, target_sigma=1.0)

    def came(strength):
        return float((apply_attribute(x, attribute, strength) - x)[:, 1].mean())

    assert came(1.0) == pytest.approx(snow - ground, rel=0.25)
    assert 0.2 < came(0.5) / came(1.0) < 0.8
    again = apply_attribute(apply_attribute(x, attribute, 1.0), replace(attribute, source=None), -1.0)
    assert float(again[:, 1].mean()) == pytest.approx(ground, abs=0.3 * abs(snow - ground))


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (8, 8), (1, 5)])
def test_other_sizes_and_aspect_ratios(bump, size):
    height, width = size
    x = noise((1, 4, height, width), 6)
    y = apply_attribute(x, bump, 1.0)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    if min(size) >= 16:
        change = y - x
        middle = change[:, :, height // 3 : -height // 3, width // 3 : -width // 3]
        assert middle.mean() > change.mean() + 0.2


def test_bands_and_ranks_partition_the_edit(bump):
    x = noise((1, 4, 16, 16), 7)
    coarse = apply_attribute(x, bump, 0.5, band="coarse") - x
    fine = apply_attribute(x, bump, 0.5, band="fine") - x
    assert coarse.norm() > 5 * fine.norm()
    assert torch.equal(apply_attribute(x, bump, 0.5, rank=bump.rank), apply_attribute(x, bump, 0.5))


def test_the_mask_leaves_the_rest_alone(bump):
    x = noise((2, 4, 16, 16), 8)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    y = apply_attribute(x, bump, 1.0, mask=mask)
    assert torch.equal(y[..., 8:], x[..., 8:])
    assert not torch.equal(y[..., :8], x[..., :8])
    with pytest.raises(EditError, match="mask has shape"):
        apply_attribute(x, bump, 1.0, mask=torch.zeros(3, 1, 16, 16))


def test_the_latent_is_never_changed(bump):
    x = noise((1, 4, 16, 16), 10)
    before = x.clone()
    apply_attribute(x, bump, 2.0)
    assert torch.equal(x, before)


@given(st.integers(0, 999), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_each_picture_of_a_batch_is_edited_by_itself(bump, seed, strength):
    scales = torch.tensor([1.0, 4.0, 0.2])[:, None, None, None]
    x = noise((3, 4, 16, 16), seed) * scales
    one_by_one = torch.cat([apply_attribute(x[i : i + 1], bump, strength) for i in range(3)])
    assert torch.allclose(apply_attribute(x, bump, strength), one_by_one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [torch.zeros, torch.ones])
def test_a_code_of_zeros_or_of_one_value_stays_finite(bump, make):
    assert torch.isfinite(apply_attribute(make(1, 4, 16, 16), bump, 1.0)).all()


def test_bad_input_gets_a_sentence(bump):
    x = noise((2, 4, 16, 16), 0)
    with pytest.raises(EditError, match="16 channels but attribute 'bump' was learned on 4"):
        apply_attribute(torch.randn(1, 16, 8, 8), bump, 1.0)
    with pytest.raises(EditError, match="latent contains NaN"):
        apply_attribute(x * float("nan"), bump, 1.0)
    with pytest.raises(EditError, match="latent has 5 dimensions"):
        apply_attribute(torch.randn(1, 4, 2, 8, 8), bump, 1.0)
    with pytest.raises(EditError, match="band is 'loud'"):
        apply_attribute(x, bump, 1.0, band="loud")


@given(st.integers(0, 999), st.floats(0.05, 5), st.sampled_from([(2, 4, 16, 16), (1, 3, 1, 5), (1, 1, 2, 2)]))
@settings(max_examples=40, deadline=None)
def test_the_norm_comes_back_where_the_edit_lies(seed, size, shape):
    x = noise(shape, seed)
    edited_columns = max(1, shape[3] // 3)
    edit = torch.zeros(shape[1:])
    edit[..., :edited_columns] = size * noise(shape, seed + 1)[0, ..., :edited_columns]
    y = restore_channel_norm(x + edit, channel_norm(x), saliency_weight(edit).clamp(max=1))
    assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-3)
    if shape[3] == 16 and size < 1:
        assert torch.allclose(y[..., 8:], x[..., 8:], atol=1e-4)  # nothing was edited there


def test_a_strong_edit_still_shows_where_it_is_strongest():
    """The code is shrunk most where most differs, but never to nothing: an exponential has no zero.

    A factor that is linear in the weight has one.
    """
    x = noise((1, 4, 16, 16), 0)
    peaks = []
    for size in (1.0, 3.0, 9.0, 27.0):
        edit = size * WINDOW.expand(4, 16, 16)
        y = restore_channel_norm(x + edit, channel_norm(x), saliency_weight(edit).clamp(max=1))
        peaks.append(float(y[..., 7:9, 7:9].mean()))
    assert min(peaks) > 0.6
    assert peaks[2] > peaks[0]


def test_the_norm_comes_back_where_no_place_stands_out_or_nothing_was_edited():
    x = noise((1, 4, 16, 16), 0)
    everywhere = torch.ones(1, 16, 16)
    nowhere = torch.zeros(1, 16, 16)
    assert torch.allclose(restore_channel_norm(2 * x, channel_norm(x), everywhere), x, atol=1e-5)
    assert torch.allclose(restore_channel_norm(0.5 * x, channel_norm(x), everywhere), x, atol=1e-5)
    assert torch.allclose(restore_channel_norm(3 * x, channel_norm(x), nowhere), x, atol=1e-5)
    assert torch.isfinite(restore_channel_norm(torch.zeros_like(x), channel_norm(x), nowhere)).all()


@pytest.mark.parametrize("size", [(16, 16), (24, 20)])
def test_a_band_without_an_atom_changes_nothing(size):
    x = noise((2, 4, 16, 16))
    attribute = learn_attribute(x[:1], x[1:])
    latent = noise((1, 4, *size), 5)
    assert torch.equal(apply_attribute(latent, attribute, 1.0, rank=1, band="coarse"), latent)
