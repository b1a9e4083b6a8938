"""Pairs of codes: how late their prompts may part, on a model where it is known until when the attribute can come."""

import pytest
import torch
from helpers.denoisers import karras
from singular_edit.core import EditError, sample_euler, sample_prompt_pair
from singular_edit.core.latent_svd.prompt_pairs import MIN_CHANGE_RATIO

SIGMAS = karras(12)
STEP = 9
BRANCH_STEPS = (2, 4, 6, 8)
UNTIL = (1, 4, 7)  # the last step at which a picture still takes the attribute


class Prompt:
    """Predicts one picture; with ``rises``, brighter by that in a corner, and for each picture of the batch at noise above its own sigma only."""

    def __init__(self, rise=0.0, until=UNTIL):
        self.rise, self.calls = torch.zeros(4, 8, 8), 0
        self.rise[:, :3, :3] = rise
        self.least = SIGMAS[list(until)] * 0.999

    def __call__(self, x, sigma, h_edit=None):
        self.calls += 1
        open_ = (sigma >= self.least[: len(x)]).to(x).view(-1, 1, 1, 1)
        return torch.full_like(x, 0.3) + open_ * self.rise


def noise(count=3):
    return float(SIGMAS[0]) * torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def by_hand(part, i, x):
    """Picture i of x, its target code with the prompts parted at one step."""
    prompt = Prompt(2.0, UNTIL[i : i + 1])
    shared = sample_euler(Prompt(), x[i : i + 1], SIGMAS[: part + 1])
    return sample_euler(prompt, shared, SIGMAS[part : STEP + 1])


def change(part, until):
    """How much of the rise arrives at STEP: between consecutive steps what was there shrinks by sigma'/sigma and the rest is filled up."""
    made = 0.0
    for i in range(part, STEP):
        share = float(1 - SIGMAS[i + 1] / SIGMAS[i])
        made = made * (1 - share) + share * (i <= until)
    return made


def test_each_picture_parts_as_late_as_its_attribute_allows():
    x = noise()
    before = x.clone()
    pair = sample_prompt_pair(Prompt(), Prompt(2.0), x, SIGMAS, STEP, BRANCH_STEPS)
    wanted = [
        max(part for part in BRANCH_STEPS if change(part, until) >= MIN_CHANGE_RATIO * change(BRANCH_STEPS[0], until))
        for until in UNTIL
    ]
    # The first picture's time has passed at every parting, so that nothing tells them apart and the latest is as good as any.
    assert pair.parted.tolist() == wanted
    assert len(set(wanted[1:])) == 2
    assert torch.equal(x, before)
    assert torch.allclose(pair.source, sample_euler(Prompt(), x, SIGMAS[: STEP + 1]))
    for i, part in enumerate(wanted):
        assert torch.allclose(pair.target[i : i + 1], by_hand(part, i, x), atol=1e-5)
        assert float((pair.target - pair.source)[i, :, :3, :3].mean()) == pytest.approx(
            2.0 * change(part, UNTIL[i]), abs=1e-4
        )


@pytest.mark.parametrize("enough, expected", [(0.0, 8), (1.0, 2)])
def test_nothing_asked_for_takes_the_latest_and_all_the_earliest(enough, expected):
    pair = sample_prompt_pair(Prompt(), Prompt(2.0), noise(), SIGMAS, STEP, BRANCH_STEPS[::-1], enough=enough)
    assert pair.parted.tolist()[1:] == [expected] * 2


def test_one_parting_is_taken_as_it_is_and_neighbours_do_not_matter():
    x = noise()
    fixed = sample_prompt_pair(Prompt(), Prompt(2.0), x, SIGMAS, STEP, [8])
    assert fixed.parted.tolist() == [8] * 3
    assert torch.allclose(fixed.target[1:2], by_hand(8, 1, x), atol=1e-5)
    whole, alone = (
        sample_prompt_pair(Prompt(), Prompt(2.0, UNTIL[:n]), x[:n], SIGMAS, STEP, BRANCH_STEPS) for n in (3, 1)
    )
    assert torch.allclose(whole.target[:1], alone.target)
    assert whole.parted[0] == alone.parted[0]


def test_the_target_may_go_on_and_every_call_is_told():
    x, ticks, source, target = noise(), [], Prompt(), Prompt(2.0)
    pair = sample_prompt_pair(source, target, x, SIGMAS, STEP, BRANCH_STEPS, delta=2, callback=lambda: ticks.append(0))
    here = sample_prompt_pair(Prompt(), Prompt(2.0), x, SIGMAS, STEP, BRANCH_STEPS)
    assert torch.equal(pair.source, here.source)
    assert torch.equal(pair.parted, here.parted)
    assert torch.allclose(pair.target, sample_euler(Prompt(2.0), here.target, SIGMAS[STEP : STEP + 3]))
    assert len(ticks) == source.calls + target.calls == STEP + sum(STEP - part for part in BRANCH_STEPS) + 2


@pytest.mark.parametrize(
    "step, partings, delta, said",
    [
        (13, (2,), 0, "at step 13 .* has 12 steps"),
        (0, (2,), 0, "at step 0"),
        (9, (2,), 4, "target 13"),
        (9, (), 0, "no step"),
        (9, (4, 9), 0, "4, 9; steps from 0 to 8"),
        (9, (-1,), 0, "-1"),
    ],
)
def test_steps_that_are_not_there_are_named(step, partings, delta, said):
    with pytest.raises(EditError, match=said):
        sample_prompt_pair(Prompt(), Prompt(2.0), noise(), SIGMAS, step, partings, delta)
