"""The change of an edit on the picture itself: where nothing changes, where much does, and between."""

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core.recipes.on_original import on_original

PICTURE = noise((2, 3, 96, 144)).mul(0.1).add(0.5).clamp(0, 1)
UNEDITED = torch.nn.functional.interpolate(PICTURE, size=(32, 48), mode="area")


def test_where_nothing_changes_the_picture_stays_bit_for_bit():
    assert torch.equal(on_original(PICTURE, UNEDITED, UNEDITED), PICTURE)
    half = UNEDITED.clone()
    half[..., :16] += 0.3
    assert torch.equal(on_original(PICTURE, UNEDITED, half)[..., 96:], PICTURE[..., 96:])


def test_a_small_change_is_added_and_the_detail_stays():
    brighter = on_original(PICTURE, UNEDITED, UNEDITED + 0.001)
    assert torch.allclose(brighter, PICTURE + 0.001, atol=1e-3)
    assert (brighter - PICTURE).mean() == pytest.approx(0.001, rel=0.05)


def test_where_much_changes_the_detail_below_goes():
    edited = UNEDITED + 0.4
    result = on_original(PICTURE, UNEDITED, edited)
    drawn = torch.nn.functional.interpolate(edited, size=(96, 144), mode="bicubic", antialias=True)
    ghosts = result - drawn
    assert ghosts.square().mean() < 0.05 * (PICTURE - drawn + 0.4).square().mean()
    assert result.max() <= 1


def test_outside_of_a_mask_nothing_is_added():
    mask = torch.zeros(1, 1, 8, 12)
    mask[..., :5] = 0.2
    result = on_original(PICTURE, UNEDITED, UNEDITED + 0.1, mask)
    everywhere = on_original(PICTURE, UNEDITED, UNEDITED + 0.1)
    # A place is 12 pixels wide. The mask ends at 60, its neighbours at 72, and half a place farther all of it.
    assert torch.equal(result[..., :66], everywhere[..., :66])
    assert torch.equal(result[..., 78:], PICTURE[..., 78:])
    between = (result - PICTURE)[..., 66:78].mean((0, 1, 2))
    assert (between.diff() < 0).all()


def test_what_is_added_goes_on_beyond_what_was_drawn_and_fades():
    view = (slice(0, 96), slice(20, 124))
    unedited = torch.nn.functional.interpolate(PICTURE[..., view[1]], size=(24, 26), mode="area")
    edited = unedited.clone()
    edited[..., :4] += 0.2
    result = on_original(PICTURE, unedited, edited, view=view)
    assert torch.equal(result[..., view[1]], on_original(PICTURE[..., view[1]], unedited, edited))
    assert torch.equal(on_original(PICTURE, unedited, unedited, view=view), PICTURE)
    added = (result - PICTURE).mean((0, 1, 2))
    assert (added[:21].diff() > 0).all()
    # A quarter of 96 is 24, so that a sixth of it is left at 20 places from the border.
    assert float(added[0]) == pytest.approx(float(added[20]) * 4 / 24, rel=0.02)
    assert torch.equal(result[..., 124:], PICTURE[..., 124:])


def test_a_picture_that_lost_nothing_becomes_the_drawing():
    edited = UNEDITED.flip(-1)
    assert torch.allclose(on_original(UNEDITED, UNEDITED, edited), edited, atol=1e-6)
