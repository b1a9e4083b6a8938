"""Traced inversion: exact by algebra, by hand, and at its edges."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck, karras
from helpers.tensors import noise, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, EditWindow, ddim_inversion, euler_step, sample_asyrp, sample_euler
from singular_edit.core.hspace.strength import BoundEdit
from singular_edit.core.inversion.traced import (
    Trace,
    TracedDenoiser,
    follow_trace,
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


def test_its_code_is_that_of_ddim():
    x = noise((2, 3, 4, 4))
    trace, report = traced_inversion(GaussianDenoiser(), x, karras(8), stop_at_step=3)
    assert torch.equal(trace.code, ddim_inversion(GaussianDenoiser(), x, karras(8), stop_at_step=3)[0])
    assert torch.equal(trace.sigmas, karras(8)[3:])
    assert report.first_step == 3
    assert report.method == "traced"


@given(st.integers(0, 4), st.floats(-2, 2), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_moved_state_looks_where_the_inversion_looked_shifted_by_the_move(step, size, seed):
    """One step by hand, from an edited state, against the formula of the module's head."""
    x = noise((1, 2, 3, 3), seed)
    trace, _ = traced_inversion(strong, x, FLOW)
    y = trace.states[step] + size * noise((1, 2, 3, 3), seed + 1)
    at = FLOW[step + 1] if FLOW[step + 1] > 0 else FLOW[step]
    look = y + (trace.states[step + 1] - trace.states[step])
    by_hand = y + (FLOW[step + 1] - FLOW[step]) * (look - strong(look, at)) / at
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


def test_one_trace_serves_several_strengths_at_once():
    x = noise((2, 3, 4, 4))
    trace, _ = traced_inversion(strong, x, FLOW)
    edited = torch.cat([trace.code, trace.code + 0.1])
    together = sample_traced(strong, trace, edited, FLOW)
    assert torch.allclose(together[:2], x, atol=1e-5)
    assert torch.allclose(together[2:], sample_traced(strong, trace, edited[2:], FLOW), atol=1e-5)


def test_an_asymmetric_edit_adds_what_the_model_says_where_it_is_looked():
    """One edited step by hand: the traced step, and a' * (D_edit - D) at ``look``."""
    model = LinearBottleneck(flow=True)
    x = noise((1, 4, 4, 4))
    trace, _ = traced_inversion(model, x, FLOW)

    def raised(h, sigma):
        return h + 0.5

    edit = BoundEdit(h_edit=raised)
    y = trace.states[2] + 0.2
    stepped = sample_asyrp(follow_trace(model, trace, y, FLOW[2:4]), y, FLOW[2:4], edit, EditWindow())
    look = trace.states[3] + 0.2
    effect = model(look, FLOW[3], lambda h: h + 0.5) - model(look, FLOW[3])
    plain = sample_traced(model, trace, y, FLOW[2:4])
    assert torch.allclose(stepped, plain + (1 - FLOW[3]) * effect, atol=1e-5)
    symmetric = sample_asyrp(
        follow_trace(model, trace, y, FLOW[2:4]), y, FLOW[2:4], edit, EditWindow(), symmetric=True
    )
    assert torch.allclose(symmetric, plain + (1 - FLOW[3] / FLOW[2]) * effect, atol=1e-5)


def test_an_edit_of_nothing_is_the_traced_sampler_bit_for_bit():
    x = noise((1, 4, 4, 4))
    trace, _ = traced_inversion(LinearBottleneck(), x, karras(6))
    edited = sample_asyrp(follow_trace(LinearBottleneck(), trace, trace.code, karras(6)), trace.code, karras(6))
    assert torch.equal(edited, sample_traced(LinearBottleneck(), trace, trace.code, karras(6)))


def test_a_step_between_equal_predictions_is_eulers():
    """Where the model's slope is the same everywhere, looking elsewhere changes nothing."""

    def straight(x, sigma, h_edit=None):
        return x - 0.3 * sigma

    trace, _ = traced_inversion(straight, noise((1, 2, 3, 3)), karras(5))
    y = trace.code + 1
    stepped = sample_traced(straight, trace, y, karras(5)[:2])
    assert torch.allclose(stepped, euler_step(y, straight(y, karras(5)[0]), *karras(5)[:2]), atol=1e-5)


def test_what_the_model_says_of_itself_is_handed_on():
    model = LinearBottleneck(flow=True)
    model.guidance = 4.0
    traced = TracedDenoiser(model, Trace(torch.zeros(2, 1, 4, 4, 4), torch.tensor([1.0, 0.0])))
    assert traced.flow is True
    assert traced.guidance == 4.0


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
