"""What learning takes is said before it starts: noises by the size of the bottleneck, evaluations, memory and ticks."""

from dataclasses import replace

import pytest
import torch
from helpers.denoisers import LinearBottleneck
from helpers.tensors import noise
from singular_edit.core import EditError
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.fitting import Training
from singular_edit.core.hspace.learn_readout import held_out_states
from singular_edit.core.hspace.prediction_changes import record_prediction_changes, recorded_batches
from singular_edit.core.hspace.trajectories import record_trajectories
from singular_edit.core.recipes import defaults, hspace
from singular_edit.core.recipes.learning_cost import learning_cost, plan_learning
from singular_edit.core.recipes.settings import AUTOMATIC, LEARN_METHODS, READOUT, LearnSettings, readout_samples
from singular_edit.core.samplers import Run, Schedule
from singular_edit.demo.networks import BOTTLENECK

GIGABYTE = 1e9
LATENT = (4, 8, 8)


class Counted(LinearBottleneck):
    """A model that counts the pictures it is asked about, with and without gradients through its bottleneck."""

    def __init__(self, counts, **arguments):
        super().__init__(**arguments)
        self.counts = counts

    def __call__(self, x, sigma, h_edit=None):
        answer = super().__call__(x, sigma, h_edit)
        self.counts["with gradients" if answer.requires_grad else "plain"] += len(x)
        return answer


@pytest.fixture(scope="module")
def schedule(demo):
    return Schedule(demo.sigmas(25), demo.percent_to_sigma)


def small(method: str, **changes) -> LearnSettings:
    shipped = LearnSettings.for_method(method)
    training = replace(shipped.training, steps=40, batch=6)
    return replace(shipped, **{"samples": 12, "training": training, "calibration_noises": 4, **changes})


def test_larger_bottlenecks_take_fewer_noises_within_bounds():
    counts = [readout_samples(side * side) for side in range(1, 129)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == counts[3] == defaults.READOUT_SAMPLES
    assert counts[-1] == defaults.READOUT_MIN_SAMPLES
    assert defaults.READOUT_MIN_SAMPLES < readout_samples(64) < defaults.READOUT_SAMPLES


def test_automatic_is_shipped_and_other_numbers_are_kept():
    for method in LEARN_METHODS:
        shipped = LearnSettings.for_method(method)
        assert shipped.samples == AUTOMATIC
        chosen = shipped.for_bottleneck(BOTTLENECK)
        assert chosen.samples == (defaults.READOUT_SAMPLES if method == READOUT else defaults.LEARN_SAMPLES)
        assert replace(chosen, samples=AUTOMATIC) == shipped
        few = replace(shipped, samples=7)
        assert few.for_bottleneck(BOTTLENECK) is few
    assert LearnSettings.for_method("combined").for_bottleneck(()).samples == defaults.LEARN_SAMPLES


def test_what_is_held_out_is_looked_at_in_parts_of_as_many_places_for_any_bottleneck():
    assert held_out_states(16, 16) == 64
    assert held_out_states(16, 4) == 64
    assert held_out_states(16, 32) == 32
    assert held_out_states(16, 4096) == 16


@pytest.mark.parametrize(
    ("latent", "bottleneck", "evaluations", "gigabytes"),
    [((4, 64, 64), (1280, 8, 8), 2500, 1.0), ((4, 128, 128), (1280, 32, 32), 1000, 2.0)],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_models_that_people_use_stay_affordable(schedule, latent, bottleneck, evaluations, gigabytes, batch):
    cost = learning_cost(LearnSettings.for_method(READOUT), schedule, latent, bottleneck, batch=batch)
    assert cost.evaluations <= evaluations
    assert cost.host_bytes <= gigabytes * GIGABYTE
    assert f"{cost.evaluations:,} evaluations" in cost.text()
    assert f"{cost.host_bytes / 1e6:,.0f} MB" in cost.text()


@pytest.mark.parametrize("method", [READOUT, "global", "difference"])
@pytest.mark.parametrize("batch", [1, 5, 12])
def test_learning_keeps_to_what_was_said(schedule, method, batch):
    counts = {"plain": 0, "with gradients": 0}
    ticks = []
    prompts = PromptDenoisers(Counted(counts), Counted(counts, shift=0.4))
    first = 14 * noise((1, *LATENT))
    plan = plan_learning(prompts.source, small(method), schedule, first, batch)
    run = Run(batch, on_step=lambda: ticks.append(1))
    hspace.learn_from_prompts(prompts, 14 * noise((12, *LATENT)), schedule, plan.settings, run=run)
    cost = plan.cost
    assert 0.7 * cost.evaluations < counts["plain"] <= cost.evaluations
    assert counts["with gradients"] == cost.gradient_evaluations
    assert 0.6 * cost.ticks < len(ticks) <= cost.ticks


def test_guidance_doubles_the_evaluations(schedule):
    plain = learning_cost(small(READOUT), schedule, LATENT, BOTTLENECK)
    guided = learning_cost(small(READOUT, cfg=2.0), schedule, LATENT, BOTTLENECK)
    assert guided.evaluations == 2 * plain.evaluations
    assert guided.host_bytes == plain.host_bytes


def test_memory_is_that_of_the_tensors(schedule):
    start = 14 * noise((12, *LATENT))
    source, target = LinearBottleneck(), LinearBottleneck(shift=0.4)
    of = {method: small(method, calibration_noises=1, start_percent=0.24) for method in (READOUT, "global")}
    edges = dict(
        branch_sigma=schedule.sigma_at(of[READOUT].start_percent), end_sigma=schedule.sigma_at(of[READOUT].end_percent)
    )
    changes = record_prediction_changes(source, target, start, schedule.sigmas, **edges)
    measured = 8 * start[:1].nbytes
    held = sum(tensor.nbytes for tensor in (changes.h, changes.change, start))
    assert learning_cost(of[READOUT], schedule, LATENT, (4, 2, 2)).host_bytes == held + measured
    assert changes.h.element_size() == changes.change.element_size() == 2
    t = record_trajectories(source, target, start, schedule.sigmas, branch_sigma=edges["branch_sigma"])
    held = sum(tensor.nbytes for tensor in (t.x, t.source, t.target, start))
    assert learning_cost(of["global"], schedule, LATENT, ()).host_bytes == held + measured


@pytest.mark.parametrize("batch", [1, 8, 96])
def test_every_step_is_recorded_whatever_the_batch(batch):
    batches = recorded_batches(96, batch, 6, 20)
    assert sum(size for size, _ in batches) == 96
    assert max(size for size, _ in batches) <= batch
    assert all(steps[0] == 0 for _, steps in batches)
    assert {step for _, steps in batches for step in steps if step >= 6} == set(range(6, 20))


def test_a_window_without_steps_gets_its_sentence(schedule):
    with pytest.raises(EditError, match="widen the window"):
        learning_cost(small(READOUT, start_percent=0.5, end_percent=0.5), schedule, LATENT, BOTTLENECK)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 50])
def test_schedules_of_any_length_are_recorded_and_measured(demo, steps):
    schedule = Schedule(demo.sigmas(steps), demo.percent_to_sigma)
    settings = small(READOUT, start_percent=0.0, training=Training(3, 0.03, 6))
    counts = {"plain": 0, "with gradients": 0}
    prompts = PromptDenoisers(Counted(counts), Counted(counts, shift=0.4))
    plan = plan_learning(prompts.source, settings, schedule, 14 * noise((1, *LATENT)), 3)
    learned = hspace.learn_from_prompts(prompts, 14 * noise((12, *LATENT)), schedule, plan.settings, run=Run(3))
    assert counts["plain"] <= plan.cost.evaluations
    assert torch.isfinite(learned.direction.tensors["out.weight"]).all()
