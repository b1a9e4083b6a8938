"""Pictures that an attribute did not come to are edited again, more strongly."""

from __future__ import annotations

import pytest
import torch
from singular_edit.core import EditError
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.core.recipes.edit import editor
from singular_edit.core.recipes.retries import retries_of, scale_factors
from singular_edit.core.recipes.sampled_steps import sampled_steps
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.recipes.slide import slide_of
from singular_edit.core.response import Response
from singular_edit.core.samplers import Schedule
from singular_edit.demo import faces
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation.session import Session

RESPONSE = Response((1.0, 1.5), (0.4, 0.9), change=1.0)
RETRIES = len(defaults.RETRY_FACTORS)
# What each picture changes by a scale: usual, comes at 1.5 times, comes at 2 times, never comes, wears it already.
ANSWERS = {
    1.5: [1.0, 0.5, 0.3, 0.1, 0.6],
    2.25: [1.2, 0.9, 0.4, 0.2, 0.85],
    3.0: [1.3, 1.2, 0.9, 0.3, 1.1],
}


class Asked:
    """What scales change, and which were asked for."""

    def __init__(self, pictures: slice = slice(None)) -> None:
        self.pictures = pictures
        self.scales: list[float] = []

    def __call__(self, scale: float) -> torch.Tensor:
        self.scales.append(scale)
        return torch.tensor(ANSWERS[scale][self.pictures])


def test_pictures_that_it_comes_to_only_then_are_given_more_and_others_are_left_alone():
    assert scale_factors(Asked(), RESPONSE, RETRIES).tolist() == [1.0, 1.5, 2.0, 1.0, 1.0]
    assert scale_factors(Asked(), RESPONSE, 1).tolist() == [1.0, 1.5, 1.0, 1.0, 1.0]


def test_only_what_is_needed_is_sampled():
    usual, comes, wears = Asked(slice(0, 1)), Asked(slice(1, 2)), Asked(slice(4, 5))
    for asked in (usual, comes, wears):
        scale_factors(asked, RESPONSE, RETRIES)
    assert usual.scales == [1.5]
    assert comes.scales == [1.5, 2.25]
    assert wears.scales == [1.5, 2.25, 3.0]


@pytest.mark.parametrize(("response", "retries"), [(RESPONSE, 0), (RESPONSE._replace(change=None), RETRIES)])
def test_without_retries_or_a_measured_change_nothing_is_asked(response, retries):
    asked = Asked()
    assert scale_factors(asked, response, retries).tolist() == [1.0]
    assert asked.scales == []


def test_a_picture_that_was_to_change_less_is_not_given_more():
    assert retries_of(2, defaults.END_PERCENT, None) == 2
    assert retries_of(2, defaults.END_PERCENT - 0.1, None) == 0
    assert retries_of(2, 1.0, torch.ones(1, 1, 4, 4)) == 0
    assert EditSettings(edit_percent=0.5).slide_options()["retries"] == 0
    assert EditSettings().slide_options()["retries"] == RETRIES


def answered(made: list[int]):
    """Return a sampling of two pictures: the first answers fully, the second three times as much beyond scale 2."""

    def run(scale: float, state: torch.Tensor | None, first: int, last: int) -> torch.Tensor:
        made.append(last - first)
        if state is not None:
            return state
        second = 0.2 * scale if scale <= 2 else 0.6 * scale
        return torch.tensor([scale, second])[:, None]

    return run


def slide(made: list[int], **options):
    return slide_of(answered(made), RESPONSE, steps=10, cut=lambda progress: 8, plain=torch.zeros(2, 1), **options)


def test_every_strength_above_0_of_a_weak_picture_is_multiplied():
    shipped = slide([])
    assert shipped.at(1.0, retries=0).flatten().tolist() == pytest.approx([1.5, 0.3])
    sliding = slide([])
    # At 1.5 times the scale the second picture makes 0.6 * 2.25.
    assert sliding.at(1.0, retries=2).flatten().tolist() == pytest.approx([1.5, 1.35])
    half = RESPONSE.scale_at(0.5)
    assert sliding.at(0.5, retries=2).flatten().tolist() == pytest.approx([half, 0.2 * 1.5 * half])
    assert sliding.at(0.5, retries=2, fade=1.0).flatten().tolist() == pytest.approx([0.75, 0.675])
    assert sliding.at(-0.5, retries=2).flatten().tolist() == pytest.approx([-half, -0.2 * half])
    assert sliding.at(0.0, retries=2).flatten().tolist() == [0.0, 0.0]
    assert sliding.factors[2].tolist() == [1.0, 1.5]


def test_each_number_of_retries_is_found_for_itself():
    both = slide([])
    plain = both.at(1.0, retries=0)
    assert not torch.equal(both.at(1.0, retries=2), plain)
    assert torch.equal(both.at(1.0, retries=0), plain)
    with pytest.raises(EditError, match=r"retries is -1; 0 \(off\) or more is accepted"):
        both.at(1.0, retries=-1)


def test_factors_that_are_known_are_not_found_again():
    first, again = [], []
    found = slide(first)
    found.at(0.5, retries=2)
    # Full, 1.5 times, and the strength of both pictures.
    assert sum(first) == 40
    edited = slide(again, factors=found.factors).at(0.5, retries=2)
    assert sum(again) == 20
    assert torch.equal(edited, found.at(0.5, retries=2))


@pytest.mark.parametrize(("strength", "steps"), [(1.0, 10), (0.5, 20), (0.0, 10), (-1.0, 10)])
def test_what_is_counted_before_is_what_a_picture_with_a_usual_answer_takes(strength, steps):
    options = {"cut": lambda progress: 8, "traced": True, "retries": 2}
    assert sampled_steps(RESPONSE, [strength], 10, **options) == steps


def test_glasses_that_come_only_at_a_larger_scale_are_edited_so_by_the_library(demo):
    s = Session(demo, faces.sample([50_001]), "glasses", steps=8, traced=True)
    schedule = Schedule(s.sigmas, demo.percent_to_sigma)
    glasses = load_attribute(readout_path("glasses"))

    def edited(full: float, change: float | None = None, strength: float = 1.0, **options) -> torch.Tensor:
        attribute = glasses.with_response(Response((full,), (1.0,), change))
        denoise = demo.denoiser(s.model.source, cfg=s.cfg)
        return editor(denoise, s.code, schedule, [(attribute, strength)], trace=s.trace, **options)(1.0)

    # Root mean squares of the change: .04 at scale .2, .07 at .3, .20 at .4, .25 at .45, .26 at .5.
    assert torch.equal(edited(0.3125, 0.28), edited(0.46875))
    assert torch.equal(edited(0.25, 0.3), edited(0.5))
    assert torch.equal(edited(0.25, 0.3, retries=1), edited(0.25))
    assert torch.equal(edited(0.3125, 0.28, retries=0), edited(0.3125))
    assert torch.equal(edited(0.3125, 0.28, until=0.6), edited(0.3125, until=0.6))
    assert torch.equal(edited(0.3125, 0.28, strength=-1.0), edited(0.3125, strength=-1.0))
    # Usual answers, and what no scale brings, stay as they are.
    assert torch.equal(edited(0.46875, 0.28), edited(0.46875))
    assert torch.equal(edited(0.3125, 100.0), edited(0.3125))
