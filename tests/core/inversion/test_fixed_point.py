"""Fixed-point inversion against denoisers with known answers."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise, relative
from singular_edit.core import (
    QUALITIES,
    SAMPLERS,
    EditError,
    ddim_inversion,
    fixed_point_inversion,
    sample,
    sample_euler,
)
from singular_edit.core.inversion.report import Quality

SCHEDULES = {"full": karras(12), "partial": karras(12)[3:9], "one step": karras(12)[:2]}


def picture(batch=3):
    return noise((batch, 4, 8, 8))


def exact_code(x, sigmas, denoise):
    """Euler steps of a Gaussian denoiser are affine, x_lo = a*x_hi + b, so they invert on paper."""
    x = x.double()
    levels = sigmas.double().tolist()
    for i in reversed(range(len(levels) - 1)):
        hi = levels[i]
        lo = levels[i + 1]
        shrink = denoise.variance / (denoise.variance + hi**2)
        a = 1 + (lo - hi) / hi * (1 - shrink)
        b = -(lo - hi) / hi * hi**2 * denoise.mean / (denoise.variance + hi**2)
        x = (x - b) / a
    return x


def test_it_finds_the_code_known_on_paper():
    x = picture()
    sigmas = karras()
    denoise = GaussianDenoiser()
    code, report = fixed_point_inversion(denoise, x, sigmas, Quality(tolerance=1e-7, max_iterations=40))
    assert relative(code, exact_code(x, sigmas, denoise)) < 1e-4
    assert not report.capped
    assert report.worst < 1e-7
    assert report.calls == denoise.calls


def test_round_trip_returns_the_picture_and_ddim_does_not():
    x = picture()
    sigmas = karras(12)
    denoise = GaussianDenoiser()
    solved, _ = fixed_point_inversion(denoise, x, sigmas, Quality(1e-5, 20))
    explicit, _ = ddim_inversion(denoise, x, sigmas)
    error = relative(sample_euler(denoise, solved, sigmas), x)
    drift = relative(sample_euler(denoise, explicit, sigmas), x)
    assert error < 1e-4
    assert drift > 20 * error


@pytest.mark.parametrize("stop", [0, 5, 11])
def test_partial_inversion_rebuilds_from_its_step(stop):
    x = picture()
    sigmas = karras(12)
    denoise = GaussianDenoiser()
    code, report = fixed_point_inversion(denoise, x, sigmas, Quality(1e-5, 20), stop_at_step=stop)
    assert relative(sample_euler(denoise, code, sigmas[stop:]), x) < 1e-4
    assert report.steps == 12 - stop


def test_partial_schedule_that_ends_above_zero():
    x = picture()
    sigmas = karras(12)[3:9]
    denoise = GaussianDenoiser()
    code, _ = fixed_point_inversion(denoise, x, sigmas)
    assert relative(sample_euler(denoise, code, sigmas), x) < 1e-4


def test_flow_convention_needs_no_other_code():
    def flow(x, sigma, h_edit=None):
        return 0.25 * x + 0.1 * torch.tanh(x)

    x = picture()
    sigmas = torch.linspace(1, 0, 11)
    code, _ = fixed_point_inversion(flow, x, sigmas, Quality(1e-5, 60))
    assert relative(sample_euler(flow, code, sigmas), x) < 1e-4


def test_a_sample_does_not_depend_on_its_neighbours():
    x = picture(3)
    sigmas = karras(10)

    def nonlinear(x, sigma, h_edit=None):
        return torch.tanh(x / (1 + sigma))

    together, _ = fixed_point_inversion(nonlinear, x, sigmas)
    alone = torch.cat([fixed_point_inversion(nonlinear, row[None], sigmas)[0] for row in x])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_a_step_without_a_solution_is_named_and_nothing_is_nan():
    """Both steps ask x/2 + 9|x|/2 = x_lo - 1/2, which has no solution where x_lo < 1/2."""

    def expanding(x, sigma, h_edit=None):
        return 9 * x.abs() + 1

    quality = Quality(QUALITIES["good"].tolerance, max_iterations=6)
    code, report = fixed_point_inversion(expanding, picture(), torch.tensor([2.0, 1.0, 0.5]), quality)
    assert report.capped
    assert torch.isfinite(code).all()
    assert "not solved" in report.text()
    assert "guidance" in report.text()


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("sigmas", SCHEDULES.values(), ids=SCHEDULES)
def test_every_sampler_gives_the_picture_back(sampler, sigmas):
    def nonlinear(x, sigma, h_edit=None):
        return GaussianDenoiser()(x, sigma) + 0.1 * torch.sin(x + x.roll(1, -1))

    def error(name):
        return relative(sample(nonlinear, code, sigmas, name), x)

    x = picture()
    code, report = fixed_point_inversion(nonlinear, x, sigmas, QUALITIES["exact"], sampler=sampler)
    assert error(sampler) < 2e-4, report.text()
    assert sampler in report.text()
    assert report.worst < 1e-4
    # Each sampler has a code of its own, except over a single step.
    if len(sigmas) > 2:
        assert min(error(name) for name in SAMPLERS if name != sampler) > 1e-3


def test_quality_buys_accuracy_with_calls():
    def rough(x, sigma, h_edit=None):
        return GaussianDenoiser()(x, sigma) + 0.3 * torch.sin(2 * x + x.roll(1, -1)) / (1 + sigma)

    x = picture()
    sigmas = karras(12)
    errors = {}
    calls = {}
    for name, quality in QUALITIES.items():
        code, report = fixed_point_inversion(rough, x, sigmas, quality)
        errors[name] = relative(sample_euler(rough, code, sigmas), x)
        calls[name] = report.calls
    assert errors["fast"] < 3e-2
    assert errors["fast"] > 5 * errors["good"]
    assert errors["good"] > errors["exact"]
    assert errors["exact"] < 1e-4
    assert calls["fast"] < calls["good"]
    assert calls["good"] < calls["exact"]


def test_the_callback_gets_every_step_and_the_state_before_it():
    sigmas = karras(6)
    steps = []
    states = []

    def keep(i, x):
        steps.append(i)
        states.append(x)

    code, _ = fixed_point_inversion(GaussianDenoiser(), picture(), sigmas, callback=keep)
    assert steps == [5, 4, 3, 2, 1, 0]
    assert torch.equal(states[-1].float(), code)


def test_video_latents_invert():
    x = noise((1, 4, 3, 8, 6))
    sigmas = karras(6)
    code, _ = fixed_point_inversion(GaussianDenoiser(), x, sigmas)
    assert relative(sample_euler(GaussianDenoiser(), code, sigmas), x) < 1e-3


def test_other_shapes_get_a_sentence():
    with pytest.raises(EditError, match="3 dimensions"):
        fixed_point_inversion(GaussianDenoiser(), noise((3, 8, 6)), karras(6))


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "uni_pc"])
def test_samplers_without_inverse_get_a_sentence_that_names_those_that_have_one(name):
    with pytest.raises(EditError, match=f"'{name}', which cannot be inverted here.*euler, heun, dpm_2, dpmpp_2m"):
        fixed_point_inversion(GaussianDenoiser(), picture(), karras(6), sampler=name)


@pytest.mark.parametrize("invert", [ddim_inversion, fixed_point_inversion])
@pytest.mark.parametrize(
    ("sigmas", "words"),
    [
        (torch.tensor([]), "at least two"),
        (torch.tensor([1.0]), "at least two"),
        (torch.tensor([0.0, 1.0]), "flipped"),
        (torch.tensor([1.0, float("nan"), 0.0]), "NaN"),
        (torch.tensor([1.0, 0.5, -0.1]), "negative"),
    ],
)
def test_bad_sigmas_get_a_sentence(invert, sigmas, words):
    with pytest.raises(EditError, match=words):
        invert(GaussianDenoiser(), picture(), sigmas)


@pytest.mark.parametrize("stop", [-1, 12])
def test_a_bad_stop_step_gets_a_sentence(stop):
    with pytest.raises(EditError, match=r"0 \(all the way\) to 11"):
        fixed_point_inversion(GaussianDenoiser(), picture(), karras(12), stop_at_step=stop)


def test_a_nan_latent_gets_a_sentence():
    with pytest.raises(EditError, match="latent_image contains NaN"):
        fixed_point_inversion(GaussianDenoiser(), picture() * float("nan"), karras(12))


def test_a_nan_model_gets_a_sentence():
    def broken(x, sigma, h_edit=None):
        return x * float("nan")

    with pytest.raises(EditError, match="The model predicts NaN or infinite values"):
        fixed_point_inversion(broken, picture(), karras(12))


def test_the_picture_is_not_changed():
    x = picture()
    before = x.clone()
    fixed_point_inversion(GaussianDenoiser(), x, karras(5))
    assert torch.equal(x, before)


class Bfloat16(GaussianDenoiser):
    """Predicts in bfloat16, as networks in half precision do."""

    dtype = torch.bfloat16

    def __call__(self, x, sigma, h_edit=None):
        return super().__call__(x.bfloat16(), sigma).float()


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("denoise", [GaussianDenoiser(), Bfloat16()], ids=["float32", "bfloat16"])
def test_measured_residuals_are_those_of_the_steps(denoise, quality):
    sigmas = karras(8)
    states = {len(sigmas) - 1: picture().double()}
    _, report = fixed_point_inversion(
        denoise, picture(), sigmas, QUALITIES[quality], measured=True, callback=states.__setitem__
    )
    for i, said in enumerate(report.residuals):
        x = states[i]
        slope = (x - denoise(x.float(), sigmas[i]).double()) / sigmas[i].double()
        off = x + (sigmas[i + 1] - sigmas[i]).double() * slope - states[i + 1]
        real = (off.flatten(1).norm(dim=1) / states[i + 1].flatten(1).norm(dim=1)).max()
        assert said == pytest.approx(float(real), rel=0.01, abs=1e-6)
    assert f"{report.worst:.1e}, measured" in report.text()
    assert ("bfloat16, whose rounding" in report.text()) == (denoise.__class__ is Bfloat16)


def test_half_precision_solves_up_to_its_rounding_and_gives_up_soon():
    """Float32 solves the same steps; the tolerance is out of reach of bfloat16, so more evaluations would only cost."""
    code, report = fixed_point_inversion(Bfloat16(), picture(), karras(8), QUALITIES["exact"], measured=True)
    assert report.capped
    assert QUALITIES["exact"].tolerance < report.worst < report.reach
    assert report.calls < 12 * report.steps
    assert relative(sample_euler(Bfloat16(), code, karras(8)), picture()) < report.reach
