"""The automatic schedule of Asyrp: where thresholds are met, on courses that are known."""

import math

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core.hspace.edit_schedule import EditCurves, edit_curves, first_at_most, percent_of, record_rebuild


def percent_to_sigma(percent):
    return 999999999.9 if percent <= 0 else 14.6 * (1 - percent) ** 2


def distance(a, b):
    return (a - b).flatten(1).norm(dim=1)


@given(st.floats(0.01, 14.0))
@settings(max_examples=30, deadline=None)
def test_percent_of_is_the_inverse(sigma):
    assert percent_to_sigma(percent_of(percent_to_sigma, sigma)) == pytest.approx(sigma, rel=1e-4)


def test_the_first_fall_to_a_threshold():
    saliency_weight = [0.0, 0.25, 0.5, 0.75]
    assert first_at_most(saliency_weight, [0.8, 0.6, 0.2, 0.1], 0.4) == pytest.approx(0.375)
    assert first_at_most(saliency_weight, [0.8, 0.6, 0.2, 0.1], 0.6) == pytest.approx(0.25)
    assert first_at_most(saliency_weight, [0.8, 0.6, 0.7, 0.1], 0.05) == 1.0
    assert first_at_most(saliency_weight, [0.3, 0.2, 0.1, 0.1], 0.4) == 0.0


def test_a_smaller_threshold_edits_longer_and_boosts_less():
    found = EditCurves([0.0, 0.25, 0.5, 0.75], [0.9, 0.5, 0.3, 0.1], [1.5, 1.3, 1.1, 0.2])
    assert found.strengths == pytest.approx([0.0, 0.4, 0.6, 0.8])
    assert found.edit_percent(0.2) > found.edit_percent(0.4)
    assert found.boost_percent(0.5) > found.boost_percent(1.2)


def test_the_course_of_a_gaussian_is_known():
    """Data ~ N(0.3, 1): D - 0.3 = (x - 0.3) / (1 + sigma^2), so at high sigma P_t is the mean and at low sigma the picture."""
    sigmas, calls = karras(8), []
    x0 = 0.3 + torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    states, predictions = record_rebuild(GaussianDenoiser(0.3, 1.0), x0, sigmas, lambda: calls.append(1))
    assert states.shape == predictions.shape == (8, 2, 4, 8, 8)
    assert len(calls) == 16
    found = edit_curves(states, predictions, x0, sigmas, percent_to_sigma, lambda x: x, distance)
    assert found.percents == sorted(found.percents)
    assert found.percents[0] == pytest.approx(0, abs=1e-3)
    assert found.percents[-1] < 1
    assert found.predicted[0] == pytest.approx(float(distance(x0, torch.full_like(x0, 0.3)).mean()), rel=0.15)
    assert found.predicted[-1] < 0.1 * found.predicted[0]
    assert 0.2 < found.edit_percent(0.5 * found.predicted[0]) < 1
    assert found.noisy[0] == pytest.approx(
        float(distance(states[0] / math.sqrt(1 + sigmas[0] ** 2), x0).mean()), rel=1e-5
    )
    flow = edit_curves(states, predictions, x0, sigmas, percent_to_sigma, lambda x: x, distance, flow=True)
    assert flow.noisy[0] == pytest.approx(float(distance(states[0], x0).mean()), rel=1e-5)
