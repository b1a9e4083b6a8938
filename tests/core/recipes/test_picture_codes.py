"""Pairs begin at codes of pictures, and a few pictures make as many codes as are needed."""

from dataclasses import replace

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from hypothesis import given
from hypothesis import strategies as st
from singular_edit.core import EditError, sample_euler
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.latent_svd.pair_notes import LEFT_OUT_SHARE
from singular_edit.core.recipes import latent_svd
from singular_edit.core.recipes.picture_codes import code_batches, picture_codes, rounds
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.core.recipes.svd_pairs import accepted_pairs, pair_evidence
from singular_edit.core.samplers import Run

SIGMAS = karras(12)
SHAPE = (4, 8, 8)
# Three pictures, each of one brightness.
PICTURES = torch.tensor([-0.6, 0.0, 0.6]).view(3, 1, 1, 1).expand(3, *SHAPE)


class Bright(GaussianDenoiser):
    """The source's denoiser, whose pictures are all brighter in a corner."""

    def __call__(self, x, sigma, h_edit=None):
        denoised = super().__call__(x, sigma)
        denoised[..., :4, :4] += 0.6
        return denoised


PROMPTS = PromptDenoisers(GaussianDenoiser(variance=2.0), Bright(variance=2.0))


def codes(count: int, batch: int = 2, seed: int = 0, **options) -> list[torch.Tensor]:
    return list(picture_codes(PROMPTS.source, PICTURES, SIGMAS, count, seed=seed, run=Run(batch, **options)))


def test_a_code_leads_back_to_its_picture_whichever_noise_it_has():
    for i, code in enumerate(torch.cat(codes(7))):
        back = sample_euler(PROMPTS.source, code[None], SIGMAS)
        away = [(back - picture).square().mean() for picture in PICTURES]
        assert min(range(3), key=away.__getitem__) == i % 3


def test_a_picture_has_another_code_in_every_round_and_the_same_for_the_same_seed():
    first, again, other = (torch.cat(codes(7, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    for i, j in ((0, 3), (3, 6), (0, 6)):
        assert (first[i] - first[j]).std() > 0.1
    assert (first - other).std() > 0.1


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 9))
def test_pictures_come_by_turns_until_there_are_enough(pictures, count, batch):
    taken = [i for batches in rounds(pictures, count, batch) for first, last in batches for i in range(first, last)]
    assert taken == [i % pictures for i in range(count)]
    assert all(0 < last - first <= batch for batches in rounds(pictures, count, batch) for first, last in batches)


def test_pictures_that_are_no_latents_are_refused():
    with pytest.raises(EditError, match="latent_image"):
        next(picture_codes(PROMPTS.source, torch.full((1, *SHAPE), float("nan")), SIGMAS, 1))


def test_no_more_codes_are_made_than_pairs_need():
    ticks: list[None] = []
    settings = PairSettings(step=8, branch_steps=(4,), count=2, evidence_noises=0)
    starts = picture_codes(PROMPTS.source, PICTURES, SIGMAS, 24, run=Run(2, on_step=lambda: ticks.append(None)))
    accepted_pairs(PROMPTS, starts, SIGMAS, settings)
    assert len(ticks) == 12


@pytest.mark.parametrize("batch", [2, 4])
def test_an_attribute_of_pictures_takes_the_calls_that_it_says_and_leaves_out_whole_pictures(batch):
    settings = PairSettings(step=8, branch_steps=(2, 4), count=6)
    ticks: list[None] = []
    run = Run(batch, on_step=lambda: ticks.append(None))
    attribute = latent_svd.learn_from_prompts(
        PROMPTS,
        picture_codes(PROMPTS.source, PICTURES, SIGMAS, settings.drawn, run=run),
        SIGMAS,
        settings,
        evidence=pair_evidence(PROMPTS, settings, SIGMAS, SHAPE, 0),
        pictures=3,
        run=run,
    )
    assert float(attribute.info[LEFT_OUT_SHARE]) > 0
    assert "of your pictures" not in attribute.report()
    most = settings.all_calls(12, batch, pictures=3)
    spare = code_batches(3, settings.drawn, batch) - code_batches(3, settings.count, batch)
    assert len(ticks) == most - spare * (12 + settings.calls(12))


def test_of_two_pictures_none_is_left_out():
    settings = PairSettings(step=8, branch_steps=(2, 4), count=6)
    attribute = latent_svd.learn_from_prompts(
        PROMPTS,
        picture_codes(PROMPTS.source, PICTURES[:2], SIGMAS, settings.drawn),
        SIGMAS,
        settings,
        evidence=pair_evidence(PROMPTS, settings, SIGMAS, SHAPE, 0),
        pictures=2,
    )
    assert LEFT_OUT_SHARE not in attribute.info
    assert "all pairs are of 2 of your pictures, too few to leave one out" in attribute.report()
    for stranger in ("", "-1", "two", "\u00b2"):
        assert "of your pictures" not in replace(attribute, info={"pictures": stranger}).report()
