"""O-BELM: exact on paper, and a sampler of second order."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise, relative
from singular_edit.core import EditError, belm_inversion, sample_belm, sample_euler


class Rough:
    """A denoiser that no iteration could invert: far from contracting."""

    def __call__(self, x, sigma, h_edit=None):
        return torch.sin(3 * x) + 0.2 * x.roll(1, -1)


@pytest.mark.parametrize("denoise", [GaussianDenoiser(), Rough()])
def test_round_trip_needs_no_iteration_and_no_contraction(denoise):
    x = noise()
    sigmas = torch.linspace(4, 0.2, 16).double()
    pair = belm_inversion(denoise, x.double(), sigmas)
    assert relative(sample_belm(denoise, pair, sigmas), x) < 1e-5


def test_one_step_by_hand():
    """Steps of 2 and 1: (1/2)^2 x_0 + (3/4) x_1 - 1*(1 + 2)/2 * d, with D = 0 and so d = x_1 / sigma_1."""

    def zero(x, sigma, h_edit=None):
        return torch.zeros_like(x)

    x_0 = torch.full((1, 1, 2, 2), 8.0)
    x_1 = torch.full((1, 1, 2, 2), 3.0)
    out = sample_belm(zero, (x_0, x_1), torch.tensor([4.0, 2.0, 1.0]))
    assert torch.allclose(out, torch.full_like(out, 8 / 4 + 3 * 3 / 4 - 1.5 * 3 / 2))


def test_it_is_of_second_order():
    """Data of variance 0.8: the exact flow is known, and halving the steps divides the error by about four."""
    denoise = GaussianDenoiser(mean=0.0)
    x = 5 * noise()
    exact = x.double() * ((0.8 + 1.0) / (0.8 + 25.0)) ** 0.5

    def error(steps, sampler):
        sigmas = torch.linspace(5, 1, steps + 1).double()
        return relative(sampler(denoise, x.double(), sigmas), exact)

    ratio = error(20, sample_belm) / error(40, sample_belm)
    assert 3.0 < ratio < 5.5
    assert error(40, sample_belm) < 0.2 * error(40, sample_euler)


def test_a_single_step_gets_a_sentence():
    with pytest.raises(EditError, match="needs at least two"):
        belm_inversion(GaussianDenoiser(), noise(), karras(1))


def test_codes_of_different_sizes_get_a_sentence():
    with pytest.raises(EditError, match="must be the same size"):
        sample_belm(GaussianDenoiser(), (noise(), noise((3, 4, 8, 8))), karras(4))
