"""Inversion against denoisers with known answers."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from singular_edit.core import (
    QUALITIES,
    SAMPLERS,
    EditError,
    ddim_inversion,
    fixed_point_inversion,
    sample,
    sample_euler,
)


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
    assert not report.capped
    assert report.worst < 1e-7
    assert report.calls == denoise.calls


def test_round_trip_returns_the_picture_and_ddim_does_not():
    x, sigmas, denoise = picture(), karras(12), GaussianDenoiser()
    exact = sample_euler(denoise, fixed_point_inversion(denoise, x, sigmas, 1e-5)[0], sigmas)
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
    code, report = fixed_point_inversion(denoise, x, sigmas, 1e-5, stop_at_step=stop)
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
    code, _ = fixed_point_inversion(Flow(), x, sigmas, 1e-5, 60)
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
    assert report.capped
    assert torch.isfinite(code).all()
    assert "not solved" in report.text()
    assert "guidance" in report.text()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("sigmas", [karras(12), karras(12)[3:9], karras(12)[:2]], ids=["full", "partial", "one step"])
def test_every_sampler_gives_the_picture_back(sampler, sigmas):
    def nonlinear(x, sigma, h_edit=None):
        return GaussianDenoiser()(x, sigma) + 0.1 * torch.sin(x + x.roll(1, -1))

    x = picture()
    code, report = fixed_point_inversion(nonlinear, x, sigmas, *QUALITIES["exact"], sampler=sampler)
    assert relative(sample(nonlinear, code, sigmas, sampler), x) < 2e-4, report.text()
    assert sampler in report.text()
    assert report.worst < 1e-4
    others = [relative(sample(nonlinear, code, sigmas, name), x) for name in SAMPLERS if name != sampler]
    assert len(sigmas) == 2 or min(others) > 1e-3  # each sampler has a code of its own


def test_quality_buys_accuracy_with_calls():
    def rough(x, sigma, h_edit=None):
        return GaussianDenoiser()(x, sigma) + 0.3 * torch.sin(2 * x + x.roll(1, -1)) / (1 + sigma)

    x, sigmas = picture(), karras(12)
    runs = [fixed_point_inversion(rough, x, sigmas, *QUALITIES[name]) for name in ("fast", "good", "exact")]
    errors = [relative(sample_euler(rough, code, sigmas), x) for code, _ in runs]
    assert errors[0] > 5 * errors[1] > 5 * errors[2]
    assert errors[0] < 3e-2
    assert errors[2] < 1e-4
    assert runs[0][1].calls < runs[1][1].calls < runs[2][1].calls


def test_video_latents_invert_and_other_shapes_get_a_sentence():
    x, sigmas = torch.randn(1, 4, 3, 8, 6, generator=torch.Generator().manual_seed(0)), karras(6)
    code, _ = fixed_point_inversion(GaussianDenoiser(), x, sigmas)
    assert relative(sample_euler(GaussianDenoiser(), code, sigmas), x) < 1e-3
    with pytest.raises(EditError, match="3 dimensions"):
        fixed_point_inversion(GaussianDenoiser(), x[0, 0], sigmas)


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "uni_pc"])
def test_samplers_without_inverse_get_a_sentence_that_names_those_that_have_one(name):
    with pytest.raises(EditError, match=f"'{name}', which cannot be inverted here.*euler, heun, dpm_2, dpmpp_2m"):
        fixed_point_inversion(GaussianDenoiser(), picture(), karras(6), sampler=name)


@pytest.mark.parametrize(
    "sigmas, words",
    [
        (torch.tensor([]), "at least two"),
        (torch.tensor([1.0]), "at least two"),
        (torch.tensor([0.0, 1.0]), "flipped"),
        (torch.tensor([1.0, float("nan"), 0.0]), "NaN"),
        (torch.tensor([1.0, 0.5, -0.1]), "negative"),
    ],
)
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
