"""The five properties' arithmetic, where the answer is known."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck
from helpers.tensors import noise
from singular_edit.core.denoiser import is_flow
from singular_edit.core.hspace.properties import (
    ShiftedInX,
    denoising_error,
    linearity,
    mean_pairwise_cosine,
    r_squared,
    spearman,
)

STRENGTHS = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])


def test_spearman_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    a, b = noise((2, 9))
    # A tie.
    b[3] = b[5]
    assert float(spearman(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-6)


def test_spearman_sees_order_alone():
    a = noise((9,))
    assert float(spearman(a, a.exp())) == pytest.approx(1)
    assert float(spearman(a, torch.ones(9))) == 0


def test_linearity_has_a_sign_and_counts_each_picture():
    rising = STRENGTHS.tanh()
    falling = -STRENGTHS
    assert linearity(torch.stack([rising, rising], 1), STRENGTHS) == pytest.approx(1)
    assert linearity(torch.stack([rising, falling], 1), STRENGTHS) == pytest.approx(0)


def test_r_squared_knows_a_line_from_a_parabola():
    assert r_squared(STRENGTHS[:, None] * 3 + 1, STRENGTHS) == pytest.approx(1)
    assert r_squared(STRENGTHS[:, None] ** 2, STRENGTHS) == pytest.approx(0)


def test_the_mean_pairwise_cosine_does_not_see_size_and_counts_each_pair():
    one, two = torch.eye(8)[:2].reshape(2, 2, 4)
    assert mean_pairwise_cosine(torch.stack([one, 5 * one])) == pytest.approx(1)
    assert mean_pairwise_cosine(torch.stack([one, two, -two])) == pytest.approx(-1 / 3)


def test_unlikely_pictures_denoise_worse():
    likely = 0.3 + 0.5**0.5 * noise((16, 4, 8, 8))
    denoise = GaussianDenoiser(0.3, 0.5)
    sigma = torch.tensor(0.5)
    good = denoising_error(denoise, likely, sigma)
    bad = denoising_error(denoise, 3 * likely, sigma)
    assert good.shape == (16,)
    assert (bad > good).all()
    # Of the model's own data the expected loss is variance / (variance + sigma^2).
    assert good.mean().item() == pytest.approx(0.5 / 0.75, rel=0.05)


def test_noise_beside_h_space_is_as_large_as_the_edit():
    amounts = torch.tensor([1.0, 2.0, 3.0])

    def h_edit(h):
        return h + amounts[:, None, None, None]

    denoise = ShiftedInX(LinearBottleneck(), 0)
    x = noise((3, 4, 8, 8))
    sigma = torch.tensor(1.0)
    plain, moved = denoise.denoise_pair(x, sigma, h_edit)
    assert torch.equal(plain, denoise(x, sigma))
    size = (moved - plain).flatten(1).norm(dim=1)
    assert torch.allclose(size / size[0], amounts, rtol=1e-4)
    assert size[0].item() == pytest.approx(0.5 * 16, rel=1e-4)


@pytest.mark.parametrize("flow", [False, True])
def test_noise_beside_h_space_is_of_the_models_kind(flow):
    assert is_flow(ShiftedInX(LinearBottleneck(flow=flow), 0)) == flow
