"""The change of an edit on the picture itself: closed form."""

import torch
from helpers.tensors import noise
from singular_edit.core.recipes.on_original import on_original

PICTURE = noise((2, 3, 24, 36)).sigmoid()
UNEDITED = torch.nn.functional.interpolate(PICTURE, size=(8, 12), mode="area")


def test_where_nothing_changes_the_picture_stays_bit_for_bit():
    assert torch.equal(on_original(PICTURE, UNEDITED, UNEDITED), PICTURE)


def test_an_even_change_is_added_evenly_and_stays_in_range():
    brighter = on_original(PICTURE, UNEDITED, UNEDITED + 0.1)
    assert torch.allclose(brighter, (PICTURE + 0.1).clamp(0, 1), atol=1e-6)
    assert on_original(PICTURE, UNEDITED, UNEDITED + 5).max() == 1


def test_at_the_same_size_it_is_the_difference():
    edited = UNEDITED.flip(-1)
    exact = on_original(UNEDITED, UNEDITED, edited)
    assert torch.allclose(exact, edited, atol=1e-6)
    lost = 0.05 * noise((2, 3, 8, 12), 1)
    assert torch.allclose(on_original(UNEDITED + lost, UNEDITED, edited), (edited + lost).clamp(0, 1), atol=1e-6)
