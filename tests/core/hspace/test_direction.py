"""h-space directions: looked up by sigma, fitted to other sizes, learned where the answer is known."""

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from singular_edit.core import (
    EditError,
    EditWindow,
    Endpoints,
    RandomDirection,
    calibrate,
    learn_direction,
    record_trajectories,
    sample_endpoints,
)
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import CombinedDirection, ImplicitDirection

SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0])


def h(size=(2, 2), rows=3, channels=32):
    return torch.randn(rows, channels, *size, generator=torch.Generator().manual_seed(0))


def test_lookup_is_by_sigma_not_by_index():
    table = torch.arange(4.0)[:, None, None, None].expand(4, 32, 2, 2)
    direction = TableDirection(SIGMAS, {"table": table.contiguous()})
    value = lambda sigma: direction.delta(h(), torch.tensor(sigma)).mean().item()
    assert [value(s) for s in (8.0, 4.0, 2.0, 1.0)] == pytest.approx([0, 1, 2, 3])
    assert value(4 * 2**0.5) == pytest.approx(0.5, abs=1e-4)  # halfway in log sigma
    assert value(100.0) == 0
    assert value(0.001) == 3


def test_maps_are_resized_and_vectors_fit_any_size():
    table = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 32, 2, 2).contiguous()
    bigger = TableDirection(SIGMAS, {"table": table}).delta(h((6, 4)), SIGMAS[0])
    assert bigger.shape[-2:] == (6, 4)
    assert bigger.mean().item() == pytest.approx(1.5, abs=0.01)
    assert bigger[0, 0, 0, 0] < bigger[0, 0, -1, -1]
    vector = TableDirection(SIGMAS, {"table": torch.ones(1, 32, 1, 1)})
    assert (h((5, 3)) + vector.delta(h((5, 3)), SIGMAS[0]) - h((5, 3)) - 1).abs().max() < 1e-5


def test_implicit_starts_from_no_edit_and_answers_each_sample():
    direction = ImplicitDirection.fresh(32, SIGMAS, torch.Generator().manual_seed(0), {})
    assert direction.delta(h(), SIGMAS[0]).abs().max() == 0
    direction.tensors["out.weight"].normal_(generator=torch.Generator().manual_seed(1))
    a, b = direction.delta(h(), torch.tensor(4.0)), direction.delta(h(), torch.tensor(1.0))
    assert a.shape == h().shape
    assert not torch.allclose(a[0], a[1])
    assert not torch.allclose(a, b)


def test_random_has_equal_norm_and_no_likeness():
    base = ImplicitDirection.fresh(32, SIGMAS, torch.Generator().manual_seed(0), {})
    base.tensors["out.weight"].normal_(generator=torch.Generator().manual_seed(1))
    dh, random = base.delta(h(), SIGMAS[0]), RandomDirection(base, 3).delta(h(), SIGMAS[0])
    assert torch.allclose(random.flatten(1).norm(dim=1), dh.flatten(1).norm(dim=1), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(dh.flatten(1), random.flatten(1)).abs().max() < 0.4


def test_another_bottleneck_gets_a_sentence():
    with pytest.raises(EditError, match="bottleneck of 32 channels but this model has 64"):
        TableDirection(SIGMAS, {"table": torch.ones(1, 32, 1, 1)}).delta(h(channels=64), SIGMAS[0])
    with pytest.raises(EditError, match="48 channels, which do not divide into 32 groups"):
        ImplicitDirection.fresh(48, SIGMAS, torch.Generator(), {})


def trajectories(shift=0.4, samples=6, sigmas=None, **kwargs):
    sigmas = karras(8) if sigmas is None else sigmas
    source, target = LinearBottleneck(0.0), LinearBottleneck(shift)
    noise = 14 * torch.randn(samples, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return source, record_trajectories(source, target, noise, sigmas, **kwargs)


def test_trajectories_follow_both_prompts():
    _, t = trajectories(batch=4)
    assert t.x.shape == (8, 12, 4, 8, 8)
    assert t.h_difference.shape == (8, 4, 2, 2)
    assert torch.equal(t.x[0, :6], t.x[0, 6:])
    assert not torch.allclose(t.x[-1, :6], t.x[-1, 6:])
    assert torch.allclose(t.h_difference, torch.full_like(t.h_difference, 0.4), atol=1e-5)
    small, full = trajectories(batch=2)[1], trajectories(batch=6)[1]
    assert torch.allclose(small.source.mean(), full.source.mean(), atol=1e-5)


def test_the_prompts_part_at_the_onset():
    sigmas = karras(8)
    t = trajectories(onset=float(sigmas[3]))[1]
    assert torch.equal(t.sigmas, sigmas[3:])
    assert len(t.x) == 5
    assert torch.equal(t.x[0, :6], t.x[0, 6:])
    assert not torch.allclose(t.x[1, :6], t.x[1, 6:])
    assert torch.allclose(t.x[0, :6], trajectories()[1].x[3, :6], atol=1e-5)  # the source's own trajectory until then


def test_difference_is_the_mean_shift_of_h():
    source, t = trajectories()
    direction, losses = learn_direction(source, t, "difference")
    assert losses == []
    assert torch.allclose(direction.tensors["table"], torch.full((8, 4, 2, 2), 0.4), atol=1e-5)


@pytest.mark.parametrize("method", ["global", "vector"])
def test_learning_finds_the_known_shift(method):
    """With gain 'plain' the answer is the target's own shift of h, 0.4 everywhere."""
    source, t = trajectories()
    direction, losses = learn_direction(source, t, method, steps=200, learning_rate=0.05, gain="plain")
    assert torch.allclose(direction.tensors["table"], torch.full_like(direction.tensors["table"], 0.4), atol=0.02)
    assert losses[0] == pytest.approx(1, abs=0.05)
    assert losses[-1] < 0.02


def test_step_gain_makes_an_asymmetric_step_the_targets_own_step():
    from singular_edit.core import euler_step, step_asyrp
    from singular_edit.core.hspace.learn_direction import _gains

    sigmas, x = karras(8), 14 * torch.randn(2, 4, 8, 8)
    source, target = LinearBottleneck(0.0), LinearBottleneck(0.4)
    for flow, schedule in ((False, sigmas), (True, torch.linspace(1, 0, 9))):
        gains = _gains(schedule, flow, "step")
        for i in range(len(schedule) - 2 if flow else 8):
            s, s_next = schedule[i], schedule[i + 1]
            d, wanted = source(x, s), target(x, s)
            edited = d + gains[i] * (wanted - d)
            assert torch.allclose(
                step_asyrp(x, d, edited, s, s_next, flow), euler_step(x, wanted, s, s_next), atol=1e-4
            )


def test_learning_is_repeatable_and_bad_input_gets_a_sentence():
    source, t = trajectories()
    once, again = (learn_direction(source, t, "global", steps=5, seed=3)[0].tensors["table"] for _ in range(2))
    assert torch.equal(once, again)
    with pytest.raises(EditError, match="method is 'magic'"):
        learn_direction(source, t, "magic")
    with pytest.raises(EditError, match="nothing to learn"):
        learn_direction(source, trajectories(shift=0.0)[1], "global")
    with pytest.raises(EditError, match="No step of this schedule"):
        trajectories(onset=0.001)


def combined():
    generator = torch.Generator().manual_seed(1)
    network = ImplicitDirection.fresh(32, SIGMAS, generator, {})
    network.tensors["out.weight"].normal_(generator=generator)
    return CombinedDirection(
        SIGMAS, {**network.tensors, "table": torch.randn(1, 32, 2, 2, generator=generator)}
    ), network


def test_combined_is_the_sum_of_a_map_and_a_network():
    both, network = combined()
    table = TableDirection(SIGMAS, {"table": both.tensors["table"]})
    for size in ((2, 2), (4, 6)):
        parts = table.delta(h(size), SIGMAS[1]) + network.delta(h(size), SIGMAS[1])
        assert torch.allclose(both.delta(h(size), SIGMAS[1]), parts, atol=1e-5)


def test_a_scaled_direction_adds_that_multiple():
    both, network = combined()
    for direction in (both, network, TableDirection(SIGMAS, {"table": both.tensors["table"]})):
        dh = direction.delta(h(), SIGMAS[0])
        assert torch.allclose(direction.scaled(-2.5).delta(h(), SIGMAS[0]), -2.5 * dh, atol=1e-4)
        assert torch.equal(direction.delta(h(), SIGMAS[0]), dh)


def test_calibration_makes_strength_one_the_whole_way():
    """A linear model: progress is proportional to strength, so the right scale is known."""
    source, t = trajectories()
    right = learn_direction(source, t, "global", steps=200, learning_rate=0.05)[0]
    unit, factor, made = calibrate(source, right, Endpoints.of(t, 32), batch=4)
    assert abs(made - 0.9) < 0.03
    for wrong in (0.3, 3.0):
        again, other, _ = calibrate(source, right.scaled(wrong), Endpoints.of(t, 32), batch=4)
        assert other == pytest.approx(factor / wrong, rel=0.05)
        assert torch.allclose(again.tensors["table"], unit.tensors["table"], rtol=0.05, atol=1e-3)


def test_ends_sampled_alone_are_those_of_what_was_recorded():
    source, target, sigmas = LinearBottleneck(0.0), LinearBottleneck(0.4), karras(8)
    x, onset, steps = 14 * torch.randn(5, 4, 8, 8), float(sigmas[2]), []
    recorded = Endpoints.of(record_trajectories(source, target, x, sigmas, onset, batch=2), 32)
    for one, other in zip(
        recorded, sample_endpoints(source, target, x, sigmas, onset, batch=2, callback=lambda: steps.append(1))
    ):
        assert torch.allclose(one, other, atol=1e-5)
    assert len(steps) == 3 * (2 + 6 + 6)
    assert not torch.allclose(recorded.source, recorded.target)
    with pytest.raises(EditError, match="No step of this schedule"):
        sample_endpoints(source, target, x, sigmas, 0.001)


def test_calibration_of_a_direction_without_effect_stays_finite():
    source, t = trajectories()
    nothing = TableDirection(t.sigmas[:-1], {"table": torch.zeros(1, 4, 2, 2)})
    scaled, factor, made = calibrate(source, nothing, Endpoints.of(t, 32), EditWindow(edit_from=nothing.start))
    assert made == pytest.approx(0, abs=1e-4)
    assert 0 < factor <= 4
    assert torch.isfinite(scaled.tensors["table"]).all()
