"""The saliency weight: a window that covers as much of the picture at any size."""

import pytest
import torch
from helpers.tensors import noise, relative
from singular_edit.core.saliency import saliency_weight, window_side
from torch.nn import functional as F


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(1, 5, 3), (8, 8, 3), (16, 16, 3), (16, 64, 3), (32, 32, 5), (64, 48, 7), (128, 128, 17)],
)
def test_the_window_is_a_share_of_the_shorter_side(height, width, side):
    assert window_side(height, width) == side
    assert saliency_weight(noise((2, 4, height, width))).shape == (2, 1, height, width)


def by_window(change, side):
    """The formula of the module's head with a window of so many places."""
    local = change.square().mean(1, keepdim=True)
    energy = F.avg_pool2d(F.pad(local, (side // 2,) * 4, mode="replicate"), side, 1)
    return 2 * energy / (energy + energy.mean((-2, -1), keepdim=True))


def test_of_16_places_the_window_is_3_x_3():
    change = noise((2, 4, 16, 16))
    assert torch.allclose(saliency_weight(change), by_window(change, 3), rtol=1e-5, atol=1e-6)


def test_the_same_change_in_twice_as_many_places_has_the_same_weight():
    """Each place shown as 2 x 2: the weight is nearly that of the small one, and nearer than by a window of 3 x 3."""
    small = noise((8, 4, 16, 16))
    large = F.interpolate(small, scale_factor=2)
    expected = F.interpolate(saliency_weight(small), scale_factor=2, mode="bilinear")
    apart = relative(saliency_weight(large), expected)
    assert apart < 0.1
    assert apart < 0.6 * relative(by_window(large, 3), expected)
