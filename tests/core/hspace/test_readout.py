"""Readouts: the change of the picture predicted from h, where it is known what there is to read."""

import pytest
import torch
from helpers.denoisers import Bright, GaussianDenoiser, karras
from helpers.tensors import noise as gaussian
from helpers.tensors import relative
from singular_edit.core import (
    EditError,
    EditWindow,
    RandomDirection,
    Training,
    calibrate,
    combine_directions,
    euler_step,
    learn_readout,
    load_hdirection,
    mean_direction,
    record_prediction_changes,
    sample_asyrp,
    sample_endpoints,
    sample_euler,
)
from singular_edit.core.denoiser import read_bottleneck
from singular_edit.core.hspace.calibration import READOUT_UNIT
from singular_edit.core.hspace.direction import DeltaDirection, TableDirection
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.hspace.readout_change import READOUT_REMOVAL_SCALE, ReadoutChange
from singular_edit.core.hspace.strength import BoundEdit, bind_edit
from singular_edit.core.samplers import Run
from torch.nn import functional as F

SIGMAS = karras(9)
SHIFT = 0.4


def noise(count=32, size=(8, 8), seed=0):
    return float(SIGMAS[0]) * gaussian((count, 4, *size), seed)


@pytest.fixture(scope="module")
def learned():
    source = Bright()
    target = Bright(SHIFT)
    changes = record_prediction_changes(
        source, target, noise(64), SIGMAS, branch_sigma=float(SIGMAS[2]), end_sigma=0.1, run=Run(batch=16)
    )
    readout, losses = learn_readout(changes, Training(steps=400, learning_rate=0.03, batch=32))
    return source, target, changes, readout, losses


def test_recording_looks_at_every_step_of_the_window_and_no_other(learned):
    changes = learned[2]
    inside = [s for s in SIGMAS.tolist() if 0.1 < s <= float(SIGMAS[2])]
    assert torch.allclose(changes.sigmas, torch.tensor(inside))
    assert set(changes.sigma.tolist()) == set(changes.sigmas.tolist())
    assert changes.h.shape[1:] == (4, 2, 2)
    assert changes.change.shape[1:] == (4, 8, 8)
    wanted = SHIFT * F.interpolate(changes.h.float().tanh(), size=(8, 8))
    assert torch.allclose(changes.change.float(), wanted, atol=4e-3)


def test_a_readout_predicts_the_change_on_noises_it_has_not_seen(learned):
    source, target, _, readout, losses = learned
    assert losses[0] == pytest.approx(1, abs=0.2)
    assert losses[-1] < 0.2
    x = sample_euler(source, noise(seed=5), SIGMAS[:4])
    sigma = SIGMAS[3]
    denoised, h = read_bottleneck(source, x, sigma)
    assert torch.equal(denoised, source(x, sigma))
    change = target(x, sigma) - denoised
    assert relative(readout.change(h, sigma, (8, 8)), change) < 0.5


class ExactChange:
    """What Bright(SHIFT) adds to D, in place of what a readout has learned of it."""

    def added_to(self, denoised, h, sigma, sigma_next, guidance):
        return guidance * SHIFT * F.interpolate(h.tanh(), size=denoised.shape[-2:])


def test_strength_one_is_the_stock_step_under_the_target_prompt(learned):
    """One step inside the window, with the exact change: the step's fraction of it makes it the target's own step."""
    source, target = learned[:2]
    x = noise(4)
    edit = BoundEdit(change=ExactChange())
    got = sample_asyrp(source, x, SIGMAS[:2], edit)
    assert torch.allclose(got, euler_step(x, target(x, SIGMAS[0]), *SIGMAS[:2]), atol=1e-4)
    guided = Bright()
    guided.guidance = 3.0
    stock = sample_euler(source, x, SIGMAS[:2])
    more = sample_asyrp(guided, x, SIGMAS[:2], edit)
    assert torch.allclose(more - stock, 3 * (got - stock), atol=1e-3)


def test_a_step_in_which_the_start_lies_is_edited_from_there_on(learned):
    source, _, _, readout, _ = learned
    x = noise(4)
    start = float(SIGMAS[0] + 2 * SIGMAS[1]) / 3
    window = EditWindow(edit_from=start)
    edit = bind_edit(readout, 1.0, SIGMAS, window)
    denoised, h = read_bottleneck(source, x, SIGMAS[0])
    begun = min(start, readout.start)  # the direction's own start holds as well
    fraction = max(1 - float(SIGMAS[1]) / begun, 0)
    stock = euler_step(x, denoised, *SIGMAS[:2])
    by_hand = stock + fraction * readout.read(h, torch.tensor(begun), (8, 8))
    assert torch.allclose(sample_asyrp(source, x, SIGMAS[:2], edit, window), by_hand, atol=1e-5)
    later = sample_asyrp(source, x, SIGMAS[:2], edit, EditWindow(edit_from=1.00001 * float(SIGMAS[1])))
    assert torch.equal(later, sample_euler(source, x, SIGMAS[:2]))


def test_a_window_says_which_fraction_of_a_step_is_edited():
    window = EditWindow(edit_from=float(SIGMAS[0] + 2 * SIGMAS[1]) / 3)
    fractions = [window.edited_fraction(SIGMAS[i], SIGMAS[i + 1]) for i in range(3)]
    assert 0 < fractions[0] < 1
    assert fractions[1:] == [1.0, 1.0]
    assert EditWindow(edit_until=1e9).edited_fraction(SIGMAS[0], SIGMAS[1]) == 0


def test_what_hardly_changes_is_left_out_of_a_reading():
    """A readout reads much at one place and a tenth of it, an error, elsewhere: the place stays, the error goes."""
    generator = torch.Generator().manual_seed(0)
    readout = Readout.fresh(4, 4, 1, 1.0, SIGMAS[:-1], generator=generator, info={})

    def change(h, sigma, size):
        return h

    readout.change = change
    h = torch.full((2, 4, 16, 16), 0.1)
    h[..., 5:10, 5:10] = 1.0
    read = readout.read(h, SIGMAS[3], (16, 16))
    assert (read[..., 6:9, 6:9] > 0.85).all()
    assert (read <= h).all()
    assert (read >= 0).all()
    assert (read[..., 12:, 12:] < 0.015).all()
    assert (read[..., 12:, 12:] > 0).all()
    assert torch.allclose(readout.read(-3 * h, SIGMAS[3], (16, 16)), -3 * read, atol=1e-5)
    one = torch.cat([h[:1], torch.zeros_like(h[:1])])
    assert torch.allclose(readout.read(one, SIGMAS[3], (16, 16))[:1], read[:1])
    assert torch.isfinite(readout.read(one, SIGMAS[3], (16, 16))).all()


@pytest.mark.parametrize("steps", [6, 9, 24])
def test_the_edit_reaches_the_targets_picture_at_any_number_of_steps(learned, steps):
    source, target, _, readout, _ = learned
    sigmas = karras(steps)
    x = noise(16, seed=3)
    window = EditWindow(edit_from=readout.start)
    endpoints = sample_endpoints(source, target, noise(16, seed=4), SIGMAS, branch_sigma=readout.start)
    unit = calibrate(source, readout, endpoints, window).direction
    readout = unit.scaled(1 / READOUT_UNIT.times)
    first = int((sigmas > readout.start * 1.0001).sum())
    branched = sample_euler(source, x, sigmas[: first + 1])
    plain = sample_euler(source, x, sigmas)
    way = sample_euler(target, branched, sigmas[first:]) - plain

    def moved(edit):
        return sample_asyrp(source, x, sigmas, edit, window) - plain

    edit = bind_edit(readout, 1.0, sigmas, window)
    assert edit.h_edit is None
    progress = float((moved(edit) * way).sum() / way.square().sum())
    assert 0.65 < progress < 1.0
    removed = moved(bind_edit(readout, -1.0, sigmas, window))
    halved = ReadoutChange.of(readout, -1.0, window)
    assert halved.terms[0][0] == -READOUT_REMOVAL_SCALE
    assert torch.equal(removed, moved(BoundEdit(change=halved)))
    # Taken away by its weight in a sum, it is taken away by as much.
    in_sum = combine_directions([(-1.0, readout)])
    assert torch.equal(removed, moved(bind_edit(in_sum, 1.0, sigmas, window)))
    assert float((removed * way).sum()) < -0.1 * float(way.square().sum())


def test_strength_zero_is_euler_and_outside_of_the_window_nothing_happens(learned):
    source, _, _, readout, _ = learned
    x = noise(4)
    assert bind_edit(readout, 0.0, SIGMAS, EditWindow()) == BoundEdit(None, 1.0, None)
    edit = bind_edit(readout, 1.0, SIGMAS, EditWindow())
    stock = sample_euler(source, x, SIGMAS)
    assert torch.equal(sample_asyrp(source, x, SIGMAS, edit, EditWindow(edit_until=1e9)), stock)
    mask = torch.zeros(1, 1, 8, 8)
    assert torch.equal(sample_asyrp(source, x, SIGMAS, edit, mask=mask), stock)
    assert not torch.allclose(sample_asyrp(source, x, SIGMAS, edit), stock)


def test_calibration_measures_a_readouts_unit(learned):
    source, target, _, readout, _ = learned
    endpoints = sample_endpoints(source, target, noise(8, seed=7), SIGMAS, branch_sigma=float(SIGMAS[2]))
    measured = calibrate(source, readout.scaled(0.5), endpoints, EditWindow(edit_from=readout.start))
    assert measured.progress == pytest.approx(0.8, abs=0.03)
    assert 2.4 < measured.scale / READOUT_UNIT.times < 6
    wanted = 0.5 * measured.scale * readout.tensors["out.weight"]
    assert torch.allclose(measured.direction.tensors["out.weight"], wanted)


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (7, 9)])
def test_it_fits_other_sizes(learned, size):
    readout = learned[3]
    h = torch.randn(2, 4, -(-size[0] // 4), -(-size[1] // 4))
    assert readout.change(h, SIGMAS[3], size).shape == (2, 4, *size)


def test_it_sums_with_directions_and_the_sum_can_be_saved(learned, tmp_path):
    source, _, _, readout, _ = learned
    x = noise(2)
    added = TableDirection(SIGMAS[:-1], {"table": torch.full((1, 4, 1, 1), 0.3)})
    combine_directions([(1.0, readout), (2.0, added)]).save(tmp_path / "sum.safetensors")
    total = load_hdirection(tmp_path / "sum.safetensors")

    def moved(edit):
        return sample_asyrp(source, x, SIGMAS[:2], edit) - sample_euler(source, x, SIGMAS[:2])

    edit = bind_edit(total, 0.5, SIGMAS, EditWindow())
    of_h = moved(BoundEdit(h_edit=edit.h_edit))
    of_prediction = moved(BoundEdit(change=edit.change))
    assert torch.allclose(moved(BoundEdit(h_edit=edit.h_edit, change=edit.change)), of_h + of_prediction, atol=1e-4)
    single = moved(bind_edit(readout, 1.0, SIGMAS, EditWindow()))
    assert torch.allclose(of_prediction, 0.5 * single, atol=1e-4)


def test_a_file_gives_the_same_readout_back(learned, tmp_path):
    readout = learned[3]
    readout.save(tmp_path / "a.safetensors")
    again = load_hdirection(tmp_path / "a.safetensors")
    assert isinstance(again, Readout)
    assert again.info == readout.info
    assert torch.equal(again.sigmas, readout.sigmas)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in readout.tensors.items())


def test_same_seed_same_readout(learned):
    def weights(seed):
        training = Training(steps=5, learning_rate=3e-2, batch=64, seed=seed)
        return learn_readout(learned[2], training)[0].tensors["out.weight"]

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


class Areas(GaussianDenoiser):
    """A prompt that divides the picture: its areas' bottlenecks come one by one, and differ in size."""

    def __call__(self, x, sigma, h_edit=None):
        moved = 0
        if h_edit is not None:
            for part in (x[..., :4, :4], x[..., 4:]):
                moved = moved + (h_edit(part) - part).mean()
        return super().__call__(x, sigma) + moved


def test_areas_are_refused_by_readouts_alone(learned):
    """What is added to h needs no whole picture."""
    edited = sample_asyrp(Areas(), noise(2), SIGMAS, BoundEdit(h_edit=lambda h, sigma: h + 1))
    assert not torch.allclose(edited, sample_euler(Areas(), noise(2), SIGMAS))
    readout = bind_edit(learned[3], 1.0, SIGMAS, EditWindow())
    with pytest.raises(EditError, match="has the size of a part"):
        sample_asyrp(Areas(), noise(2), SIGMAS, readout)


def test_a_readout_has_no_dh(learned):
    source, _, _, readout, _ = learned
    assert not isinstance(readout, DeltaDirection)
    assert not hasattr(readout, "delta")
    with pytest.raises(EditError, match="is a readout"):
        RandomDirection.like(readout, 0)
    with pytest.raises(EditError, match="is a readout"):
        mean_direction(source, readout, noise(2), SIGMAS)


def test_bad_input_gets_a_sentence(learned):
    source, _, _, readout, _ = learned
    with pytest.raises(EditError, match="bottleneck of 4 channels but this model has 8"):
        readout.change(torch.randn(1, 8, 2, 2), SIGMAS[0], (8, 8))
    with pytest.raises(EditError, match="widen the window"):
        record_prediction_changes(source, source, noise(2), SIGMAS, branch_sigma=0.5, end_sigma=0.5)
    same = record_prediction_changes(source, source, noise(2), SIGMAS)
    with pytest.raises(EditError, match="the two prompts differ"):
        learn_readout(same, Training(steps=2, learning_rate=3e-2, batch=64))
