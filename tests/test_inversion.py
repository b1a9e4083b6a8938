"""Inversion against denoisers with known answers."""

import pytest
import torch
from closed_form import GaussianDenoiser, karras

from singular_edit.core import EditError, ddim_inversion, fixed_point_inversion, sample_euler
from singular_edit.core.inversion import anderson


def picture(batch=3, seed=0):
    return torch.randn(batch, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def exact_code(x, sigmas, denoise):
    """Euler steps of a Gaussian denoiser are affine, x_lo = a*x_hi + b, so they invert on paper."""
    x = x.double()
    for hi, lo in zip(reversed(sigmas[:-1].double().tolist()), reversed(sigmas[1:].double().tolist())):
        shrink = denoise.variance / (denoise.variance + hi**2)
        a = 1 + (lo - hi) / hi * (1 - shrink)
        b = -(lo - hi) / hi * hi**2 * denoise.mean / (denoise.variance + hi**2)
        x = (x - b) / a
    return x


def relative(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def test_fixed_point_finds_the_code_known_on_paper():
    x, sigmas, denoise = picture(), karras(), GaussianDenoiser()
    code, report = fixed_point_inversion(denoise, x, sigmas, tolerance=1e-7, max_iterations=40)
    assert relative(code, exact_code(x, sigmas, denoise)) < 1e-4
    assert not report.capped and report.worst < 1e-7
    assert report.calls == denoise.calls


def test_round_trip_returns_the_picture_and_ddim_does_not():
    x, sigmas, denoise = picture(), karras(12), GaussianDenoiser()
    exact = sample_euler(denoise, fixed_point_inversion(denoise, x, sigmas)[0], sigmas)
    drifted = sample_euler(denoise, ddim_inversion(denoise, x, sigmas)[0], sigmas)
    assert relative(exact, x) < 1e-4
    assert relative(drifted, x) > 20 * relative(exact, x)


def test_ddim_makes_one_call_a_step():
    denoise, sigmas = GaussianDenoiser(), karras(12)
    _, report = ddim_inversion(denoise, picture(), sigmas)
    assert report.calls == denoise.calls == 12
    assert "drift" in report.text()


@pytest.mark.parametrize("stop", [0, 5, 11])
def test_partial_inversion_rebuilds_from_its_step(stop):
    x, sigmas, denoise = picture(), karras(12), GaussianDenoiser()
    code, report = fixed_point_inversion(denoise, x, sigmas, stop_at_step=stop)
    assert relative(sample_euler(denoise, code, sigmas[stop:]), x) < 1e-4
    assert report.steps == 12 - stop


def test_partial_schedule_that_ends_above_zero():
    x, sigmas, denoise = picture(), karras(12)[3:9], GaussianDenoiser()
    code, _ = fixed_point_inversion(denoise, x, sigmas)
    assert relative(sample_euler(denoise, code, sigmas), x) < 1e-4


def test_flow_convention_needs_no_other_code():
    class Flow:
        """Data that is one point m: every x on the line belongs to x0 = m, in flow's own noising as well."""

        def __call__(self, x, sigma, h_edit=None):
            return 0.25 * x + 0.1 * torch.tanh(x)

    x, sigmas = picture(), torch.linspace(1, 0, 11)
    code, _ = fixed_point_inversion(Flow(), x, sigmas, max_iterations=60)
    assert relative(sample_euler(Flow(), code, sigmas), x) < 1e-4


def test_a_sample_does_not_depend_on_its_neighbours():
    x, sigmas = picture(3), karras(10)

    def nonlinear(x, sigma, h_edit=None):
        return torch.tanh(x / (1 + sigma))

    together = fixed_point_inversion(nonlinear, x, sigmas)[0]
    alone = torch.cat([fixed_point_inversion(nonlinear, row[None], sigmas)[0] for row in x])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_a_step_without_a_solution_is_named_and_nothing_is_nan():
    """D(x) = x + 1 leaves x_lo = x_hi + const for sigma > 0, but x - D never meets the picture's own value at 0."""

    def expanding(x, sigma, h_edit=None):
        return 9 * x.abs() + 1

    code, report = fixed_point_inversion(expanding, picture(), torch.tensor([2.0, 1.0, 0.5]), max_iterations=6)
    assert report.capped and torch.isfinite(code).all()
    assert "not solved" in report.text() and "guidance" in report.text()


def test_anderson_beats_plain_iteration_on_a_stiff_linear_map():
    torch.manual_seed(0)
    q, _ = torch.linalg.qr(torch.randn(30, 30, dtype=torch.double))
    matrix = q @ torch.diag(torch.linspace(-0.95, 0.95, 30, dtype=torch.double)) @ q.T
    b = torch.randn(2, 30, dtype=torch.double)
    solution, residual = anderson(lambda x: x @ matrix.T + b, b, 1e-8, 60, depth=8)
    assert residual.max() < 1e-8
    truth = torch.linalg.solve(torch.eye(30, dtype=torch.double) - matrix, b.T).T
    assert relative(solution, truth) < 1e-6


@pytest.mark.parametrize("sigmas, words", [
    (torch.tensor([]), "at least two"), (torch.tensor([1.0]), "at least two"), (torch.tensor([0.0, 1.0]), "flipped"),
    (torch.tensor([1.0, float("nan"), 0.0]), "NaN"), (torch.tensor([1.0, 0.5, -0.1]), "negative")])
def test_bad_sigmas_get_a_sentence(sigmas, words):
    for invert in (ddim_inversion, fixed_point_inversion):
        with pytest.raises(EditError, match=words):
            invert(GaussianDenoiser(), picture(), sigmas)


@pytest.mark.parametrize("stop", [-1, 12])
def test_bad_stop_step(stop):
    with pytest.raises(EditError, match="0 .all the way. to 11"):
        fixed_point_inversion(GaussianDenoiser(), picture(), karras(12), stop_at_step=stop)


def test_nan_latent_and_nan_model():
    with pytest.raises(EditError, match="latent_image contains NaN"):
        fixed_point_inversion(GaussianDenoiser(), picture() * float("nan"), karras(12))
    with pytest.raises(EditError, match="prediction is not finite"):
        fixed_point_inversion(lambda x, sigma, h_edit=None: x * float("nan"), picture(), karras(12))


def test_the_picture_is_not_changed():
    x = picture()
    before = x.clone()
    fixed_point_inversion(GaussianDenoiser(), x, karras(5))
    assert torch.equal(x, before)
