"""Training of a readout: on rows in half precision, until the noises that are held out gain nothing more."""

from dataclasses import replace

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise, relative
from singular_edit.core import Training, learn_readout, record_prediction_changes
from singular_edit.core.samplers import Run
from torch.nn import functional as F

SIGMAS = karras(9)


class Bright(LinearBottleneck):
    """A prompt that brightens every place by how bright it is."""

    def __call__(self, x, sigma, h_edit=None):
        h = F.adaptive_avg_pool2d(x, 2)
        return super().__call__(x, sigma, h_edit) + 0.4 * F.interpolate(h.tanh(), size=x.shape[-2:])


@pytest.fixture(scope="module")
def changes():
    start = float(SIGMAS[0]) * noise((64, 4, 8, 8))
    return record_prediction_changes(
        LinearBottleneck(), Bright(), start, SIGMAS, branch_sigma=float(SIGMAS[2]), end_sigma=0.1, run=Run(batch=16)
    )


def test_half_precision_rows_hardly_change_what_is_learned(changes):
    """What is read of them differs by less than 1 %: rounding is 0.4 % at most, and differs from row to row."""
    training = Training(steps=200, learning_rate=3e-2, batch=32)
    assert changes.h.dtype == changes.change.dtype == torch.bfloat16
    generator = torch.Generator().manual_seed(1)

    def unrounded(rows):
        """Rows that round to these: some number between those that do."""
        return rows.float() * (1 + (torch.rand(rows.shape, generator=generator) - 0.5) / 256)

    exact = replace(changes, h=unrounded(changes.h), change=unrounded(changes.change))
    assert torch.equal(exact.h.to(torch.bfloat16), changes.h)
    reads = [learn_readout(c, training)[0].change(exact.h, changes.sigma, (8, 8)) for c in (changes, exact)]
    assert 0 < relative(*reads) < 0.01


def test_training_ends_when_held_out_noises_gain_nothing_more(changes):
    training = Training(steps=3000, learning_rate=3e-2, batch=32)
    first, losses = learn_readout(changes, training)
    again, same_losses = learn_readout(changes, training)
    assert len(losses) < 0.8 * training.steps
    assert losses == same_losses
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, again.tensors[name])
    # With no noise held out, every training step is made.
    few = changes.noise < 7
    rows = {name: getattr(changes, name)[few] for name in ("h", "change", "sigma", "noise")}
    assert len(learn_readout(replace(changes, **rows), Training(20, 3e-2, 32))[1]) == 20
