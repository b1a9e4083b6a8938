"""One recipe learns and edits in h-space: its stages, its progress, and where its defaults stand."""

from dataclasses import replace

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from singular_edit.core import EditError, HDirection, sample_euler
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.fitting import Training
from singular_edit.core.hspace.calibration import unit_of
from singular_edit.core.recipes import defaults, hspace
from singular_edit.core.recipes.settings import CLIP, LEARN_METHODS, READOUT, EditSettings, LearnSettings
from singular_edit.core.samplers import Run, Schedule

SIGMAS = karras(12)


def percent_to_sigma(percent: float) -> float:
    """Falls from the first sigma to 0, evenly along the schedule."""
    place = percent * (len(SIGMAS) - 1)
    low = min(int(place), len(SIGMAS) - 2)
    return float(torch.lerp(SIGMAS[low], SIGMAS[low + 1], torch.tensor(place - low)))


SCHEDULE = Schedule(SIGMAS, percent_to_sigma)
PROMPTS = PromptDenoisers(LinearBottleneck(), LinearBottleneck(shift=0.4))


def small(method: str, steps: int = 60) -> LearnSettings:
    shipped = LearnSettings.for_method(method)
    return replace(shipped, samples=6, training=Training(steps, learning_rate=0.1, batch=6), calibration_noises=4)


def learn(method: str, steps: int = 60, run: Run = Run(batch=4)) -> hspace.Learned:
    start = 14 * noise((6, 4, 8, 8))
    return hspace.learn_from_prompts(PROMPTS, start, SCHEDULE, small(method, steps), info={"name": "shift"}, run=run)


@pytest.fixture(scope="module")
def learned() -> dict[str, hspace.Learned]:
    return {method: learn(method) for method in (READOUT, "global", "difference")}


def way(x: torch.Tensor, direction: HDirection, strength: float) -> float:
    """The share of the way to the target prompt's picture that an edit makes."""
    source = sample_euler(PROMPTS.source, x, SIGMAS)
    target = sample_euler(PROMPTS.target, x, SIGMAS)
    edited = hspace.edit(PROMPTS.source, x, SCHEDULE, direction, EditSettings(strength, edit_percent=1.0))
    return float(((edited - source) * (target - source)).sum() / (target - source).square().sum())


@pytest.mark.parametrize("method", [READOUT, "global", "difference"])
def test_what_was_learned_moves_pictures_towards_the_target_and_back(learned, method):
    direction = learned[method].direction
    x = 14 * noise((2, 4, 8, 8), seed=9)
    assert direction.name == "shift"
    assert way(x, direction, 1.0) > 0.4
    assert way(x, direction, -1.0) < -0.2


def test_strength_zero_is_the_stock_sampler_bit_for_bit(learned):
    x = 14 * noise((2, 4, 8, 8), seed=9)
    for result in learned.values():
        edited = hspace.edit(PROMPTS.source, x, SCHEDULE, result.direction, EditSettings(0.0))
        assert torch.equal(edited, sample_euler(PROMPTS.source, x, SIGMAS))


def test_the_unit_of_strength_is_measured(learned):
    for result in learned.values():
        assert result.scale is not None
        assert result.progress == pytest.approx(unit_of(result.direction).progress, abs=0.1)


def test_the_same_seed_learns_the_same_and_another_does_not():
    first, again = (learn(READOUT, steps=5).direction for _ in range(2))
    settings = small(READOUT, 5)
    settings = replace(settings, training=replace(settings.training, seed=1))
    other = hspace.learn_from_prompts(PROMPTS, 14 * noise((6, 4, 8, 8)), SCHEDULE, settings, run=Run(4)).direction
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
    assert not torch.equal(first.tensors["out.weight"], other.tensors["out.weight"])


def test_every_method_has_shipped_settings():
    for method in LEARN_METHODS:
        settings = LearnSettings.for_method(method)
        assert settings.method == method
        assert settings.measures_start
        assert max(settings.starts) < settings.end_percent <= 1
    assert LearnSettings.for_method(READOUT).measured == defaults.READOUT_CALIBRATION_NOISES
    assert LearnSettings.for_method("combined").measured == defaults.CALIBRATION_NOISES
    assert LearnSettings.for_method(CLIP).measured == 0


def test_bad_settings_get_a_sentence():
    with pytest.raises(EditError, match="method is 'magic'"):
        learn("magic")
    with pytest.raises(EditError, match="method clip lacks an objective"):
        learn(CLIP)
    late = replace(small("global"), start_percent=1.0)
    with pytest.raises(EditError, match="where the two prompts"):
        hspace.learn_from_prompts(PROMPTS, 14 * noise((6, 4, 8, 8)), SCHEDULE, late)
    alike = PromptDenoisers(LinearBottleneck(), LinearBottleneck())
    with pytest.raises(EditError, match="nothing to learn"):
        hspace.learn_from_prompts(alike, 14 * noise((6, 4, 8, 8)), SCHEDULE, small("global"))
