"""One recipe learns SVD attributes from two prompts and edits with them."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise, relative
from hypothesis import given
from hypothesis import strategies as st
from singular_edit.core import apply_attribute, learn_attribute, sample_euler, sample_prompt_pair
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.prompt_evidence import PromptEvidence
from singular_edit.core.recipes import latent_svd, svd_pairs
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.core.samplers import Run

SIGMAS = karras(12)
SETTINGS = PairSettings(step=8, branch_steps=(2, 4), count=4)
BUMP = torch.outer(torch.hann_window(12), torch.hann_window(12))


class Bumped(GaussianDenoiser):
    """The source's denoiser, whose pictures all have a bump in the middle."""

    def __call__(self, x, sigma, h_edit=None):
        return super().__call__(x, sigma) + 0.5 * BUMP


PROMPTS = PromptDenoisers(GaussianDenoiser(), Bumped())


def start(count: int = 12) -> torch.Tensor:
    return 14 * noise((count, 4, 12, 12))


def test_it_is_a_pair_learned_from():
    attribute = latent_svd.learn_from_prompts(PROMPTS, start(), SIGMAS, SETTINGS, info={"name": "bump"}, run=Run(4))
    pair = sample_prompt_pair(*PROMPTS[:2], start()[:4], SIGMAS, 8, branch_steps=(2, 4))
    by_hand = learn_attribute(pair.source, pair.target)
    assert torch.allclose(attribute.edit.s, by_hand.edit.s, rtol=1e-4, atol=1e-5)
    assert attribute.name == "bump"
    assert attribute.sigma == pytest.approx(float(SIGMAS[8]))


class InTurn:
    """Evidence by the place of a picture among all that are asked about: sources -1, targets so much above as told."""

    calls = 1
    of_code = PromptEvidence.of_code

    def __init__(self, *gains: float):
        self.gains = list(gains)
        self.asked: list[int] = []

    def of(self, latents: torch.Tensor, on_step=None) -> torch.Tensor:
        turn, kind = divmod(len(self.asked), 3)  # the source, and the targets of both branch steps
        self.asked.append(len(latents))
        gains = torch.tensor(self.gains[3 * turn : 3 * turn + len(latents)])
        return -torch.ones(len(latents)) + (gains if kind and len(gains) else 0)


def everyone() -> svd_pairs.Pairs:
    settings = PairSettings(8, (4,), count=12)
    return svd_pairs.accepted_pairs(PROMPTS, start(), SIGMAS, settings, run=Run(3))


def test_pairs_in_which_the_attribute_does_not_come_are_replaced_by_others():
    evidence = InTurn(*(0.9 if i % 2 else 0.1 for i in range(12)))
    pairs = svd_pairs.accepted_pairs(PROMPTS, start(), SIGMAS, SETTINGS, evidence=evidence, run=Run(3))
    assert pairs.source.shape == pairs.target.shape == (4, 4, 12, 12)
    assert torch.allclose(pairs.source, everyone().source[[1, 3, 5, 7]], atol=1e-5)
    assert torch.allclose(pairs.target, everyone().target[[1, 3, 5, 7]], atol=1e-5)
    assert pairs.shown.tolist() == [True] * 4
    assert evidence.asked == [3] * 9, "the last three noises are not needed"


def test_where_it_comes_in_too_few_those_that_come_nearest_fill_up_and_the_report_says_so():
    gains = [0.05, 1.0, 0.11, 0.02, 0.03, 0.12, 1.1, 0.9, 1.2, -0.1, 0.08, 0.07]
    settings = PairSettings(8, (2, 4), count=6)
    pairs = svd_pairs.accepted_pairs(PROMPTS, start(), SIGMAS, settings, evidence=InTurn(*gains), run=Run(3))
    assert torch.allclose(pairs.source, everyone().source[[1, 6, 7, 8, 5, 2]], atol=1e-5)
    assert pairs.shown.tolist() == [True] * 4 + [False] * 2
    few, all_of_them = (
        latent_svd.learn_from_prompts(PROMPTS, start(), SIGMAS, settings, evidence=InTurn(*values), run=Run(3))
        for values in (gains, [1.0] * 12)
    )
    assert "comes in 67% of its pairs only" in few.report()
    assert "of its pairs only" not in all_of_them.report()


@given(st.lists(st.floats(0.5, 2), min_size=3, max_size=30), st.lists(st.floats(-1, 0.1), max_size=8))
def test_enough_is_measured_by_those_that_gain_most(much, little):
    gains = torch.tensor([*much, *little[: len(much) // 3]])
    wanted = torch.arange(len(gains)) < len(much)
    assert torch.equal(svd_pairs.changed_enough(gains), wanted)
    assert torch.equal(svd_pairs.changed_enough(1e-3 * gains), wanted)


def test_where_nothing_is_gained_nothing_is_enough():
    assert not svd_pairs.changed_enough(torch.tensor([-0.1, 0.0, -2.0])).any()


def test_the_noises_of_the_evidence_are_not_those_that_pairs_start_from():
    evidence = svd_pairs.pair_evidence(PROMPTS, PairSettings(), SIGMAS[:1].expand(26), (4, 12, 12), seed=3)
    assert evidence is not None
    assert evidence.noise.shape == (2, 4, 12, 12)
    assert not torch.allclose(evidence.noise, noise((2, 4, 12, 12), 3))
    assert svd_pairs.pair_evidence(PROMPTS, PairSettings(evidence_noises=0), SIGMAS, (4, 12, 12), seed=3) is None


def test_an_edit_is_two_halves_of_a_sampler_with_the_attribute_between():
    attribute = latent_svd.learn_from_prompts(PROMPTS, start(), SIGMAS, SETTINGS)
    x = 14 * noise((2, 4, 12, 12), seed=5)
    edited = latent_svd.edit(PROMPTS.source, x, SIGMAS, attribute, step=8)
    code = sample_euler(PROMPTS.source, x, SIGMAS[:9])
    by_hand = sample_euler(PROMPTS.source, apply_attribute(code, attribute, 1.0), SIGMAS[8:])
    from_the_middle = latent_svd.edit(PROMPTS.source, code, SIGMAS, attribute, step=8, start_step=8)
    assert torch.equal(edited, by_hand)
    assert torch.equal(from_the_middle, by_hand)
    untouched = latent_svd.edit(PROMPTS.source, x, SIGMAS, attribute, strength=0.0, step=8)
    assert torch.equal(untouched, sample_euler(PROMPTS.source, x, SIGMAS))
    assert relative(edited, untouched) > 1e-3
