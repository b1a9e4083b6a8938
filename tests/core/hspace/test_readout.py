"""Readouts: the change of the picture predicted from h, where it is known what there is to read."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck, karras
from singular_edit.core import (
    EditError,
    EditWindow,
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
from singular_edit.core.hspace.calibration import READ_UNIT
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.hspace.strength import READOUT_REMOVAL_SCALE, bind_edit, prediction_change

SIGMAS = karras(9)
SHIFT = 0.4


class Bright(LinearBottleneck):
    """A prompt that adds to every place in proportion to how bright it is: the change, gain*rise*h, can be read off h."""

    def __init__(self, rise: float = 0.0, **arguments):
        super().__init__(**arguments)
        self.rise = rise

    def __call__(self, x, sigma, h_edit=None):
        h = torch.nn.functional.adaptive_avg_pool2d(x, 2)
        return super().__call__(x, sigma, h_edit) + self.rise * torch.nn.functional.interpolate(
            h.tanh(), size=x.shape[-2:]
        )


def noise(count=32, size=(8, 8), seed=0):
    return float(SIGMAS[0]) * torch.randn(count, 4, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def learned():
    source, target = Bright(), Bright(SHIFT)
    changes = record_prediction_changes(source, target, noise(64), SIGMAS, onset=float(SIGMAS[2]), end=0.1, batch=16)
    return source, target, changes, *learn_readout(changes, 400, batch=32, learning_rate=0.03)


def test_recording_looks_at_every_step_of_the_window_and_no_other(learned):
    changes = learned[2]
    inside = [s for s in SIGMAS.tolist() if 0.1 < s <= float(SIGMAS[2])]
    assert torch.allclose(changes.sigmas, torch.tensor(inside))
    assert set(changes.sigma.tolist()) == set(changes.sigmas.tolist())
    assert changes.h.shape[1:] == (4, 2, 2)
    assert changes.change.shape[1:] == (4, 8, 8)
    wanted = SHIFT * torch.nn.functional.interpolate(changes.h.tanh(), size=(8, 8))
    assert torch.allclose(changes.change, wanted, atol=1e-5)


def test_a_readout_predicts_the_change_on_noises_it_has_not_seen(learned):
    source, target, _, readout, losses = learned
    assert losses[0] == pytest.approx(1, abs=0.2)
    assert losses[-1] < 0.2
    x, sigma = sample_euler(source, noise(seed=5), SIGMAS[:4]), SIGMAS[3]
    denoised, h = read_bottleneck(source, x, sigma)
    assert torch.equal(denoised, source(x, sigma))
    change = target(x, sigma) - denoised
    assert ((readout.change(h, sigma, (8, 8)) - change).norm() / change.norm()).item() < 0.5


def test_strength_one_is_the_stock_step_under_the_target_prompt(learned):
    """One step inside the window, with the exact change in place of the learned one: Asyrp's share makes it the target's own step."""
    source, target = learned[:2]
    x, window = noise(4), EditWindow()
    exact = lambda h, sigma, sigma_next, size: SHIFT * torch.nn.functional.interpolate(h.tanh(), size=size)
    got = sample_asyrp(source, x, SIGMAS[:2], None, window, reading=exact)
    assert torch.allclose(got, euler_step(x, target(x, SIGMAS[0]), *SIGMAS[:2]), atol=1e-4)
    guided = Bright()
    guided.guidance = 3.0
    more = sample_asyrp(guided, x, SIGMAS[:2], None, window, reading=exact) - sample_euler(source, x, SIGMAS[:2])
    assert torch.allclose(more, 3 * (got - sample_euler(source, x, SIGMAS[:2])), atol=1e-3)


def test_a_step_in_which_the_start_lies_is_edited_from_there_on(learned):
    source, _, _, readout, _ = learned
    x, start = noise(4), float(SIGMAS[0] + 2 * SIGMAS[1]) / 3
    window = EditWindow(edit_from=start)
    reading = bind_edit(readout, 1.0, SIGMAS, window).reading
    denoised, h = read_bottleneck(source, x, SIGMAS[0])
    begun = min(start, readout.start)  # the direction's own start holds as well
    by_hand = euler_step(x, denoised, *SIGMAS[:2]) + max(1 - float(SIGMAS[1]) / begun, 0) * readout.read(
        h, torch.tensor(begun), (8, 8)
    )
    assert torch.allclose(sample_asyrp(source, x, SIGMAS[:2], None, window, reading=reading), by_hand, atol=1e-5)
    later = sample_asyrp(source, x, SIGMAS[:2], None, EditWindow(edit_from=1.00001 * float(SIGMAS[1])), reading=reading)
    assert torch.equal(later, sample_euler(source, x, SIGMAS[:2]))
    shares = [window.share(*SIGMAS[i : i + 2]) for i in range(3)]
    assert 0 < shares[0] < 1
    assert shares[1:] == [1.0, 1.0]
    assert EditWindow(edit_until=1e9).share(*SIGMAS[:2]) == 0


def test_what_hardly_changes_is_left_out_of_a_reading():
    """A readout that reads much at one place and a tenth of it, an error, everywhere else: the place stays, the error goes."""
    readout = Readout.fresh(4, 4, 1, 1.0, SIGMAS[:-1], torch.Generator().manual_seed(0), {})
    readout.change = lambda h, sigma, size: h
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
    sigmas, x = karras(steps), noise(16, seed=3)
    window = EditWindow(edit_from=readout.start)
    ends = sample_endpoints(source, target, noise(16, seed=4), SIGMAS, readout.start)
    readout = calibrate(source, readout, ends, window)[0].scaled(1 / READ_UNIT.times)
    edit, amount, reading = bind_edit(readout, 1.0, sigmas, window)
    assert edit is None
    first = int((sigmas > readout.start * 1.0001).sum())
    parted = sample_euler(source, x, sigmas[: first + 1])
    plain, wanted = sample_euler(source, x, sigmas), sample_euler(target, parted, sigmas[first:])
    moved, way = sample_asyrp(source, x, sigmas, edit, window, amount=amount, reading=reading) - plain, wanted - plain
    assert 0.65 < float((moved * way).sum() / way.square().sum()) < 1.0
    undone = (
        sample_asyrp(source, x, sigmas, None, window, reading=bind_edit(readout, -1.0, sigmas, window).reading) - plain
    )
    halved = (
        sample_asyrp(
            source, x, sigmas, None, window, reading=prediction_change(readout, -READOUT_REMOVAL_SCALE, window)
        )
        - plain
    )
    assert torch.equal(undone, halved)
    assert float((undone * way).sum()) < -0.1 * float(way.square().sum())


def test_strength_zero_is_euler_and_outside_of_the_window_nothing_happens(learned):
    source, _, _, readout, _ = learned
    x = noise(4)
    assert bind_edit(readout, 0.0, SIGMAS, EditWindow()) == (None, 1.0, None)
    reading = bind_edit(readout, 1.0, SIGMAS, EditWindow()).reading
    stock = sample_euler(source, x, SIGMAS)
    assert torch.equal(sample_asyrp(source, x, SIGMAS, None, EditWindow(edit_until=1e9), reading=reading), stock)
    mask = torch.zeros(1, 1, 8, 8)
    assert torch.equal(sample_asyrp(source, x, SIGMAS, None, EditWindow(), reading=reading, mask=mask), stock)
    assert not torch.allclose(sample_asyrp(source, x, SIGMAS, None, EditWindow(), reading=reading), stock)


def test_calibration_measures_a_readouts_unit(learned):
    source, target, _, readout, _ = learned
    ends = sample_endpoints(source, target, noise(8, seed=7), SIGMAS, float(SIGMAS[2]))
    unit, factor, made = calibrate(source, readout.scaled(0.5), ends, EditWindow(edit_from=readout.start))
    assert made == pytest.approx(0.8, abs=0.03)
    assert 2.4 < factor / READ_UNIT.times < 6
    assert torch.allclose(unit.tensors["out.weight"], 0.5 * factor * readout.tensors["out.weight"])


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (7, 9)])
def test_it_fits_other_sizes_and_sums_with_directions(learned, size, tmp_path):
    from singular_edit.core.hspace.direction import TableDirection

    source, _, _, readout, _ = learned
    x, h = noise(2, size), torch.randn(2, 4, -(-size[0] // 4), -(-size[1] // 4))
    assert readout.change(h, SIGMAS[3], size).shape == x.shape
    added = TableDirection(SIGMAS[:-1], {"table": torch.full((1, 4, 1, 1), 0.3)})
    total = combine_directions([(1.0, readout), (2.0, added)])
    total.save(tmp_path / "sum.safetensors")
    total = load_hdirection(tmp_path / "sum.safetensors")
    if size == (8, 8):
        edit, amount, reading = bind_edit(total, 0.5, SIGMAS, EditWindow())
        run = lambda **parts: (
            sample_asyrp(source, x, SIGMAS[:2], **{"edit": None, **parts}) - sample_euler(source, x, SIGMAS[:2])
        )
        assert torch.allclose(run(edit=edit, reading=reading), run(edit=edit) + run(reading=reading), atol=1e-4)
        assert torch.allclose(
            run(reading=reading), 0.5 * run(reading=bind_edit(readout, 1.0, SIGMAS, EditWindow()).reading), atol=1e-4
        )


def test_a_file_gives_the_same_readout_back(learned, tmp_path):
    readout = learned[3]
    readout.save(tmp_path / "a.safetensors")
    again = load_hdirection(tmp_path / "a.safetensors")
    assert isinstance(again, Readout)
    assert again.info == readout.info
    assert torch.equal(again.sigmas, readout.sigmas)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in readout.tensors.items())


def test_same_seed_same_readout(learned):
    one, again, other = (learn_readout(learned[2], 5, seed=seed)[0].tensors["out.weight"] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class Areas(GaussianDenoiser):
    """A prompt that divides the picture: its areas' bottlenecks come one by one, and differ in size."""

    def __call__(self, x, sigma, h_edit=None):
        moved = 0 if h_edit is None else sum((h_edit(part) - part).mean() for part in (x[..., :4, :4], x[..., 4:]))
        return super().__call__(x, sigma) + moved


def test_areas_are_refused_by_readouts_alone():
    """What is added to h needs no whole picture."""
    edited = sample_asyrp(Areas(), noise(2), SIGMAS, lambda h, sigma: h + 1, EditWindow())
    assert not torch.allclose(edited, sample_euler(Areas(), noise(2), SIGMAS))


def test_bad_input_gets_a_sentence(learned):
    source, _, _, readout, _ = learned
    with pytest.raises(EditError, match="bottleneck of 4 channels but this model has 8"):
        readout.change(torch.randn(1, 8, 2, 2), SIGMAS[0], (8, 8))
    with pytest.raises(EditError, match="is a readout"):
        readout.delta(torch.randn(1, 4, 2, 2), SIGMAS[0])
    with pytest.raises(EditError, match="is a readout"):
        mean_direction(source, readout, noise(2), SIGMAS)
    with pytest.raises(EditError, match="widen the window"):
        record_prediction_changes(source, source, noise(2), SIGMAS, onset=0.5, end=0.5)
    with pytest.raises(EditError, match="the two prompts differ"):
        learn_readout(record_prediction_changes(source, source, noise(2), SIGMAS), 2)

    with pytest.raises(EditError, match="divides it into areas"):
        sample_asyrp(
            Areas(), noise(2), SIGMAS, None, EditWindow(), reading=bind_edit(readout, 1.0, SIGMAS, EditWindow()).reading
        )
