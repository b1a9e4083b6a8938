"""Evidence for one prompt rather than another, on prompts whose pictures are known: Gaussians around two colours."""

import math

import pytest
import torch
from helpers.denoisers import GaussianDenoiser
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError
from singular_edit.core.denoiser import PromptDenoisers
from singular_edit.core.prompt_evidence import PromptEvidence

DARK, BRIGHT = GaussianDenoiser(-0.5), GaussianDenoiser(0.5)
SHAPE = (4, 8, 8)
SIGMAS = torch.tensor([8.0, 2.0, 0.7])


def evidence(source=DARK, target=BRIGHT, noises=2, sigmas=SIGMAS):
    return PromptEvidence(PromptDenoisers(source, target), noise((noises, *SHAPE), 3), sigmas)


def grey(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, *SHAPE)


def test_a_picture_fits_the_prompt_whose_pictures_it_is_like():
    dark, between, bright, brighter = evidence().of(grey(-0.5, 0.0, 0.5, 0.7)).tolist()
    assert dark < -0.5
    assert bright > 0.5
    assert abs(between) < 0.1 * bright
    assert brighter > 0.5


@settings(max_examples=25, deadline=None)
@given(value=st.floats(-2, 2), seed=st.integers(0, 99))
def test_what_speaks_for_one_prompt_speaks_against_the_other(value, seed):
    latents = grey(value, -value) + 0.3 * noise((2, *SHAPE), seed)
    forth = evidence().of(latents)
    back = evidence(BRIGHT, DARK).of(latents)
    assert torch.allclose(forth, -back, atol=1e-5)


def test_a_prompt_against_itself_says_nothing():
    assert torch.equal(evidence(BRIGHT, BRIGHT).of(noise((3, *SHAPE))), torch.zeros(3))


@pytest.mark.parametrize("flow", [False, True])
def test_the_value_is_the_mean_logarithm_of_two_errors_of_a_noised_picture(flow):
    source, target = GaussianDenoiser(-0.5, flow=flow), GaussianDenoiser(0.5, flow=flow)
    sigmas = torch.tensor([0.8, 0.4])
    latents = noise((2, *SHAPE), 9)
    noises = noise((2, *SHAPE), 3)
    wanted = torch.zeros(2)
    for sigma in sigmas:
        errors = []
        for prompt in (source, target):
            states = [(1 - sigma if flow else 1) * latents + sigma * n for n in noises]
            errors.append(sum((prompt(x, sigma) - latents).square().sum((1, 2, 3)) for x in states))
        wanted += (errors[0] / errors[1]).log() / 2
    assert torch.allclose(evidence(source, target, sigmas=sigmas).of(latents), wanted, atol=1e-5)


def test_a_level_counts_by_the_ratio_of_its_errors_and_not_by_their_size():
    class Off:
        """A prompt whose error is known: so much in every place, and as much again at high noise."""

        def __init__(self, error):
            self.error = error

        def __call__(self, x, sigma, h_edit=None):
            return torch.full_like(x, self.error * (100.0 if sigma > 1 else 1.0))

    found = evidence(Off(2.0), Off(1.0)).of(grey(0.0))
    assert float(found) == pytest.approx(math.log(4), abs=1e-4)


def test_pictures_of_a_batch_do_not_matter_to_each_other_and_every_call_is_told():
    latents = noise((3, *SHAPE), 5)
    source, target = GaussianDenoiser(-0.5), GaussianDenoiser(0.5)
    asked = evidence(source, target)
    ticks = []
    together = asked.of(latents, lambda: ticks.append(0))
    assert len(ticks) == source.calls + target.calls == asked.calls == 12
    assert torch.allclose(together, torch.cat([asked.of(one[None]) for one in latents]), atol=1e-6)


@pytest.mark.parametrize(("noises", "sigmas"), [(0, SIGMAS), (1, SIGMAS[:0]), (1, torch.tensor([1.0, 0.0]))])
def test_nothing_to_ask_with_is_said(noises, sigmas):
    with pytest.raises(EditError, match=f"asked for with {noises} noises at noise levels"):
        evidence(noises=noises, sigmas=sigmas)
