"""One recipe learns SVD attributes from two prompts and edits with them."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, karras
from helpers.tensors import noise, relative
from singular_edit.core import EditError, apply_attribute, learn_attribute, sample_euler, sample_prompt_pair
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.recipes import latent_svd
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


def test_refused_pairs_are_replaced_by_others():
    asked = []

    def every_second(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        asked.append(len(source))
        return torch.arange(len(source)) % 2 == 1

    sources, targets = latent_svd.accepted_pairs(PROMPTS, start(), SIGMAS, SETTINGS, accept=every_second, run=Run(3))
    everyone, _ = latent_svd.accepted_pairs(PROMPTS, start(), SIGMAS, PairSettings(8, (2, 4), count=12), run=Run(3))
    assert sources.shape == targets.shape == (4, 4, 12, 12)
    assert torch.allclose(sources, everyone[[1, 4, 7, 10]], atol=1e-5)
    assert asked == [3, 3, 3, 3]


def test_no_pair_at_all_is_said():
    def nobody(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(source), dtype=torch.bool)

    with pytest.raises(EditError, match="None of 12 pairs shows the attribute"):
        latent_svd.learn_from_prompts(PROMPTS, start(), SIGMAS, SETTINGS, accept=nobody)


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
