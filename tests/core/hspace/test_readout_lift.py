"""The lift of a readout's weak answers."""

import pytest
import torch
from helpers.denoisers import Bright, karras
from helpers.tensors import noise
from singular_edit.core import (
    PredictionChanges,
    Training,
    combine_directions,
    learn_readout,
    load_hdirection,
    record_prediction_changes,
)
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.saliency import peak
from singular_edit.core.samplers import Run

SIGMAS = karras(9)


@pytest.fixture(scope="module")
def learned():
    """What was recorded, and the readout that was learned of it."""
    drawn = float(SIGMAS[0]) * noise((64, 4, 8, 8), 0)
    changes = record_prediction_changes(
        Bright(), Bright(0.4), drawn, SIGMAS, branch_sigma=float(SIGMAS[2]), end_sigma=0.1, run=Run(batch=16)
    )
    return changes, learn_readout(changes, Training(steps=200, learning_rate=0.03, batch=32))[0]


def echo():
    """A readout that reads h itself, at any of two noise levels."""
    readout = Readout.fresh(4, 4, 1, 1.0, SIGMAS[2:4], generator=torch.Generator().manual_seed(0), info={})
    readout.change = lambda h, sigma, size: h
    return readout


def lifting(readout, usual):
    lifted = readout.with_peak(torch.tensor(usual))
    lifted.change = readout.change
    return lifted


def test_what_is_weaker_than_usual_is_lifted_to_the_usual_size_and_what_is_next_to_nothing_stays():
    readout = echo()
    h = torch.zeros(3, 4, 16, 16)
    for row, size in zip(h, (1.0, 0.7, 0.1), strict=True):
        row[:, 4:12, 4:12] = size
    plain = readout.read(h, SIGMAS[2], (16, 16))
    usual = float(peak(plain)[0])
    read = lifting(readout, [usual, 2 * usual]).read(h, SIGMAS[2], (16, 16))
    assert torch.equal(read[0], plain[0])
    assert torch.allclose(read[1], plain[1] / 0.7, atol=1e-6)
    assert torch.allclose(read[2], 1.04 * plain[2], atol=1e-6)
    later = lifting(readout, [usual, 2 * usual]).read(h, SIGMAS[3], (16, 16))
    assert torch.allclose(later[0], 2 * plain[0], atol=1e-6)
    weak = lifting(readout, [usual / 2, usual / 2]).read(-h, SIGMAS[2], (16, 16))
    assert torch.equal(weak[:2], -plain[:2])
    mixed = lifting(readout, [usual, 2 * usual]).read(h, SIGMAS[[2, 2, 3]], (16, 16))
    assert torch.allclose(mixed, torch.cat([read[:2], later[2:]]), atol=1e-6)


def test_how_large_a_change_is_does_not_depend_on_how_much_of_the_picture_it_takes():
    small, large = torch.zeros(2, 1, 4, 32, 32)
    small[..., 10:16, 10:16] = 0.5
    large[..., 4:28, 4:28] = 0.5
    assert peak(small) == pytest.approx(0.5)
    assert peak(large) == pytest.approx(0.5)


def test_the_usual_size_is_the_mean_over_what_it_was_learned_from(learned):
    changes, readout = learned
    bare = readout.with_peak(None)
    for i in (0, len(changes.sigmas) - 1):
        h = changes.h[changes.sigma == changes.sigmas[i]]
        assert readout.tensors["peak"][i] == pytest.approx(float(peak(bare.read(h, SIGMAS[3], (8, 8))).mean()), rel=0.2)
    scaled = readout.scaled(3.0)
    x = torch.randn(2, 4, 2, 2)
    assert torch.allclose(scaled.read(x, SIGMAS[3], (8, 8)), 3 * readout.read(x, SIGMAS[3], (8, 8)), atol=1e-5)


def test_steps_that_few_noises_left_out_take_the_mean_of_the_others(learned):
    changes = learned[0]
    kept = changes.sigma != changes.sigmas[1]
    few = PredictionChanges(
        changes.sigmas, *(rows[kept] for rows in (changes.h, changes.change, changes.sigma, changes.noise))
    )
    usual = learn_readout(few, Training(steps=20, learning_rate=0.03, batch=8))[0].tensors["peak"]
    others = torch.cat([usual[:1], usual[2:]])
    assert usual[1] == pytest.approx(float(others.mean()))
    assert (others > 0).all()


def test_a_file_without_a_usual_size_lifts_nothing_alone_and_in_a_sum(learned, tmp_path):
    readout = learned[1]
    bare = readout.with_peak(None)
    bare.save(tmp_path / "old.safetensors")
    old = load_hdirection(tmp_path / "old.safetensors")
    assert "peak" not in old.tensors
    combine_directions([(1.0, readout), (1.0, old)]).save(tmp_path / "sum.safetensors")
    lifts, lacks = load_hdirection(tmp_path / "sum.safetensors").members
    assert torch.equal(lifts.tensors["peak"], readout.tensors["peak"])
    assert "peak" not in lacks.tensors
    h = 0.01 * torch.randn(2, 4, 2, 2)
    plain = old.read(h, SIGMAS[3], (8, 8))
    assert torch.equal(lacks.read(h, SIGMAS[3], (8, 8)), plain)
    assert (peak(lifts.read(h, SIGMAS[3], (8, 8))) > 1.01 * peak(plain)).all()
