"""The automatic schedule of Asyrp: where thresholds are met, on curves that are known."""

import math

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core.hspace.edit_schedule import EditCurves, edit_curves, first_at_most, record_rebuild
from singular_edit.core.samplers import Schedule

PERCENTS = [0.0, 0.25, 0.5, 0.75]


def percent_to_sigma(percent):
    return 999999999.9 if percent <= 0 else 14.6 * (1 - percent) ** 2


def distance(a, b):
    return (a - b).flatten(1).norm(dim=1)


def identity(x):
    return x


@given(st.floats(0.01, 14.0))
@settings(max_examples=30, deadline=None)
def test_progress_is_the_inverse_of_sigma(sigma):
    percent = Schedule(torch.tensor([14.0, 0.0]), percent_to_sigma).percent_at(sigma)
    assert percent_to_sigma(percent) <= sigma <= percent_to_sigma(percent - 1e-4) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("values", "threshold", "percent"),
    [
        ([0.8, 0.6, 0.2, 0.1], 0.4, 0.375),
        ([0.8, 0.6, 0.2, 0.1], 0.6, 0.25),
        ([0.8, 0.6, 0.7, 0.1], 0.05, 1.0),
        ([0.3, 0.2, 0.1, 0.1], 0.4, 0.0),
    ],
    ids=["between points", "at a point", "never", "from the beginning"],
)
def test_the_first_fall_to_a_threshold(values, threshold, percent):
    assert first_at_most(PERCENTS, values, threshold) == pytest.approx(percent)


def test_a_smaller_threshold_edits_longer_and_boosts_less():
    found = EditCurves(PERCENTS, predicted=[0.9, 0.5, 0.3, 0.1], noisy=[1.5, 1.3, 1.1, 0.2])
    assert found.strengths == pytest.approx([0.0, 0.4, 0.6, 0.8])
    assert found.edit_percent(0.2) > found.edit_percent(0.4)
    assert found.boost_percent(0.5) > found.boost_percent(1.2)


def test_the_curves_of_a_gaussian_are_known():
    """Data ~ N(0.3, 1): D - 0.3 = (x - 0.3) / (1 + sigma^2).

    So P_t is the mean at high sigma and the picture at low sigma.
    """
    sigmas = karras(8)
    calls = []
    x0 = 0.3 + noise((2, 4, 8, 8))
    states, predictions = record_rebuild(GaussianDenoiser(0.3, 1.0), x0, sigmas, on_step=lambda: calls.append(1))
    assert states.shape == (8, 2, 4, 8, 8)
    assert predictions.shape == (8, 2, 4, 8, 8)
    assert len(calls) == 16

    def curves(flow):
        return edit_curves(
            states,
            predictions,
            x0,
            sigmas,
            percent_to_sigma=percent_to_sigma,
            decode=identity,
            distance=distance,
            flow=flow,
        )

    found = curves(flow=False)
    assert found.percents == sorted(found.percents)
    assert found.percents[0] == pytest.approx(0, abs=1e-3)
    assert found.percents[-1] < 1

    to_the_mean = float(distance(x0, torch.full_like(x0, 0.3)).mean())
    assert found.predicted[0] == pytest.approx(to_the_mean, rel=0.15)
    assert found.predicted[-1] < 0.1 * found.predicted[0]
    assert found.edit_percent(0.5 * found.predicted[0]) > 0.2
    assert found.edit_percent(0.5 * found.predicted[0]) < 1

    preserving = states[0] / math.sqrt(1 + sigmas[0] ** 2)
    assert found.noisy[0] == pytest.approx(float(distance(preserving, x0).mean()), rel=1e-5)
    assert curves(flow=True).noisy[0] == pytest.approx(float(distance(states[0], x0).mean()), rel=1e-5)
