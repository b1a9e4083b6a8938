"""Pairs that are moved onto each other, and the filter that finds where another picture wants their attribute."""

from dataclasses import replace

import pytest
import torch
from helpers.heads import HAT, HEIGHT, SIDE, pictures, places, with_hats
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, SVDAttribute, apply_attribute, combine_attributes, learn_attribute
from singular_edit.core.latent_svd.alignment import FOUND, align_pairs, find_shifts, moved
from singular_edit.core.latent_svd.pair_notes import COMMON_SHARE, OTHER_WAYS


@pytest.fixture(scope="module")
def where():
    return places(16)


@pytest.fixture(scope="module")
def attribute(where):
    x = pictures(where)
    return learn_attribute(x, with_hats(x, where), info={"name": "hat"})


def test_pairs_are_moved_onto_each_other(where):
    x = pictures(where)
    found = align_pairs(x, with_hats(x, where) - x)
    assert found.found > 0.9
    together = found.shifts + where
    assert (together - together.median(0).values).abs().max() <= 1
    assert found.shifts.double().mean(0).abs().max() <= 0.5


def test_a_hat_comes_to_where_another_picture_has_its_head(attribute):
    where = places(12, seed=1)
    x = pictures(where, seed=1)
    change = moved(apply_attribute(x, attribute, 1.0) - x, -where)
    inside = change[..., *HAT].square().mean((-3, -2, -1)).sqrt()
    assert inside.min() > 3 * change.square().mean((-3, -2, -1)).sqrt().max() / 2
    assert (torch.sign(change[..., *HAT].mean((-2, -1))) == torch.sign(-HEIGHT[:, 0, 0])).all()
    taken = moved(apply_attribute(x, attribute, -1.0) - x, -where)
    assert (torch.sign(taken[..., *HAT].mean((-2, -1))) == torch.sign(HEIGHT[:, 0, 0])).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(-4, 4), st.integers(-4, 4))
def test_a_moved_picture_is_edited_alike(attribute, down, right):
    x = pictures(torch.zeros(1, 2, dtype=torch.long), seed=2)
    by = torch.tensor([[down, right]])
    assert torch.equal(apply_attribute(moved(x, by), attribute, 0.7), moved(apply_attribute(x, attribute, 0.7), by))


def test_a_batch_is_its_pictures_and_strength_0_is_the_picture(attribute):
    x = pictures(places(3, seed=3), seed=3)
    together = apply_attribute(x, attribute, 1.0)
    alone = torch.cat([apply_attribute(one[None], attribute, 1.0) for one in x])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.equal(apply_attribute(x, attribute, 0.0), x)


def test_a_code_of_another_size_is_moved_by_as_large_a_share(attribute):
    x = pictures(places(6, seed=4), seed=4)
    large = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    small = find_shifts(attribute.correlation_filter, x)
    assert ((find_shifts(attribute.correlation_filter, large) - 2 * small).abs() <= 2).all()


def test_pairs_that_share_enough_lie_as_they_are():
    here = torch.zeros(16, 2, dtype=torch.long)
    x = pictures(here)
    attribute = learn_attribute(x, with_hats(x, here))
    assert attribute.correlation_filter is None
    assert FOUND not in attribute.info
    elsewhere = places(16)
    few = pictures(elsewhere)[:7]
    assert learn_attribute(few, with_hats(few, elsewhere[:7])).correlation_filter is None


def test_what_nothing_in_the_picture_tells_is_not_moved(where):
    """Hats that float in noise: they can be moved onto each other, and no filter finds them."""
    x = noise((16, 4, SIDE, SIDE), 0)
    edits = with_hats(x, where) - x
    assert align_pairs(x, edits) is None
    attribute = learn_attribute(x, x + edits)
    assert attribute.correlation_filter is None
    assert OTHER_WAYS in attribute.report()


def test_its_report_says_how_often_the_place_was_found(attribute):
    assert float(attribute.info[COMMON_SHARE]) > 0.4
    assert OTHER_WAYS not in attribute.report()
    assert "moved onto each other" in attribute.report()
    assert "found in 100% of pairs left out" in attribute.report()


@pytest.mark.parametrize("said", ["nan", "7", "often"])
def test_what_a_stranger_wrote_of_it_is_not_repeated(attribute, said):
    assert "left out" not in replace(attribute, info={FOUND: said}).report()


def test_a_file_keeps_it(attribute, tmp_path):
    attribute.save(tmp_path / "hat.safetensors")
    loaded = SVDAttribute.load(tmp_path / "hat.safetensors")
    x = pictures(places(2, seed=5), seed=5)
    assert torch.equal(apply_attribute(x, loaded, 1.0), apply_attribute(x, attribute, 1.0))


def test_it_adds_to_no_other_attribute(attribute):
    with pytest.raises(EditError, match="attribute 'hat' finds its place in each picture"):
        combine_attributes([(1.0, replace(attribute, correlation_filter=None)), (0.5, attribute)])
