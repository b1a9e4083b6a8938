"""Is a code Gaussian? Known answers for known noise."""

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import code_recovery, code_statistics


@pytest.mark.parametrize("sigma", [1.0, 14.6])
def test_gaussian_noise_is_recognised_at_any_sigma(sigma):
    found = code_statistics(noise((4, 4, 32, 32)) * (1 + sigma**2) ** 0.5, sigma)
    assert found.mean.abs().max() < 0.06
    assert (found.std - 1).abs().max() < 0.04
    assert found.kurtosis.abs().max() < 0.3
    assert found.correlation.abs().max() < 0.05


def test_the_code_of_a_flow_model_is_the_noise_itself():
    found = code_statistics(noise((4, 4, 32, 32)), 1.0, flow=True)
    assert (found.std - 1).abs().max() < 0.04


def test_each_number_sees_its_own_defect_in_its_own_channel():
    z = noise((4, 4, 32, 32))
    z[:, 0] += 0.5
    z[:, 1] *= 1.5
    # Heavy tails, about unit variance.
    z[:, 2] = z[:, 2].sign() * z[:, 2].abs() ** 1.5 / 1.6
    # Neighbours in a row share half.
    z[:, 3] = (z[:, 3] + z[:, 3].roll(1, -1)) / 2**0.5
    found = code_statistics(z, 0.0)
    assert found.mean[0] == pytest.approx(0.5, abs=0.05)
    assert found.mean[1:].abs().max() < 0.1
    assert found.std[1] == pytest.approx(1.5, abs=0.05)
    assert found.kurtosis[2] > 2
    assert found.kurtosis[[0, 1, 3]].abs().max() < 0.4
    # 0.5 along one of the two axes.
    assert found.correlation[3] == pytest.approx(0.25, abs=0.05)
    assert "neighbour correlation" in found.text()
    assert "to 0.24 (0 +- 0.02)" in found.text()


def test_video_latents_are_taken_over_all_frames():
    assert code_statistics(noise((1, 4, 5, 8, 8)), 0.0).values == 5 * 64


def test_a_single_place_has_no_neighbours_and_no_nan():
    assert torch.isfinite(code_statistics(noise((1, 4, 1, 1)), 0.0).correlation).all()


def test_recovery_is_relative_and_per_sample():
    true = noise((2, 4, 8, 8))
    other = true.clone()
    other[1] *= 1.1
    assert code_recovery(other, true).tolist() == pytest.approx([0, 0.1], abs=1e-6)
