"""Is a code Gaussian? Known answers for known noise."""

import pytest
import torch
from singular_edit.core import code_recovery, code_statistics


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_gaussian_noise_is_recognised_at_any_sigma():
    for sigma in (1.0, 14.6):
        s = code_statistics(noise(4, 4, 32, 32) * (1 + sigma**2) ** 0.5, sigma)
        assert s.mean.abs().max() < 0.06
        assert (s.std - 1).abs().max() < 0.04
        assert s.kurtosis.abs().max() < 0.3
        assert s.correlation.abs().max() < 0.05
    flow = code_statistics(noise(4, 4, 32, 32), 1.0, flow=True)
    assert (flow.std - 1).abs().max() < 0.04


def test_each_number_sees_its_own_defect_in_its_own_channel():
    z = noise(4, 4, 32, 32)
    z[:, 0] += 0.5
    z[:, 1] *= 1.5
    z[:, 2] = z[:, 2].sign() * z[:, 2].abs() ** 1.5 / 1.6  # heavy tails, about unit variance
    z[:, 3] = (z[:, 3] + z[:, 3].roll(1, -1)) / 2**0.5  # neighbours in a row share half
    s = code_statistics(z, 0.0)
    assert s.mean[0] == pytest.approx(0.5, abs=0.05)
    assert s.mean[1:].abs().max() < 0.1
    assert s.std[1] == pytest.approx(1.5, abs=0.05)
    assert s.kurtosis[2] > 2
    assert s.kurtosis[[0, 1, 3]].abs().max() < 0.4
    assert s.correlation[3] == pytest.approx(0.25, abs=0.05)  # 0.5 along one of the two axes
    assert "neighbour correlation" in s.text()
    assert "to 0.24 (0 +- 0.02)" in s.text()


def test_video_latents_and_single_rows():
    assert code_statistics(noise(1, 4, 5, 8, 8), 0.0).values == 5 * 64
    assert torch.isfinite(code_statistics(noise(1, 4, 1, 1), 0.0).correlation).all()


def test_recovery_is_relative_and_per_sample():
    true = noise(2, 4, 8, 8)
    other = true.clone()
    other[1] *= 1.1
    assert code_recovery(other, true).tolist() == pytest.approx([0, 0.1], abs=1e-6)
