"""An attribute is tried on pairs that it was not learned from."""

from dataclasses import replace

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise
from singular_edit.core import learn_attribute
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.latent_svd.pair_notes import COMMON_SHARE, LEFT_OUT_SHARE, OTHER_WAYS
from singular_edit.core.recipes import latent_svd, left_out
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.core.recipes.svd_pairs import Pairs, pair_evidence
from singular_edit.core.samplers import Run

COUNT = 18
SHAPE = (4, 16, 16)


def blocks(*places: tuple[int, int]) -> torch.Tensor:
    """A bright block at a place of each code."""
    z = torch.zeros(len(places), *SHAPE)
    for code, (row, column) in zip(z, places, strict=True):
        code[:, row : row + 4, column : column + 4] = 3.0
    return z


def share_of(
    added: torch.Tensor, shown: torch.Tensor | None = None, origin: torch.Tensor | None = None
) -> float | None:
    """left_out_share of pairs to which this is added; an edit gains twice its progress, 1 at most."""
    source = noise((len(added), *SHAPE), 2)
    learned_from = []

    def learn(x, z):
        learned_from.append(len(x))
        return learn_attribute(x, z)

    def gained(edited):
        progress = ((edited - source) * added).sum((1, 2, 3)) / added.square().sum((1, 2, 3))
        return (2 * progress).clamp(max=1)

    shown = torch.ones(len(added), dtype=torch.bool) if shown is None else shown
    evidence = torch.stack([torch.zeros(len(added)), torch.ones(len(added))])
    origin = torch.arange(len(added)) if origin is None else origin
    share = left_out.left_out_share(Pairs(source, source + added, shown, evidence, origin), learn, gained)
    parts = min(left_out.PARTS, len(origin.unique()))
    assert learned_from == [len(added) - len(added) // parts] * len(learned_from)
    return share


def test_of_codes_of_a_few_pictures_a_picture_is_left_out_whole():
    """What lies elsewhere in each picture comes where the same picture was learned from, and not where it was not."""
    picture = torch.arange(24) % 4
    places = blocks((0, 0), (0, 0), (8, 8), (8, 8))[picture]
    assert share_of(places) == 1
    assert share_of(places, origin=picture) < 0.5


def test_what_lies_alike_in_all_comes_and_what_lies_elsewhere_in_each_does_not():
    assert share_of(blocks(*[(4, 8)] * COUNT)) == 1
    assert share_of(blocks(*((4 * (i // 4) % 16, 4 * (i % 4)) for i in range(COUNT)))) < 0.2


def test_of_two_kinds_the_rarer_does_not_come():
    rare = [i % 6 == 1 for i in range(COUNT)]
    assert share_of(blocks(*((12, 0) if one else (4, 8) for one in rare))) == pytest.approx(1 - sum(rare) / COUNT)


def test_pairs_that_do_not_show_the_attribute_do_not_count():
    shown = torch.arange(COUNT) % 6 != 1
    places = [(4, 8) if one else (12, 0) for one in shown]
    assert share_of(blocks(*places), shown) == 1
    assert share_of(blocks(*places), torch.zeros_like(shown)) is None


def test_two_pairs_are_too_few():
    assert share_of(blocks((4, 8), (4, 8))) is None


class Bright(GaussianDenoiser):
    """A prompt whose pictures are bright in a corner."""

    def __call__(self, x, sigma, h_edit=None):
        denoised = super().__call__(x, sigma).clone()
        denoised[:, :, :6, :6] += 0.8
        return denoised


@pytest.mark.parametrize("batch", [4, 5])
def test_learning_from_prompts_keeps_it_and_takes_the_calls_that_it_says(batch):
    prompts = PromptDenoisers(GaussianDenoiser(), Bright())
    sigmas, settings = karras(12), PairSettings(step=8, branch_steps=(2, 4), count=6)
    ticks: list[None] = []
    attribute = latent_svd.learn_from_prompts(
        prompts,
        14 * noise((6, *SHAPE)),
        sigmas,
        settings,
        evidence=pair_evidence(prompts, settings, sigmas, SHAPE, 0),
        run=Run(batch, on_step=lambda: ticks.append(None)),
    )
    share = float(attribute.info[LEFT_OUT_SHARE])
    assert 0 < share <= 1
    assert f"it comes in {share:.0%} of them" in attribute.report()
    twice_as_many = settings.calls(12) * (-(-12 // batch) - -(-6 // batch))
    assert len(ticks) == settings.all_calls(12, batch) - twice_as_many


@pytest.mark.parametrize(("share", "enough"), [("0.40", False), ("0.79", False), ("0.80", True), ("1.00", True)])
def test_where_it_comes_in_few_the_report_names_other_ways(share, enough):
    attribute = learn_attribute(noise((3, *SHAPE)), noise((3, *SHAPE), 1))
    told = replace(attribute, info={LEFT_OUT_SHARE: share, COMMON_SHARE: "0.01"}).report()
    assert f"it comes in {float(share):.0%} of them" in told
    assert (OTHER_WAYS not in told) is enough
    assert told.count(OTHER_WAYS) <= 1
    for stranger in ("nan", "7", "often"):
        assert "comes in" not in replace(attribute, info={LEFT_OUT_SHARE: stranger}).report()
