"""Training ends early where what is held out gains nothing more, and keeps what was best there."""

import torch
from singular_edit.core.fitting import EarlyStop, Training, fit


def learn(steps: int = 400, stop: bool = True, **options):
    """Fit x to 1 by noisy gradients; what is held out says how far x is from ``optimum``."""
    optimum = options.pop("optimum", 1.0)
    tensors = {"x": torch.zeros(4)}
    generator = torch.Generator().manual_seed(0)
    looks = []

    def loss(step):
        return (tensors["x"] - 1 - 0.1 * torch.randn(4, generator=generator)).square().mean()

    def held_out():
        looks.append(float((tensors["x"] - optimum).square().mean()))
        return looks[-1]

    early = EarlyStop(held_out, every=10, patience=3) if stop else None
    losses = fit(tensors, loss, Training(steps, learning_rate=0.5), stop=early, **options)
    return tensors["x"], losses, looks


def test_it_ends_early_and_the_same_way_each_time():
    x, losses, _ = learn()
    again, same, _ = learn()
    assert len(losses) < 400
    assert len(losses) % 10 == 0
    assert losses == same
    assert torch.equal(x, again)
    assert not x.requires_grad


def test_what_was_best_on_the_held_out_part_is_kept():
    x, _, looks = learn(optimum=0.5)
    assert float((x - 0.5).square().mean()) == min(looks)
    assert looks[-1] > min(looks)
    assert len(looks) == looks.index(min(looks)) + 1 + 3


def test_the_last_step_is_looked_at():
    _, losses, looks = learn(steps=15)
    assert len(losses) == 15
    assert len(looks) == 2


def test_without_a_stop_every_step_is_made():
    x, losses, looks = learn(stop=False)
    assert len(losses) == 400
    assert not looks
    assert torch.allclose(x, torch.ones(4), atol=0.1)


def test_weight_decay_pulls_towards_zero():
    plain = learn(stop=False)[0]
    decayed = learn(stop=False, weight_decay=1.0)[0]
    assert decayed.abs().mean() < 0.98 * plain.abs().mean()
