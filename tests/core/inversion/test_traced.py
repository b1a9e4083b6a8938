"""Traced inversion: exact by algebra, by hand, and at its edges."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck, karras
from helpers.tensors import noise, relative
from hypothesis import example, given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, EditWindow, code_statistics, euler_step, sample_asyrp, sample_euler
from singular_edit.core.hspace.strength import BoundEdit
from singular_edit.core.inversion.trace import Trace
from singular_edit.core.inversion.traced import (
    ROUNDING,
    TracedDenoiser,
    follow_trace,
    retraced,
    sample_traced,
    traced_inversion,
)

FLOW = torch.tensor([1.0, 0.9, 0.7, 0.4, 0.1, 0.0])


def strong(x, sigma, h_edit=None):
    """A denoiser far from contracting: no step of its Euler sampler can be solved by plain iteration."""
    return 6 * torch.sin(3 * x + sigma) + x


@given(st.integers(1, 12), st.integers(0, 99), st.booleans(), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_the_picture_comes_back_at_one_call_a_step(steps, seed, flow, extra):
    sigmas = FLOW if flow else karras(steps)
    x = noise((2, 3, *([2] if extra == 0 else []), 4, 5), seed)
    calls = 0

    def counted(x, sigma, h_edit=None):
        nonlocal calls
        calls += 1
        return strong(x, sigma)

    trace, report = traced_inversion(counted, x, sigmas)
    assert calls == report.calls == len(sigmas) - 1
    back = sample_traced(counted, trace, trace.code, sigmas)
    assert calls == 2 * report.calls
    assert torch.equal(trace.states[-1], x)
    # float32 keeps a state to a ten-millionth of its largest value, and the last step multiplies that by up to 18 here.
    assert float((back - x).abs().max()) < 1e-5 * float(trace.states.abs().max())


def test_the_stock_sampler_does_not_come_back():
    """Without the trace the same code leads elsewhere, so that the test above could fail."""
    x = noise((1, 3, 4, 4))
    trace, _ = traced_inversion(GaussianDenoiser(), x, karras(10))
    assert relative(sample_euler(GaussianDenoiser(), trace.code, karras(10)), x) > 1e-2


@pytest.mark.parametrize("flow", [False, True])
def test_the_inversion_by_hand(flow):
    """Two steps: the first adds noise of a seed, the second is one explicit step."""
    model = GaussianDenoiser(flow=flow)
    sigmas = torch.tensor([0.9, 0.4, 0.0])
    x = noise((1, 2, 3, 3))
    trace, report = traced_inversion(model, x, sigmas, seed=5)
    noisy = x * (1 - 0.4 * flow) + 0.4 * noise((2, 3, 3), 5)
    slope = (noisy - model(noisy, sigmas[1])) / 0.4
    assert torch.allclose(trace.states[1], noisy, atol=1e-6)
    assert torch.allclose(trace.code, noisy + 0.5 * slope, atol=1e-5)
    # From 0.4 to 0 an Euler step ends at its D.
    assert torch.allclose(trace.corrections[1], x - model(noisy, sigmas[1]), atol=1e-6)
    assert report.calls == 2


def test_a_batch_is_inverted_as_its_pictures_are():
    x = noise((3, 2, 4, 4))
    together, _ = traced_inversion(GaussianDenoiser(), x, karras(5), seed=2)
    alone, _ = traced_inversion(GaussianDenoiser(), x[1:2], karras(5), seed=2)
    other, _ = traced_inversion(GaussianDenoiser(), x[1:2], karras(5), seed=3)
    assert torch.allclose(together.code[1:2], alone.code, atol=1e-5)
    assert relative(other.code, alone.code) > 0.01


def test_the_code_of_a_flat_picture_is_noise():
    """A picture without any texture has a Gaussian code all the same."""
    trace, _ = traced_inversion(GaussianDenoiser(mean=0.0, variance=1e-4), torch.zeros(1, 4, 16, 16), karras(20))
    statistics = code_statistics(trace.code, trace.sigmas[0], flow=False)
    assert float((statistics.std - 1).abs().max()) < 0.15
    assert float(statistics.correlation.abs().max()) < 0.15


def test_a_schedule_that_ends_above_0_takes_one_call_more():
    x = noise((1, 2, 3, 3))
    trace, report = traced_inversion(strong, x, FLOW[:-1])
    assert report.calls == len(FLOW[:-1])
    assert relative(sample_traced(strong, trace, trace.code, FLOW[:-1]), x) < 2e-6


def test_it_stops_at_a_step():
    x = noise((2, 3, 4, 4))
    whole, _ = traced_inversion(GaussianDenoiser(), x, karras(8))
    part, report = traced_inversion(GaussianDenoiser(), x, karras(8), stop_at_step=3)
    assert torch.equal(part.code, whole.states[3])
    assert torch.equal(part.sigmas, karras(8)[3:])
    assert report.first_step == 3
    assert report.method == "traced"


@given(st.integers(0, 4), st.floats(-2, 2), st.integers(0, 99))
@example(3, 1e-5, 0)  # within rounding
@example(3, 2e-5, 0)  # just beyond
@settings(max_examples=30, deadline=None)
def test_a_moved_state_gets_what_a_stock_step_would_make_of_the_move(step, size, seed):
    """One step by hand, from an edited state; one that is off by rounding did not move, and stays on the trace."""
    x = noise((1, 2, 3, 3), seed)
    trace, _ = traced_inversion(strong, x, FLOW)
    start, end = trace.states[step], trace.states[step + 1]
    y = start + size * noise((1, 2, 3, 3), seed + 1)

    def stock(state):
        return euler_step(state, strong(state, FLOW[step]), FLOW[step], FLOW[step + 1])

    is_rounding = (y - start).abs().max() <= ROUNDING * start.abs().max()
    by_hand = end if is_rounding else end + stock(y) - stock(start)
    stepped = sample_traced(strong, trace, y, FLOW[step : step + 2])
    assert torch.allclose(stepped, by_hand, atol=1e-4)


def test_it_goes_on_from_any_step():
    x = noise((1, 2, 3, 3))
    trace, _ = traced_inversion(strong, x, FLOW)
    for step in range(len(FLOW)):
        assert relative(sample_traced(strong, trace, trace.states[step], FLOW[step:]), x) < 2e-6
    part = sample_traced(strong, trace, trace.code, FLOW[:4])
    assert torch.allclose(part, trace.states[3], atol=1e-5)


def test_float32_costs_less_than_a_millionth():
    x = noise((2, 3, 8, 8))
    exact, _ = traced_inversion(GaussianDenoiser(), x.double(), karras(50).double())
    kept, _ = traced_inversion(GaussianDenoiser(), x, karras(50))
    assert exact.states.dtype == kept.states.dtype == torch.float32
    assert relative(kept.code, exact.code) < 2e-6


def test_another_prompt_moves_the_picture_towards_its_own():
    x = noise((1, 2, 6, 6))
    trace, _ = traced_inversion(GaussianDenoiser(mean=0.0), x, karras(20))
    moved = sample_traced(GaussianDenoiser(mean=1.0), trace, trace.code, karras(20)) - x
    assert float(moved.mean()) == pytest.approx(1.0, abs=0.2)


def guided(prompt, cfg):
    """A denoiser whose prompts differ by a number, at a guidance."""

    def denoise(x, sigma, h_edit=None):
        return torch.sin(3 * x + sigma) + cfg * prompt * torch.cos(x)

    denoise.guidance = cfg
    return denoise


def test_another_guidance_is_no_change_of_the_prompt():
    x = noise((2, 3, 4, 4))
    trace, _ = traced_inversion(guided(0.2, 5.0), x, FLOW)
    weaker = retraced(guided(0.2, 2.0), trace, trace.code, FLOW[:-1])
    assert weaker.guidance == 2.0
    assert relative(sample_traced(guided(0.2, 2.0), weaker, trace.code, FLOW), x) < 1e-5
    assert relative(sample_traced(guided(0.2, 2.0), trace, trace.code, FLOW), x) > 1e-2
    # Another prompt then changes what it changes at that guidance.
    moved = sample_traced(guided(0.5, 2.0), weaker, trace.code, FLOW[:2]) - trace.states[1]
    change = 2.0 * 0.3 * torch.cos(trace.code)
    assert relative(moved, change * (FLOW[0] - FLOW[1]) / FLOW[0]) < 1e-5


def test_only_steps_that_are_asked_for_get_other_corrections():
    trace, _ = traced_inversion(guided(0.2, 5.0), noise((1, 3, 4, 4)), FLOW)
    seen = []
    part = retraced(guided(0.2, 2.0), trace, trace.code, FLOW[1:3], lambda i, state: seen.append(i))
    assert seen == [1, 2]
    changed = [not torch.equal(a, b) for a, b in zip(part.corrections, trace.corrections, strict=True)]
    assert changed == [False, True, True, False, False]


def test_one_trace_serves_several_strengths_at_once():
    x = noise((2, 3, 4, 4))
    trace, _ = traced_inversion(strong, x, FLOW)
    edited = torch.cat([trace.code, trace.code + 0.1])
    together = sample_traced(strong, trace, edited, FLOW)
    assert torch.allclose(together[:2], x, atol=1e-5)
    assert torch.allclose(together[2:], sample_traced(strong, trace, edited[2:], FLOW), atol=1e-5)


def test_an_asymmetric_edit_adds_what_it_adds_without_a_trace():
    """One edited step by hand: the traced step, and a' * (D_edit - D) at the state itself."""
    model = LinearBottleneck(flow=True)
    x = noise((1, 4, 4, 4))
    trace, _ = traced_inversion(model, x, FLOW)

    def raised(h, sigma):
        return h + 0.5

    def step(**options):
        return sample_asyrp(
            follow_trace(model, trace, y, FLOW[2:4]), y, FLOW[2:4], BoundEdit(h_edit=raised), EditWindow(), **options
        )

    y = trace.states[2] + 0.2
    effect = model(y, FLOW[2], lambda h: h + 0.5) - model(y, FLOW[2])
    plain = sample_traced(model, trace, y, FLOW[2:4])
    assert float(effect.abs().min()) > 0.1
    assert torch.allclose(step(), plain + (1 - FLOW[3]) * effect, atol=1e-5)
    assert torch.allclose(step(symmetric=True), plain + (1 - FLOW[3] / FLOW[2]) * effect, atol=1e-5)


def test_an_edit_of_nothing_is_the_traced_sampler_bit_for_bit():
    x = noise((1, 4, 4, 4))
    trace, _ = traced_inversion(LinearBottleneck(), x, karras(6))
    edited = sample_asyrp(follow_trace(LinearBottleneck(), trace, trace.code, karras(6)), trace.code, karras(6))
    assert torch.equal(edited, sample_traced(LinearBottleneck(), trace, trace.code, karras(6)))


def test_where_the_stock_step_is_exact_there_is_nothing_to_correct():
    """With one slope everywhere, Euler's steps and the inversion's agree; the last takes the drawn noise off."""

    def straight(x, sigma, h_edit=None):
        return x - 0.3 * sigma

    trace, _ = traced_inversion(straight, noise((1, 2, 3, 3)), karras(5))
    assert float(trace.corrections[:-1].abs().max()) < 1e-5
    assert torch.allclose(trace.corrections[-1], 0.03 * (0.3 - noise((1, 2, 3, 3))), atol=1e-5)


@given(st.floats(1.0, 40.0), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_rounding_is_no_edit(growth, seed):
    """A model that multiplies every difference still gives the picture back from a code that passed another space."""

    def expanding(x, sigma, h_edit=None):
        return -growth * torch.sin(x)

    x = noise((1, 2, 3, 3), seed)
    trace, _ = traced_inversion(expanding, x, FLOW)
    code = trace.code * 0.18215 / 0.18215
    back = sample_traced(expanding, trace, code * (1 + 1e-7), FLOW)
    assert float((back - x).abs().max()) < 1e-5 * float(trace.states.abs().max())


def test_what_the_model_says_of_itself_is_handed_on():
    model = LinearBottleneck(flow=True)
    model.guidance = 4.0
    model.place_size = 2
    traced = TracedDenoiser(
        model, Trace(torch.zeros(2, 1, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4), torch.tensor([1.0, 0.0]))
    )
    assert traced.flow is True
    assert traced.guidance == 4.0
    assert traced.place_size == 2


@pytest.mark.parametrize(
    ("shape", "sigmas", "said"),
    [
        ((1, 3, 4, 6), FLOW, r"trace is of a latent of shape \(2, 3, 4, 4\), but the sampler's has \(1, 3, 4, 6\)"),
        ((3, 3, 4, 4), FLOW, "wire the code and the trace"),
        ((2, 3, 4, 4), FLOW[1:4] * 1.01, "is no part of the trace's"),
        ((2, 3, 4, 4), FLOW[::2], "is no part of the trace's"),
        ((2, 3, 4, 4), karras(5), "5 steps from sigma 14.6, is no part of the trace's, 5 steps from sigma 1"),
    ],
)
def test_a_trace_of_another_size_or_schedule_is_refused(shape, sigmas, said):
    trace, _ = traced_inversion(strong, noise((2, 3, 4, 4)), FLOW)
    with pytest.raises(EditError, match=said):
        sample_traced(strong, trace, noise(shape), sigmas)
    assert follow_trace(strong, None, noise(shape), sigmas) is strong


def test_a_model_that_predicts_nan_is_named():
    def broken(x, sigma, h_edit=None):
        return x * float("nan") if sigma > 0.5 else x

    with pytest.raises(EditError, match="The model predicts NaN or infinite values at sigma"):
        traced_inversion(broken, noise((1, 2, 3, 3)), FLOW)
