"""The leapfrog pair: exact on paper, and a sampler of second order."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from singular_edit.core import EditError, belm_inversion, sample_belm, sample_euler


def picture(batch=2, seed=0):
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


class Rough:
    """A denoiser that no iteration could invert: far from contracting."""

    def __call__(self, x, sigma, h_edit=None):
        return torch.sin(3 * x) + 0.2 * x.roll(1, -1)


@pytest.mark.parametrize("denoise", [GaussianDenoiser(), Rough()])
def test_round_trip_needs_no_iteration_and_no_contraction(denoise):
    x, sigmas = picture(), torch.linspace(4, 0.2, 16)
    pair = belm_inversion(denoise, x.double(), sigmas.double())
    assert relative(sample_belm(denoise, pair, sigmas.double()), x) < 1e-5


def test_one_step_by_hand():
    """Steps of 2 and 1: (1/2)^2 x_0 + (3/4) x_1 - 1*(1 + 2)/2 * d, with D = 0 and so d = x_1 / sigma_1."""
    zero = lambda x, sigma, h_edit=None: torch.zeros_like(x)
    old, x = torch.full((1, 1, 2, 2), 8.0), torch.full((1, 1, 2, 2), 3.0)
    out = sample_belm(zero, (old, x), torch.tensor([4.0, 2.0, 1.0]))
    assert torch.allclose(out, torch.full_like(out, 8 / 4 + 3 * 3 / 4 - 1.5 * 3 / 2))


def test_it_is_of_second_order():
    """Data of variance 0.8: the exact flow is known, and halving the steps divides the error by about four."""
    denoise, x = GaussianDenoiser(mean=0.0), 5 * picture()

    def error(n, sampler):
        sigmas = torch.linspace(5, 1, n + 1).double()
        exact = x.double() * ((0.8 + 1.0) / (0.8 + 25.0)) ** 0.5
        return relative(sampler(denoise, x.double(), sigmas), exact)

    assert 3.0 < error(20, sample_belm) / error(40, sample_belm) < 5.5
    assert error(40, sample_belm) < 0.2 * error(40, sample_euler)


def test_a_single_step_gets_a_sentence():
    with pytest.raises(EditError, match="needs at least two"):
        belm_inversion(GaussianDenoiser(), picture(), karras(1))
    with pytest.raises(EditError, match="must be the same size"):
        sample_belm(GaussianDenoiser(), (picture(), picture(3)), karras(4))
