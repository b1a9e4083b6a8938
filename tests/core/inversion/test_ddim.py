"""DDIM inversion, the explicit baseline."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise
from singular_edit.core import ddim_inversion
from singular_edit.core.inversion.ddim import remaining_sigmas


def test_it_makes_one_call_a_step():
    denoise = GaussianDenoiser()
    _, report = ddim_inversion(denoise, noise(), karras(12))
    assert report.calls == 12
    assert denoise.calls == 12
    assert "drift" in report.text()


def test_two_steps_by_hand():
    """With D = 0 a step is x + (hi - lo) * x / lo; from 0 it is x + hi * x / hi."""

    def zero(x, sigma, h_edit=None):
        return torch.zeros_like(x)

    x = torch.full((1, 1, 2, 2), 3.0)
    code, report = ddim_inversion(zero, x, torch.tensor([4.0, 2.0, 0.0]))
    assert torch.equal(code, torch.full_like(x, 12.0))
    assert report.steps == 2


@pytest.mark.parametrize("stop", [0, 2, 4])
def test_the_remaining_sigmas_begin_at_the_stop_step(stop):
    sigmas = karras(5)
    assert torch.equal(remaining_sigmas(sigmas, stop), sigmas[stop:])
