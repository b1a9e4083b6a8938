"""Pairs of codes: how late their prompts may branch, on a model where it is known until when the attribute can come."""

import pytest
import torch
from helpers.denoisers import karras
from helpers.tensors import noise
from singular_edit.core import EditError, sample_euler, sample_prompt_pair
from singular_edit.core.latent_svd.prompt_pairs import MIN_CHANGE_RATIO, pair_calls
from singular_edit.core.prompt_evidence import PromptEvidence

SIGMAS = karras(12)
STEP = 9
BRANCH_STEPS = (2, 4, 6, 8)
# The last step at which a picture still takes the attribute. The first picture's time has passed at every branch step.
LAST_STEPS = (1, 4, 7)
RISE = 2.0


class Prompt:
    """Predicts one picture: grey, or brighter in a corner while a picture still takes the attribute."""

    def __init__(self, rise=0.0, last_steps=LAST_STEPS):
        self.rise = torch.zeros(4, 8, 8)
        self.rise[:, :3, :3] = rise
        self.last_sigmas = SIGMAS[list(last_steps)] * 0.999
        self.calls = 0

    def __call__(self, x, sigma, h_edit=None):
        self.calls += 1
        takes_it = (sigma >= self.last_sigmas[: len(x)]).to(x).view(-1, 1, 1, 1)
        return torch.full_like(x, 0.3) + takes_it * self.rise


def starting_noise(count=3):
    return float(SIGMAS[0]) * noise((count, 4, 8, 8), 2)


def brightened(**options):
    """Pairs from the starting noise, as sample_prompt_pair makes them."""
    return sample_prompt_pair(Prompt(), Prompt(RISE), starting_noise(), SIGMAS, STEP, **options)


def target_code_by_hand(branch_step, i, x):
    """Picture i of x, its target code with the prompts branched at one step."""
    prompt = Prompt(RISE, LAST_STEPS[i : i + 1])
    shared = sample_euler(Prompt(), x[i : i + 1], SIGMAS[: branch_step + 1])
    return sample_euler(prompt, shared, SIGMAS[branch_step : STEP + 1])


def change(branch_step, last_step):
    """Which share of the rise arrives at STEP.

    Between consecutive steps what was there shrinks by sigma'/sigma, and the rest is filled up.
    """
    made = 0.0
    for i in range(branch_step, STEP):
        share = float(1 - SIGMAS[i + 1] / SIGMAS[i])
        made = made * (1 - share) + share * (i <= last_step)
    return made


def latest_by_hand(last_step):
    enough = MIN_CHANGE_RATIO * change(BRANCH_STEPS[0], last_step)
    return max(step for step in BRANCH_STEPS if change(step, last_step) >= enough)


def test_each_picture_branches_as_late_as_its_attribute_allows():
    x = starting_noise()
    before = x.clone()
    pair = sample_prompt_pair(Prompt(), Prompt(RISE), x, SIGMAS, STEP, branch_steps=BRANCH_STEPS)
    wanted = [latest_by_hand(last_step) for last_step in LAST_STEPS]
    assert pair.branch_step.tolist() == wanted
    assert len(set(wanted[1:])) == 2
    assert torch.equal(x, before)
    assert torch.allclose(pair.source, sample_euler(Prompt(), x, SIGMAS[: STEP + 1]))
    for i, branch_step in enumerate(wanted):
        assert torch.allclose(pair.target[i : i + 1], target_code_by_hand(branch_step, i, x), atol=1e-5)
        rise = float((pair.target - pair.source)[i, :, :3, :3].mean())
        assert rise == pytest.approx(RISE * change(branch_step, LAST_STEPS[i]), abs=1e-4)


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 8), (1.0, 2)])
def test_no_change_asked_for_takes_the_latest_and_all_of_it_the_earliest(ratio, expected):
    pair = brightened(branch_steps=BRANCH_STEPS[::-1], min_change_ratio=ratio)
    assert pair.branch_step.tolist()[1:] == [expected] * 2


def test_a_single_branch_step_is_taken_as_it_is():
    x = starting_noise()
    pair = sample_prompt_pair(Prompt(), Prompt(RISE), x, SIGMAS, STEP, branch_steps=[8])
    assert pair.branch_step.tolist() == [8] * 3
    assert torch.allclose(pair.target[1:2], target_code_by_hand(8, 1, x), atol=1e-5)


def test_pictures_of_a_batch_do_not_matter_to_each_other():
    x = starting_noise()
    together = sample_prompt_pair(Prompt(), Prompt(RISE), x, SIGMAS, STEP, branch_steps=BRANCH_STEPS)
    first = Prompt(RISE, LAST_STEPS[:1])
    single = sample_prompt_pair(Prompt(), first, x[:1], SIGMAS, STEP, branch_steps=BRANCH_STEPS)
    assert torch.allclose(together.target[:1], single.target)
    assert together.branch_step[0] == single.branch_step[0]


def test_the_target_may_go_on_and_every_call_is_told():
    x = starting_noise()
    ticks = []
    source = Prompt()
    target = Prompt(RISE)

    def on_step():
        ticks.append(0)

    pair = sample_prompt_pair(source, target, x, SIGMAS, STEP, branch_steps=BRANCH_STEPS, delta=2, on_step=on_step)
    here = sample_prompt_pair(Prompt(), Prompt(RISE), x, SIGMAS, STEP, branch_steps=BRANCH_STEPS)
    assert torch.equal(pair.source, here.source)
    assert torch.equal(pair.branch_step, here.branch_step)
    assert torch.allclose(pair.target, sample_euler(Prompt(RISE), here.target, SIGMAS[STEP : STEP + 3]))
    assert len(ticks) == source.calls + target.calls
    assert len(ticks) == STEP + sum(STEP - branch_step for branch_step in BRANCH_STEPS) + 2


class Corner:
    """Evidence that is how bright a picture's corner is; ``calls`` as many as it tells."""

    calls = 3
    of_code = PromptEvidence.of_code

    def __init__(self, sign=1.0):
        self.sign = sign

    def of(self, latents, on_step=None):
        for _ in range(self.calls if on_step else 0):
            on_step()
        return self.sign * latents[:, :, :3, :3].mean((1, 2, 3))


def test_with_evidence_each_picture_branches_at_the_latest_step_that_shows_enough_of_it():
    class Remembers(Prompt):
        """The source prompt keeps what is there, so that a picture shows what its code has."""

        def __call__(self, x, sigma, h_edit=None):
            super().__call__(x, sigma)
            return x.clone()

    x = starting_noise()
    ticks = []
    source, target = Remembers(), Prompt(RISE)
    pair = sample_prompt_pair(
        source,
        target,
        x,
        SIGMAS,
        STEP,
        branch_steps=BRANCH_STEPS,
        evidence=Corner(),
        min_evidence_share=0.5,
        on_step=lambda: ticks.append(0),
    )
    for i, branch_step in enumerate(pair.branch_step.tolist()):
        added = []
        for tried in BRANCH_STEPS:
            code = sample_euler(Prompt(RISE, LAST_STEPS[i : i + 1]), x[i : i + 1], SIGMAS[tried : STEP + 1])
            added.append(float((code - x[i : i + 1])[..., :3, :3].mean()))
        enough = [tried for tried, value in zip(BRANCH_STEPS, added, strict=True) if value >= 0.5 * added[0] > 0]
        assert branch_step == max(enough, default=BRANCH_STEPS[0])
    assert len(ticks) == source.calls + target.calls + Corner.calls * (len(BRANCH_STEPS) + 1)
    assert len(ticks) == pair_calls(STEP, BRANCH_STEPS, evidence_calls=Corner.calls)


def test_where_the_earliest_branch_shows_nothing_it_is_taken():
    pair = brightened(branch_steps=BRANCH_STEPS, evidence=Corner(sign=-1.0))
    assert pair.branch_step.tolist() == [BRANCH_STEPS[0]] * 3


class Scripted:
    """Evidence that was written down: of the source, then of each branch step in order."""

    calls = 0

    def __init__(self, *added):
        self.answers = iter([torch.full((3,), 0.5), *(torch.full((3,), 0.5 + one) for one in added)])

    def of_code(self, code, sigma, denoise, on_step=None):
        return next(self.answers)


@pytest.mark.parametrize(
    ("added", "taken"),
    [
        ((1.0, 0.9, 0.8, 0.1), 2),
        # The first may change more than the attribute, and add less evidence.
        ((0.1, 0.4, 2.0, 0.2), 2),
        # What lies beyond a step without the attribute is chance.
        ((1.0, 1.0, 0.5, 0.9), 1),
        ((1.0, 1.3, 1.2, 1.0), 3),
        ((-1.0, -0.1, -2.0, 0.0), 0),
    ],
)
def test_later_steps_are_taken_one_after_the_other_from_that_of_most_evidence(added, taken):
    pair = brightened(branch_steps=BRANCH_STEPS[:4], evidence=Scripted(*added), min_evidence_share=0.7)
    assert pair.branch_step.tolist() == [BRANCH_STEPS[taken]] * 3


@pytest.mark.parametrize(
    ("step", "branch_steps", "delta", "said"),
    [
        (13, (2,), 0, "at step 13 .* has 12 steps"),
        (0, (2,), 0, "at step 0"),
        (9, (2,), 4, "target 13"),
        (9, (), 0, "no step"),
        (9, (4, 9), 0, "4, 9; steps from 0 to 8"),
        (9, (-1,), 0, "-1"),
    ],
)
def test_steps_that_are_not_there_are_named(step, branch_steps, delta, said):
    x = starting_noise()
    with pytest.raises(EditError, match=said):
        sample_prompt_pair(Prompt(), Prompt(RISE), x, SIGMAS, step, branch_steps=branch_steps, delta=delta)
