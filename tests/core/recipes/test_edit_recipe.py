"""Several attributes in one edit: each acts as it acts alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from helpers.tensors import noise, relative
from singular_edit.backends import diffusers, diffusers_transformer
from singular_edit.core import EditError, bind_edit, learn_attribute, sample_euler
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.window import EditWindow
from singular_edit.core.recipes import hspace, latent_svd
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.core.recipes.edit import edit
from singular_edit.core.recipes.latent_svd import LatentSpace, edited_step, step_at_sigma
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.recipes.together import together
from singular_edit.core.samplers import Schedule
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.networks import FLOW_SHIFT, alphas_cumprod

SIGMAS = torch.tensor([10.0, 5.0, 2.0, 1.0, 0.5, 0.0])
SCHEDULE = Schedule(SIGMAS, lambda percent: 10.0 * (1 - percent))
WINDOW = EditWindow(0.4)
H = noise((2, 128, 4, 4), 1)
GLASSES = load_attribute(readout_path("glasses"))
HAT = load_attribute(readout_path("hat"))
BEARD = load_attribute(svd_path("beard"))


def table(seed: int) -> TableDirection:
    return TableDirection(SIGMAS[1:4], {"table": noise((3, 128, 4, 4), seed)}, {"name": str(seed)})


def bound(*weighted):
    direction, strength = together(weighted)
    return bind_edit(direction, strength, SIGMAS, WINDOW)


def change(edit_of_h):
    return edit_of_h.change.read(H, SIGMAS[2], SIGMAS[3], (16, 16))


@pytest.mark.parametrize("strengths", [(1.2, 0.5), (1.2, -0.8), (-1.0, -2.0)])
def test_readouts_add_up_each_at_its_own_strength(strengths):
    weighted = list(zip((GLASSES, HAT), strengths, strict=True))
    alone = [change(bound(one)) for one in weighted]
    assert relative(change(bound(*weighted)), alone[0] + alone[1]) < 1e-5


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.5, -2.5])
def test_a_direction_beside_a_readout_acts_as_alone(strength):
    together = bound((table(2), strength), (HAT, -0.7))
    alone = bound((table(2), strength))
    assert together.effect_scale == alone.effect_scale
    assert relative(together.h_edit(H, SIGMAS[2]), alone.h_edit(H, SIGMAS[2])) < 1e-5
    assert relative(change(together), change(bound((HAT, -0.7)))) < 1e-5


def test_the_largest_strength_of_directions_multiplies_the_effect_of_all():
    together = bound((table(2), 3.0), (table(3), -1.5))
    delta = together.h_edit(H, SIGMAS[2]) - H
    whole = [bound((table(seed), 1.0)).h_edit(H, SIGMAS[2]) - H for seed in (2, 3)]
    assert together.effect_scale == 3.0
    assert relative(delta, whole[0] - 0.5 * whole[1]) < 1e-4


def test_the_recipe_of_each_kind_is_the_recipe_of_both(demo):
    schedule = Schedule(demo.sigmas(8), demo.percent_to_sigma)
    denoise = demo.denoiser("a face", cfg=1.5)
    x = noise((1, 4, 16, 16), 4) * (1 + schedule.sigmas[0] ** 2) ** 0.5
    plain = sample_euler(denoise, x, schedule.sigmas)
    assert torch.equal(edit(denoise, x, schedule, []), plain)
    assert torch.equal(edit(denoise, x, schedule, [(HAT, 0.0), (BEARD, 0.0)]), plain)
    by_readout = hspace.edit(denoise, x, schedule, HAT, EditSettings(1.2))
    assert torch.equal(edit(denoise, x, schedule, [(HAT, 1.2)]), by_readout)
    step = edited_step(BEARD, schedule)
    by_svd = latent_svd.edit(denoise, x, schedule.sigmas, BEARD, strength=0.8, step=step)
    assert torch.equal(edit(denoise, x, schedule, [(BEARD, 0.8)]), by_svd)
    seen = []
    both = edit(denoise, x, schedule, [(HAT, 1.2), (BEARD, 0.8)], callback=lambda i, *_: seen.append(i))
    assert seen == list(range(8))
    assert relative(both - plain, (by_readout - plain) + (by_svd - plain)) < 0.8
    assert min(relative(both, one) for one in (by_readout, by_svd, plain)) > 0.02


def test_an_attribute_lives_where_its_scale_does_not_matter(demo):
    """A space that differs by a factor edits alike; one that is shifted does not."""
    schedule = Schedule(demo.sigmas(8), demo.percent_to_sigma)
    denoise = demo.denoiser("a face", cfg=1.5)
    x = noise((1, 4, 16, 16), 4) * (1 + schedule.sigmas[0] ** 2) ** 0.5
    spaces = (LatentSpace(), LatentSpace(scale=0.2), LatentSpace(shift=2.0))
    one, scaled, shifted = (edit(denoise, x, schedule, [(BEARD, 0.8)], space=space) for space in spaces)
    assert relative(scaled, one) < 1e-4
    assert relative(shifted, one) > 1e-3


@pytest.mark.parametrize("space", [LatentSpace(), LatentSpace(1.5, 0.06), LatentSpace(0.36, 0.12, flow=True)])
def test_a_space_goes_there_and_back(space):
    x = noise((1, 4, 8, 8), 0)
    assert relative(space.to_model(space.to_latent(x, 0.7), 0.7), x) < 1e-6


def test_pure_noise_of_a_flow_has_no_latent():
    with pytest.raises(EditError, match="at sigma 1, where"):
        LatentSpace(flow=True).to_latent(noise(), 1.0)


def test_the_step_of_a_level():
    assert [step_at_sigma(SIGMAS, sigma) for sigma in (100.0, 14.0, 9.0, 1.9, 0.01)] == [None, 0, 0, 2, 4]


SCHEDULES = {
    "eps": lambda steps: Schedule(
        diffusers.normal_sigmas(alphas_cumprod(), steps), partial(diffusers.percent_to_sigma, alphas_cumprod())
    ),
    "flow": lambda steps: Schedule(
        diffusers_transformer.normal_sigmas(FLOW_SHIFT, steps),
        partial(diffusers_transformer.percent_to_sigma, FLOW_SHIFT),
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_what_replaces_what_it_covers_is_applied_a_little_before_the_step_it_was_learned_at(kind):
    learned_on = SCHEDULES[kind](25)
    covers = learn_attribute(noise((8, 4, 8, 8), 1), noise((8, 4, 8, 8), 2), sigma=float(learned_on.sigmas[17]))
    adds = replace(covers, cover=None)
    for steps, added_at, covered_at in ((10, 6, 6), (25, 17, 16), (50, 35, 33)):
        schedule = SCHEDULES[kind](steps)
        assert (edited_step(adds, schedule), edited_step(covers, schedule)) == (added_at, covered_at)
    # A first step after pure noise stays the one that it is.
    first = replace(covers, sigma=float(learned_on.sigmas[1]))
    assert edited_step(first, learned_on) == 1


@pytest.mark.parametrize("kind", SCHEDULES)
def test_the_progress_of_a_noise_level_is_where_it_is_reached(kind):
    schedule = SCHEDULES[kind](25)
    for percent in (0.02, 0.3, 0.68, 0.97):
        assert schedule.percent_at(schedule.sigma_at(percent)) == pytest.approx(percent, abs=2e-3)
