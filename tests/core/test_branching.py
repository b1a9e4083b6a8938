"""When an attribute is decided is measured: how late two prompts may branch."""

from collections.abc import Callable

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import EditError
from singular_edit.core.branching import branching_calls, change_shares
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.start import measure_start, start_calls, start_shares
from singular_edit.core.samplers import Run, Schedule
from torch import Tensor

STEPS = 50
# Evenly spaced, so that progress p is sigma 1 - p.
SIGMAS = torch.linspace(1, 0, STEPS + 1, dtype=torch.float64)
SCHEDULE = Schedule(SIGMAS, lambda percent: 1 - percent)


def plain(x: Tensor, sigma: Tensor, h_edit: None = None) -> Tensor:
    """Draws every state as it is, so that nothing moves."""
    return x


def pulled(until: float) -> Callable[..., Tensor]:
    """Moves a state at an even rate by 1 in all, while sigma is above ``until``."""

    def denoise(x: Tensor, sigma: Tensor, h_edit: None = None) -> Tensor:
        # x' = x + (sigma' - sigma) * (x - D) / sigma
        return x + sigma / (1 - until) * (sigma > until + 1e-9)

    return denoise


def start() -> Tensor:
    return noise((3, 2, 4, 4)).double()


@pytest.mark.parametrize("until", [0.0, 0.5, 0.8])
def test_the_share_falls_as_the_attribute_is_decided(until):
    steps = [0, 5, 10, 20, 40]
    shares = change_shares(plain, pulled(until), start(), SIGMAS, steps)
    expected = [max(0.0, 1 - step / STEPS / (1 - until)) for step in steps]
    assert shares.tolist() == pytest.approx(expected, abs=1e-6)


def test_prompts_that_draw_one_picture_have_nothing_to_decide():
    assert change_shares(plain, plain, start(), SIGMAS, [0, 10]).tolist() == [1, 1]


def test_batches_and_their_size_do_not_matter_and_every_call_is_counted():
    calls = []
    steps = [0, 3, 7]
    apart = change_shares(plain, pulled(0.5), start(), SIGMAS, steps, run=Run(1, on_step=lambda: calls.append(1)))
    assert torch.allclose(apart, change_shares(plain, pulled(0.5), start(), SIGMAS, steps, run=Run(8)))
    assert len(calls) == 3 * branching_calls(STEPS, steps)


@pytest.mark.parametrize("steps", [[], [STEPS], [-1]])
def test_a_step_that_is_not_there_is_named(steps):
    with pytest.raises(EditError, match="steps from 0 to 49 are accepted"):
        change_shares(plain, plain, start(), SIGMAS, steps)


@pytest.mark.parametrize(("until", "percent"), [(0.0, 0.24), (0.6, 0.16), (0.8, 0.08), (0.9, 0.0)])
def test_learning_begins_as_late_as_most_of_the_attribute_still_comes(until, percent):
    found = measure_start(PromptDenoisers(plain, pulled(until)), start(), SCHEDULE)
    assert found.percent == percent
    assert found.share >= defaults.START_SHARE
    later = [one for one in defaults.START_PERCENTS if one > percent]
    assert all(1 - one / (1 - until) < defaults.START_SHARE for one in later)


@pytest.mark.parametrize("steps", [3, 4, 10, 25, 50])
def test_any_number_of_steps_will_do(steps):
    sigmas = torch.linspace(1, 0, steps + 1)
    schedule = Schedule(sigmas, SCHEDULE.percent_to_sigma)
    calls = []
    run = Run(on_step=lambda: calls.append(1))
    starts = start_shares(PromptDenoisers(plain, pulled(0.0)), start().float(), schedule, run=run)
    assert [one.percent for one in starts] == list(defaults.START_PERCENTS)
    assert starts[0].share == pytest.approx(1)
    assert len(calls) == start_calls(schedule)


def test_a_start_is_said_in_words():
    found = measure_start(PromptDenoisers(plain, pulled(0.6)), start(), SCHEDULE)
    assert found.text().startswith("The prompts branch at progress 0.16: from there the target prompt still makes 6")
