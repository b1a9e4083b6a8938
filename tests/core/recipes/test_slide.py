"""What a strength means where a picture can be sampled more than once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import EditError, bind_edit, sample_asyrp, sample_euler
from singular_edit.core.hspace.window import EditWindow
from singular_edit.core.recipes import hspace, latent_svd
from singular_edit.core.recipes.attributes import guidance_factor, load_attribute, with_scale
from singular_edit.core.recipes.defaults import EDIT_GUIDANCE
from singular_edit.core.recipes.draws import Draws
from singular_edit.core.recipes.edit import edit, editor
from singular_edit.core.recipes.latent_svd import edited_step
from singular_edit.core.recipes.sampled_steps import sampled_steps
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.recipes.slide import Parts, Slide
from singular_edit.core.response import WHOLE, Response
from singular_edit.core.samplers import Schedule
from singular_edit.demo import faces
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.session import Session

RESPONSE = Response((1.0, 1.5), (0.4, 0.9))
PLAIN = torch.zeros(2, 1, 2, 2)
# The first picture has room for the attribute, the second one wears it.
ADDED = torch.stack([torch.full((1, 2, 2), 4.0), torch.full((1, 2, 2), 0.5)])
TAKEN = torch.stack([torch.full((1, 2, 2), -0.5), torch.full((1, 2, 2), -4.0)])


class Counted:
    """Results at three scales, counted."""

    def __init__(self) -> None:
        self.scales: list[float] = []

    def __call__(self, scale: float) -> torch.Tensor:
        self.scales.append(scale)
        return {0.0: PLAIN, 1.5: ADDED, -1.5: TAKEN}[scale]


def first_and_second(x: torch.Tensor) -> list[float]:
    return x.flatten(1).mean(1).tolist()


def scaled(scale: float) -> torch.Tensor:
    """Results that a scale moves as far as it says, between those of Counted."""
    return scale / 1.5 * ADDED if scale > 0 else -scale / 1.5 * TAKEN


def test_a_strength_samples_where_pictures_come_so_far_in_the_mean():
    slide = Slide(scaled, RESPONSE)
    assert torch.equal(slide.at(1.0), ADDED)
    # Half of the progress .9 lies between the scales 1 and 1.5, which make .4 and .9.
    assert first_and_second(slide.at(0.5)) == pytest.approx([1.05 / 1.5 * 4, 1.05 / 1.5 * 0.5])
    assert first_and_second(slide.at(-0.5)) == pytest.approx([1.05 / 1.5 * -0.5, 1.05 / 1.5 * -4])


def test_an_absolute_strength_does_not_give_an_attribute_twice():
    slide = Slide(scaled, RESPONSE)
    assert first_and_second(slide.at(1.0, absolute=True)) == [4.0, 0.0]
    assert first_and_second(slide.at(0.0, absolute=True)) == [0.0, -4.0]
    assert first_and_second(slide.at(0.5, absolute=True)) == pytest.approx([1.05 / 1.5 * 4, 1.05 / 1.5 * -4])


def test_fading_mixes_finished_results():
    slide = Slide(Counted(), RESPONSE)
    assert slide.at(0.0, fade=1.0) is PLAIN
    assert slide.at(1.0, fade=1.0) is ADDED
    assert first_and_second(slide.at(0.25, fade=1.0)) == [1.0, 0.125]
    assert first_and_second(slide.at(2.0, fade=1.0)) == [8.0, 1.0]
    assert first_and_second(slide.at(0.5, absolute=True, fade=1.0)) == [2.0, -2.0]


def test_fading_below_zero_a_picture_that_wears_it_loses_it_and_another_goes_on():
    assert first_and_second(Slide(Counted(), RESPONSE).at(-0.5, fade=1.0)) == [-2.0, -2.0]


def finished(mixture: torch.Tensor, progress: float = 0.8, scale: float = 0.0) -> torch.Tensor:
    """A model that removes the beginning of what it adds to the first picture, and soon completes the second one."""
    first, second = mixture.sign() * mixture.abs() ** 3, 1 - (1 - mixture) ** 3
    return torch.stack([4 * first[0], 0.5 * second[1]])


def state(scale: float, progress: float = 0.8) -> torch.Tensor:
    return torch.full_like(PLAIN, scale / RESPONSE.full)


def test_fading_on_the_way_gives_each_picture_the_share_of_its_way():
    slide = Slide(lambda scale: finished(state(scale)), RESPONSE, Parts(state, finished))
    for share in (0.2, 0.5, 0.9):
        assert first_and_second(slide.at(share, fade=0.8)) == pytest.approx([4 * share, 0.5 * share], rel=0.03)
    assert torch.equal(slide.at(1.0, fade=0.8), finished(state(1.5)))
    assert torch.equal(slide.at(0.0, fade=0.8), finished(state(0.0)))
    # Beyond 1 the mixture goes on along its line.
    assert torch.equal(slide.at(2.0, fade=0.8), finished(state(3.0)))


def test_fading_on_the_way_a_picture_that_wears_it_loses_it():
    slide = Slide(lambda scale: finished(state(scale)), RESPONSE, Parts(state, finished))
    # At -1.5 the second picture, which changes by 3.5 there and by .5 at 1.5, has lost it; the first goes on.
    first, second = first_and_second(slide.at(-0.5, fade=0.8))
    assert first == pytest.approx(-0.5)
    assert second == pytest.approx(-1.75, rel=0.03)
    assert first_and_second(slide.at(0.5, absolute=True, fade=0.8))[1] == pytest.approx(-1.75, rel=0.03)


@pytest.mark.parametrize("fade", [-0.1, 1.1, float("nan")])
def test_a_place_outside_of_sampling_is_refused(fade):
    with pytest.raises(EditError, match=r"fade is .*; a number from 0 to 1 is accepted"):
        Slide(scaled, RESPONSE).at(0.5, fade=fade)


@pytest.mark.parametrize("fade", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("strengths", [[0.0], [1.0], [0.0, 1.0], [0.3, 0.7], [2.0], [-1.0, 0.5], [1.0, -0.1]])
def test_what_is_sampled_is_told_before_and_sampled_once(strengths, absolute, fade):
    made = []
    parts = Parts(
        lambda scale, progress: made.append(20) or scaled(scale),
        lambda mixture, progress, scale: made.append(5) or mixture,
    )
    slide = Slide(lambda scale: made.append(25) or scaled(scale), RESPONSE, parts)
    for strength in strengths:
        slide.at(strength, absolute=absolute, fade=fade)
    options = {"cut": lambda progress: 20, "absolute": absolute, "fade": fade}
    assert sum(made) == sampled_steps(RESPONSE, strengths, 25, **options)


def test_without_a_response_a_strength_is_the_scale():
    seen = []
    slide = Slide(lambda scale: seen.append(scale) or PLAIN, None)
    for strength in (0.3, -1.0, 2.0):
        slide.at(strength, absolute=True)
    assert seen == [0.3, -1.0, 2.0]
    assert sampled_steps(None, [0.3, -1.0, 0.3], 25, cut=int) == 50
    assert sampled_steps(None, [0.3, 0.0], 25, cut=int, known={0.0}) == 25


def test_every_sampling_meets_the_same_noise():
    generator = torch.Generator().manual_seed(0)
    draws = Draws(lambda x: torch.randn(x.shape, generator=generator))
    later = draws.again(skipped=1)(PLAIN)
    runs = [[draw(PLAIN) for _ in range(3)] for draw in (draws.again(), draws.again())]
    assert torch.equal(later, runs[0][1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])


def test_an_edit_with_a_response_is_sampled_at_its_scale_and_one_without_is_as_before(demo):
    schedule = Schedule(demo.sigmas(6), demo.percent_to_sigma)
    denoise = demo.denoiser("a face", cfg=1.5)
    x = noise((1, 4, 16, 16), 4) * (1 + schedule.sigmas[0] ** 2) ** 0.5
    old = with_scale(load_attribute(readout_path("hat")))
    new = old.with_response(RESPONSE)
    window = EditWindow(schedule.sigma_at(EditSettings().edit_percent), edit_from=old.start)

    def by_hand(scale: float) -> torch.Tensor:
        return sample_asyrp(denoise, x, schedule.sigmas, bind_edit(old, scale, schedule.sigmas, window), window)

    plain = sample_euler(denoise, x, schedule.sigmas)
    assert torch.equal(hspace.edit(denoise, x, schedule, old, EditSettings(0.7)), by_hand(0.7))
    edited = editor(denoise, x, schedule, [(new, 1.0)])
    assert torch.equal(edited(0.0), plain)
    assert torch.equal(edited(1.0), by_hand(1.5))
    assert torch.allclose(edited(0.5), by_hand(RESPONSE.scale_at(0.5)), atol=1e-5)
    assert torch.allclose(edited(0.5), hspace.edit(denoise, x, schedule, new, EditSettings(0.5)), atol=1e-5)
    fading = editor(denoise, x, schedule, [(new, 1.0)], fade=1.0)
    assert torch.allclose(fading(0.5), plain + 0.5 * (by_hand(1.5) - plain), atol=1e-5)
    # Mixed on the way, twice as far as the edit leads.
    cut = schedule.step_at(0.6)
    first, later = schedule.sigmas[: cut + 1], schedule.sigmas[cut:]
    without = sample_euler(denoise, x, first)
    edited_state = sample_asyrp(denoise, x, first, bind_edit(old, 1.5, first, window), window)
    mixed = sample_euler(denoise, without + 2 * (edited_state - without), later)
    steps = []
    options = {"fade": 0.6, "callback": lambda i, *_: steps.append(i)}
    assert torch.allclose(editor(denoise, x, schedule, [(new, 1.0)], **options)(2.0), mixed, atol=1e-5)
    assert steps == [*range(cut), *range(cut), *range(cut, 6)]
    assert torch.allclose(hspace.edit(denoise, x, schedule, new, EditSettings(2.0, fade=0.6)), mixed, atol=1e-5)


def test_the_evaluation_makes_the_change_that_the_library_makes(demo):
    new = with_scale(load_attribute(readout_path("hat"))).with_response(RESPONSE)
    s = Session(demo, faces.sample([50_001]), "hat", cfg=5.0, steps=6, traced=True)
    schedule = Schedule(s.sigmas, demo.percent_to_sigma)
    latents = editor(demo.denoiser("a face", cfg=5.0), s.code, schedule, [(new, 1.0)], trace=s.trace)(1.0)
    assert torch.allclose(edits.asyrp(s, new, EditSettings(1.0)), demo.decode(latents).clamp(0, 1), atol=1e-4)


def test_an_svd_attribute_with_a_response_is_sampled_at_its_scale(demo):
    schedule = Schedule(demo.sigmas(6), demo.percent_to_sigma)
    denoise = demo.denoiser("a face", cfg=1.5)
    x = noise((1, 4, 16, 16), 4) * (1 + schedule.sigmas[0] ** 2) ** 0.5
    old = with_scale(load_attribute(svd_path("hat")))
    new = replace(old, response=WHOLE)
    plain = sample_euler(denoise, x, schedule.sigmas)
    whole = edit(denoise, x, schedule, [(old, 1.0)])
    assert torch.equal(edit(denoise, x, schedule, [(new, 1.0)]), whole)
    assert torch.equal(edit(denoise, x, schedule, [(new, 0.5)], fade=1.0), plain + 0.5 * (whole - plain))
    half = edit(denoise, x, schedule, [(new, 0.5)])
    # An edit that comes later than runs are to be mixed is made before.
    assert not torch.allclose(edit(denoise, x, schedule, [(new, 0.5)], fade=0.2), plain, atol=1e-3)
    assert torch.allclose(half, edit(denoise, x, schedule, [(old, 0.5)]), atol=1e-5)
    step = edited_step(old, schedule)
    assert torch.allclose(latent_svd.edit(denoise, x, schedule.sigmas, new, strength=0.5, step=step), half, atol=1e-5)


def test_a_readout_with_a_response_makes_the_same_change_at_every_guidance():
    old = with_scale(load_attribute(readout_path("hat")))
    assert guidance_factor(old, 5.0) == 1
    assert guidance_factor(old.with_response(RESPONSE), 5.0) * 5.0 == pytest.approx(EDIT_GUIDANCE)
    assert guidance_factor(old.with_response(RESPONSE), 0.0) == 1
    assert guidance_factor(replace(load_attribute(svd_path("hat")), response=WHOLE), 5.0) == 1
