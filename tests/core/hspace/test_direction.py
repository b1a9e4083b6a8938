"""h-space directions: looked up by sigma, fitted to other sizes, learned where the answer is known."""

from __future__ import annotations

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from singular_edit.core import (
    EditError,
    EditWindow,
    Endpoints,
    RandomDirection,
    Training,
    calibrate,
    euler_step,
    learn_direction,
    record_trajectories,
    sample_endpoints,
    step_asyrp,
)
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.learn_direction import prediction_gains
from singular_edit.core.hspace.networks import CombinedDirection, ImplicitDirection
from singular_edit.core.samplers import Run

SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0])
BRIEF = Training(steps=5, learning_rate=3e-2, seed=3)
THOROUGH = Training(steps=200, learning_rate=0.05)


def h(size=(2, 2), rows=3, channels=32):
    return noise((rows, channels, *size))


def implicit():
    """A network whose dh is not zero."""
    direction = ImplicitDirection.fresh(32, SIGMAS, torch.Generator().manual_seed(0), {})
    direction.tensors["out.weight"].normal_(generator=torch.Generator().manual_seed(1))
    return direction


def test_lookup_is_by_sigma_not_by_index():
    table = torch.arange(4.0)[:, None, None, None].expand(4, 32, 2, 2)
    direction = TableDirection(SIGMAS, {"table": table.contiguous()})

    def value(sigma):
        return direction.delta(h(), torch.tensor(sigma)).mean().item()

    assert [value(sigma) for sigma in (8.0, 4.0, 2.0, 1.0)] == pytest.approx([0, 1, 2, 3])
    halfway_in_log_sigma = 4 * 2**0.5
    assert value(halfway_in_log_sigma) == pytest.approx(0.5, abs=1e-4)
    assert value(100.0) == 0
    assert value(0.001) == 3


def test_maps_are_resized_and_vectors_fit_any_size():
    table = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 32, 2, 2).contiguous()
    bigger = TableDirection(SIGMAS, {"table": table}).delta(h((6, 4)), SIGMAS[0])
    assert bigger.shape[-2:] == (6, 4)
    assert bigger.mean().item() == pytest.approx(1.5, abs=0.01)
    assert bigger[0, 0, 0, 0] < bigger[0, 0, -1, -1]
    vector = TableDirection(SIGMAS, {"table": torch.ones(1, 32, 1, 1)})
    bottleneck = h((5, 3))
    moved = bottleneck + vector.delta(bottleneck, SIGMAS[0])
    assert (moved - bottleneck - 1).abs().max() < 1e-5


def test_implicit_starts_from_no_edit_and_answers_each_sample():
    direction = ImplicitDirection.fresh(32, SIGMAS, torch.Generator().manual_seed(0), {})
    assert direction.delta(h(), SIGMAS[0]).abs().max() == 0
    direction = implicit()
    early = direction.delta(h(), torch.tensor(4.0))
    late = direction.delta(h(), torch.tensor(1.0))
    assert early.shape == h().shape
    assert not torch.allclose(early[0], early[1])
    assert not torch.allclose(early, late)


def test_random_has_equal_norm_and_no_likeness():
    base = implicit()
    dh = base.delta(h(), SIGMAS[0]).flatten(1)
    random = RandomDirection.like(base, 3).delta(h(), SIGMAS[0]).flatten(1)
    assert torch.allclose(random.norm(dim=1), dh.norm(dim=1), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(dh, random).abs().max() < 0.4


def test_another_bottleneck_gets_a_sentence():
    vector = TableDirection(SIGMAS, {"table": torch.ones(1, 32, 1, 1)})
    with pytest.raises(EditError, match="bottleneck of 32 channels but this model has 64"):
        vector.delta(h(channels=64), SIGMAS[0])
    with pytest.raises(EditError, match="48 channels, which do not divide into 32 groups"):
        ImplicitDirection.fresh(48, SIGMAS, torch.Generator(), {})


def trajectories(shift=0.4, samples=6, batch=8, **branch):
    """A model under the source prompt, and what it and its target, whose h is shifted, do from the same noises."""
    source = LinearBottleneck(0.0)
    target = LinearBottleneck(shift)
    x = 14 * noise((samples, 4, 8, 8))
    return source, record_trajectories(source, target, x, karras(8), run=Run(batch), **branch)


def test_trajectories_follow_both_prompts():
    _, t = trajectories(batch=4)
    assert t.x.shape == (8, 12, 4, 8, 8)
    assert t.h_difference.shape == (8, 4, 2, 2)
    assert torch.equal(t.x[0, :6], t.x[0, 6:])
    assert not torch.allclose(t.x[-1, :6], t.x[-1, 6:])
    assert torch.allclose(t.h_difference, torch.full_like(t.h_difference, 0.4), atol=1e-5)
    _, small = trajectories(batch=2)
    _, full = trajectories(batch=6)
    assert torch.allclose(small.source.mean(), full.source.mean(), atol=1e-5)


def test_the_prompts_branch_at_branch_sigma():
    sigmas = karras(8)
    _, t = trajectories(branch_sigma=float(sigmas[3]))
    assert torch.equal(t.sigmas, sigmas[3:])
    assert len(t.x) == 5
    assert torch.equal(t.x[0, :6], t.x[0, 6:])
    assert not torch.allclose(t.x[1, :6], t.x[1, 6:])
    _, whole = trajectories()
    source_until_then = whole.x[3, :6]
    assert torch.allclose(t.x[0, :6], source_until_then, atol=1e-5)


def test_every_call_of_every_batch_is_reported():
    steps = []
    run = Run(batch=4, on_step=lambda: steps.append(1))
    sigmas = karras(8)
    x = 14 * noise((6, 4, 8, 8))
    record_trajectories(LinearBottleneck(0.0), LinearBottleneck(0.4), x, sigmas, branch_sigma=float(sigmas[3]), run=run)
    assert len(steps) == 2 * (3 + 2 * 5 + 2 * 5)


def test_difference_is_the_mean_shift_of_h():
    source, t = trajectories()
    direction, losses = learn_direction(source, t, "difference", BRIEF)
    assert losses == []
    assert torch.allclose(direction.tensors["table"], torch.full((8, 4, 2, 2), 0.4), atol=1e-5)


@pytest.mark.parametrize("method", ["global", "vector"])
def test_learning_finds_the_known_shift(method):
    """With gain 'plain' the answer is the target's own shift of h, 0.4 everywhere."""
    source, t = trajectories()
    direction, losses = learn_direction(source, t, method, THOROUGH, gain="plain")
    table = direction.tensors["table"]
    assert torch.allclose(table, torch.full_like(table, 0.4), atol=0.02)
    assert losses[0] == pytest.approx(1, abs=0.05)
    assert losses[-1] < 0.02


# A flow schedule's last step ends at a picture at once and is left out.
@pytest.mark.parametrize(
    ("flow", "sigmas", "steps"), [(False, karras(8), 8), (True, torch.linspace(1, 0, 9), 7)], ids=["eps", "flow"]
)
def test_step_gain_makes_an_asymmetric_step_the_targets_own_step(flow, sigmas, steps):
    x = 14 * noise()
    source = LinearBottleneck(0.0)
    target = LinearBottleneck(0.4)
    gains = prediction_gains(sigmas, "step", flow=flow)
    for i in range(steps):
        sigma = sigmas[i]
        sigma_next = sigmas[i + 1]
        denoised = source(x, sigma)
        wanted = target(x, sigma)
        edited = denoised + gains[i] * (wanted - denoised)
        asymmetric = step_asyrp(x, denoised, edited, sigma, sigma_next, flow=flow)
        assert torch.allclose(asymmetric, euler_step(x, wanted, sigma, sigma_next), atol=1e-4)


def test_whether_a_model_is_a_flow_model_is_read_off_the_denoiser():
    source, t = trajectories()
    t.sigmas = t.sigmas / t.sigmas[0]
    eps, _ = learn_direction(source, t, "global", BRIEF)
    source.flow = True
    flow, _ = learn_direction(source, t, "global", BRIEF)
    assert not torch.allclose(eps.tensors["table"], flow.tensors["table"], atol=1e-4)


def test_learning_is_repeatable_and_bad_input_gets_a_sentence():
    source, t = trajectories()
    once, _ = learn_direction(source, t, "global", BRIEF)
    again, _ = learn_direction(source, t, "global", BRIEF)
    assert torch.equal(once.tensors["table"], again.tensors["table"])
    with pytest.raises(EditError, match="method is 'magic'"):
        learn_direction(source, t, "magic", BRIEF)
    with pytest.raises(EditError, match="gain is 'magic'; step and plain are accepted"):
        learn_direction(source, t, "global", BRIEF, gain="magic")
    _, equal = trajectories(shift=0.0)
    with pytest.raises(EditError, match="nothing to learn"):
        learn_direction(source, equal, "global", BRIEF)
    with pytest.raises(EditError, match="No step of this schedule"):
        trajectories(branch_sigma=0.001)


def combined():
    """A combined direction, and its network alone."""
    generator = torch.Generator().manual_seed(1)
    network = ImplicitDirection.fresh(32, SIGMAS, generator, {})
    network.tensors["out.weight"].normal_(generator=generator)
    table = torch.randn(1, 32, 2, 2, generator=generator)
    return CombinedDirection(SIGMAS, {**network.tensors, "table": table}), network


def test_combined_is_the_sum_of_a_map_and_a_network():
    both, network = combined()
    table = TableDirection(SIGMAS, {"table": both.tensors["table"]})
    for size in ((2, 2), (4, 6)):
        parts = table.delta(h(size), SIGMAS[1]) + network.delta(h(size), SIGMAS[1])
        assert torch.allclose(both.delta(h(size), SIGMAS[1]), parts, atol=1e-5)


def test_a_scaled_direction_adds_that_multiple():
    both, network = combined()
    table = TableDirection(SIGMAS, {"table": both.tensors["table"]})
    for direction in (both, network, table):
        dh = direction.delta(h(), SIGMAS[0])
        assert torch.allclose(direction.scaled(-2.5).delta(h(), SIGMAS[0]), -2.5 * dh, atol=1e-4)
        assert torch.equal(direction.delta(h(), SIGMAS[0]), dh)


def test_calibration_makes_strength_one_the_whole_way():
    """A linear model: progress is proportional to strength, so the right scale is known."""
    source, t = trajectories()
    right, _ = learn_direction(source, t, "global", THOROUGH)
    endpoints = Endpoints.of(t, 32)
    run = Run(batch=4)
    unit = calibrate(source, right, endpoints, run=run)
    assert abs(unit.progress - 0.9) < 0.03
    for wrong in (0.3, 3.0):
        again = calibrate(source, right.scaled(wrong), endpoints, run=run)
        assert again.scale == pytest.approx(unit.scale / wrong, rel=0.05)
        table = again.direction.tensors["table"]
        assert torch.allclose(table, unit.direction.tensors["table"], rtol=0.05, atol=1e-3)


def test_endpoints_sampled_alone_are_those_of_what_was_recorded():
    source = LinearBottleneck(0.0)
    target = LinearBottleneck(0.4)
    sigmas = karras(8)
    branch_sigma = float(sigmas[2])
    x = 14 * noise((5, 4, 8, 8))
    steps = []
    run = Run(batch=2, on_step=lambda: steps.append(1))
    trajectories = record_trajectories(source, target, x, sigmas, branch_sigma=branch_sigma, run=Run(batch=2))
    recorded = Endpoints.of(trajectories, 32)
    sampled = sample_endpoints(source, target, x, sigmas, branch_sigma=branch_sigma, run=run)
    for one, other in zip(recorded, sampled, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=5e-3)  # recorded in half precision
    assert len(steps) == 3 * (2 + 6 + 6)
    assert not torch.allclose(recorded.source, recorded.target)
    with pytest.raises(EditError, match="No step of this schedule"):
        sample_endpoints(source, target, x, sigmas, branch_sigma=0.001)


def test_calibration_of_a_direction_without_effect_stays_finite():
    source, t = trajectories()
    nothing = TableDirection(t.sigmas[:-1], {"table": torch.zeros(1, 4, 2, 2)})
    unit = calibrate(source, nothing, Endpoints.of(t, 32), EditWindow(edit_from=nothing.start))
    assert unit.progress == pytest.approx(0, abs=1e-4)
    assert 0 < unit.scale <= 4
    assert torch.isfinite(unit.direction.tensors["table"]).all()
