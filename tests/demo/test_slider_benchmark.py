"""What benchmarks/slider.py prints of pictures whose way is known."""

import pytest
import torch
from helpers.benchmarks import benchmark

slider = benchmark("slider")


@pytest.fixture
def ends():
    """An unedited picture and another one, [1, 3, 4, 4] each."""
    return torch.rand(2, 1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).unbind()


def along(shares, unedited, end):
    return torch.stack([unedited + share * (end - unedited) for share in shares.tolist()])


def test_even_steps_along_the_way_are_even(ends):
    pictures = along(slider.STRENGTHS, *ends)
    torch.testing.assert_close(slider.progress(pictures, *ends)[:, 0], slider.STRENGTHS)
    r, deficit, spread = slider.evenness(slider.STRENGTHS, pictures, *ends)
    assert float(r) == pytest.approx(1, abs=1e-5)
    assert float(deficit) == pytest.approx(0, abs=1e-4)
    assert float(spread) == pytest.approx(0, abs=1e-4)


def test_pictures_that_stop_at_both_ends_miss_the_aims_however_even_they_are_between(ends):
    """The numbers that docs/results/sliding.md says of this case."""
    r, deficit, spread = slider.evenness(slider.STRENGTHS, along(slider.STRENGTHS.clamp(0, 1), *ends), *ends)
    assert float(r) == pytest.approx(0.943, abs=5e-4)
    assert float(deficit) == pytest.approx(0, abs=1e-4)
    assert float(spread) == pytest.approx(1.33, abs=5e-3)


def test_a_way_that_leads_elsewhere_shows_in_the_correlation_alone(ends):
    unedited, end = ends
    away = 2 * unedited - end
    r, r_away, _, _ = slider.evenness(slider.STRENGTHS, along(slider.STRENGTHS, unedited, end), unedited, end, away)
    assert float(r) == pytest.approx(1, abs=1e-5)
    assert float(r_away) == pytest.approx(-1, abs=1e-5)


def test_a_detour_has_a_deficit(ends):
    unedited, end = ends
    aside = unedited + torch.flip(end - unedited, (-1,))
    _, deficit, _ = slider.evenness(torch.linspace(0, 1, 3), torch.stack([unedited, aside, end]), unedited, end)
    assert float(deficit) > 0.1


def test_the_nearest_true_picture_is_found_for_each_face(ends):
    truth = torch.stack([torch.cat(ends), torch.cat(ends[::-1])])
    torch.testing.assert_close(slider.nearest(truth, torch.cat(ends) + 0.01), torch.cat(ends))
    torch.testing.assert_close(slider.nearest(truth, torch.cat([ends[0], ends[0]])), torch.cat([ends[0], ends[0]]))
