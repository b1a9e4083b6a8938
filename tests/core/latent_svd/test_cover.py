"""What an attribute of several pairs covers."""

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import SVDAttribute, apply_attribute, combine_attributes, learn_attribute
from singular_edit.core.latent_svd.cover import MIN_PAIRS, Cover, covered_norm, measure_cover, replacement
from singular_edit.core.latent_svd.svd import channel_norm, channel_svd, compose
from singular_edit.core.saliency import local_mean

SIZE = 16
REGION = (slice(3, 9), slice(4, 12))
INSIDE = (slice(5, 7), slice(6, 10))  # windows that stay in the region
OUTSIDE = (slice(12, 16), slice(0, 16))


def weight():
    region = torch.zeros(1, SIZE, SIZE)
    region[0][REGION] = 1.0
    return region


def pairs(count=24):
    """Return sources, targets with one thing in the region whatever was there, and targets it was added to."""
    x = noise((count, 4, SIZE, SIZE), 0)
    covered = torch.where(weight() > 0, torch.tensor(1.5), x)
    return x, covered, x + 1.5 * weight()


def cover_of(beneath):
    """Return a cover of the whole region over a source code, [4, H, W]."""
    return Cover(weight()[0], channel_svd(beneath), torch.full((4,), 2.0), torch.full((4,), 3.0))


def test_what_is_the_same_whatever_was_there_is_covered_and_what_is_added_is_not():
    x, covered, added = pairs()
    share = measure_cover(x, covered, weight(), covering=1.0).share
    assert share[INSIDE].min() > 0.99
    assert share[OUTSIDE].max() == 0
    assert measure_cover(x, added, weight()).share.max() < 1e-4


def test_half_of_what_stays_is_half_of_it_covered():
    x, covered, _ = pairs()
    half = (x + covered) / 2
    share = measure_cover(x, half, weight(), covering=1.0).share
    assert share[INSIDE].mean() == pytest.approx(0.5, abs=0.01)


def test_few_pairs_do_not_tell():
    x, covered, _ = pairs(MIN_PAIRS)
    assert measure_cover(x, covered, weight()) is not None
    assert measure_cover(x[1:], covered[1:], weight()) is None


def test_a_covered_place_comes_out_alike_on_every_picture():
    x, covered, _ = pairs()
    attribute = learn_attribute(x, covered)
    edit = compose(attribute.edit)
    levels = torch.linspace(-0.7, 0.7, 8)[:, None, None, None]  # from dark to light
    pictures = noise((1, 4, SIZE, SIZE), 1) + levels * weight()
    edited = pictures + edit + replacement(attribute.cover, pictures, edit, 1.0)
    for place, left in ((INSIDE, 0.05), (OUTSIDE, 1.0)):
        before, after = (local_mean(code)[..., *place].std(0).mean() for code in (pictures, edited))
        assert after <= left * before + 1e-6
    assert torch.allclose(edited[..., *OUTSIDE], (pictures + edit)[..., *OUTSIDE], atol=0.01)


def test_taking_away_brings_back_what_adding_covered():
    beneath = torch.full((4, SIZE, SIZE), 0.3)
    edit = 1.5 * weight().expand(4, -1, -1)
    cover = cover_of(beneath)
    plain = beneath[None]
    with_it = plain + edit + replacement(cover, plain, edit, 1.0)
    without = with_it - edit + replacement(cover, with_it, edit, -1.0)
    assert torch.allclose(without[..., *INSIDE], plain[..., *INSIDE], atol=1e-5)
    # Dark there before: adding makes it what it is on every picture, and taking away cannot know.
    dark = plain - weight()
    covered = dark + edit + replacement(cover, dark, edit, 1.0)
    assert torch.allclose(covered[..., *INSIDE], with_it[..., *INSIDE], atol=1e-5)


def test_no_more_than_all_is_replaced():
    cover = cover_of(torch.ones(4, SIZE, SIZE))
    x = noise((1, 4, SIZE, SIZE), 0)
    edit = torch.zeros(4, SIZE, SIZE)
    half, whole, beyond = (replacement(cover, x, edit, strength) for strength in (0.5, 1.0, 3.0))
    assert torch.allclose(2 * half, whole)
    assert torch.equal(whole, beyond)


def test_a_channel_has_the_norm_that_targets_have_where_it_is_covered():
    x = noise((2, 4, SIZE, SIZE), 0)
    cover = cover_of(torch.ones(4, SIZE, SIZE))
    places = weight().sum()
    elsewhere = ((1 - weight()) * x.square()).sum((-2, -1))
    for strength, energy in ((1.0, 3.0), (2.0, 3.0), (-1.0, 2.0)):
        assert torch.allclose(covered_norm(cover, x, strength)[..., 0, 0].square(), elsewhere + energy * places)
    assert torch.allclose(covered_norm(cover, x, 1e-9), channel_norm(x))


def test_energies_are_those_of_the_pairs():
    x, covered, _ = pairs()
    cover = measure_cover(x, covered, weight(), covering=1.0)
    assert torch.allclose(cover.target_energy, torch.full((4,), 1.5**2), rtol=0.05)
    assert torch.allclose(cover.source_energy, x[..., *REGION].square().mean((0, 2, 3)), rtol=0.1)


def test_a_file_keeps_it(tmp_path):
    x, covered, _ = pairs()
    attribute = learn_attribute(x, covered)
    attribute.save(tmp_path / "cover.safetensors")
    again = SVDAttribute.load(tmp_path / "cover.safetensors")
    code = noise((1, 4, SIZE, SIZE), 1)
    edited = apply_attribute(code, again, 1.0)
    assert torch.equal(edited, apply_attribute(code, attribute, 1.0))
    assert not torch.allclose(edited, apply_attribute(code, replace(again, cover=None), 1.0), atol=0.1)


def test_it_fits_latents_of_another_size():
    x, covered, _ = pairs()
    cover = learn_attribute(x, covered).cover
    larger = cover.resized(24, 40)
    assert larger.share.shape == (24, 40)
    assert 0 <= larger.share.min() <= larger.share.max() <= 1
    assert compose(larger.source).shape == (4, 24, 40)
    assert larger.share.mean() == pytest.approx(float(cover.share.mean()), rel=0.05)


def test_a_band_of_finer_atoms_covers_nothing():
    x, covered, _ = pairs()
    attribute = learn_attribute(x, covered)
    code = noise((1, 4, SIZE, SIZE), 1)
    for band, covers in (("fine", False), ("coarse", True)):
        edited, added = (
            apply_attribute(code, one, 1.0, band=band) for one in (attribute, replace(attribute, cover=None))
        )
        assert torch.equal(edited, added) is not covers


def test_attributes_together_cover_what_either_covers():
    x, covered, added = pairs()
    one, other = learn_attribute(x, covered), learn_attribute(x, added)
    together = combine_attributes([(1.0, one), (0.5, other)])
    shares = one.cover.share + 0.5 * other.cover.share
    assert torch.allclose(together.cover.share, shares.clamp(max=1), atol=1e-6)
    assert torch.allclose(combine_attributes([(0.5, one)]).cover.share, 0.5 * one.cover.share)
    assert combine_attributes([(1.0, replace(one, cover=None))]).cover is None


def test_an_attribute_and_its_opposite_cover_nothing():
    x, covered, _ = pairs()
    attribute = learn_attribute(x, covered)
    nothing = combine_attributes([(1.0, attribute), (-1.0, attribute)])
    code = noise((1, 4, SIZE, SIZE), 1)
    assert torch.allclose(apply_attribute(code, nothing, 1.0), code, atol=1e-4)
