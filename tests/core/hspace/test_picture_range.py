"""A readout's edits keep the predicted picture within what finished pictures reach."""

import pytest
import torch
from helpers.denoisers import Bright, karras
from helpers.tensors import noise
from hypothesis import given
from hypothesis import strategies as st
from singular_edit.core import EditError, combine_directions, load_hdirection, sample_asyrp, sample_euler
from singular_edit.core.hspace.picture_range import PictureRange
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.hspace.readout_change import ReadoutChange
from singular_edit.core.hspace.strength import bind_edit
from singular_edit.core.hspace.window import EditWindow
from singular_edit.core.samplers import euler_fraction

SIGMAS = karras(12)
REACH = PictureRange(torch.full((4,), -1.0), torch.tensor([1.0, 1.5, 2.0, 2.5]))


def brighter(size: float, reach: PictureRange | None = REACH) -> Readout:
    """A readout that asks for the same brightness everywhere, whatever is there already."""
    readout = Readout.fresh(4, 4, 4, 1.0, SIGMAS[:-1], generator=torch.Generator().manual_seed(0), info={})
    readout.tensors["out.bias"][:] = size
    return readout if reach is None else readout.with_range(reach)


def range_of(direction) -> PictureRange | None:
    return ReadoutChange.of(direction, 1.0, EditWindow()).picture_range


def edited(readout: Readout, strength: float, callback=None) -> torch.Tensor:
    x = float(SIGMAS[0]) * noise((3, 4, 8, 8), 2)
    return sample_asyrp(Bright(), x, SIGMAS, bind_edit(readout, strength, SIGMAS, EditWindow()), callback=callback)


@given(st.floats(-4, 4), st.floats(-4, 4), st.floats(-5, 5))
def test_a_change_stops_at_the_range_and_never_turns_round(low, high, change):
    reach = PictureRange(torch.tensor([min(low, high)]), torch.tensor([max(low, high)]))
    denoised = torch.linspace(-6, 6, 25).view(1, 1, 5, 5)
    kept = reach.keep_within(torch.full_like(denoised, change), denoised)
    assert (kept * change >= 0).all()
    assert (kept.abs() <= abs(change)).all()
    inside = (denoised + change >= reach.lowest) & (denoised + change <= reach.highest)
    assert torch.equal(kept[inside], torch.full_like(kept[inside], change))
    after = denoised + kept
    assert (after <= torch.maximum(denoised, reach.highest) + 1e-5).all()
    assert (after >= torch.minimum(denoised, reach.lowest) - 1e-5).all()


def test_the_range_is_what_pictures_reach_channel_by_channel():
    pictures = noise((5, 4, 8, 8), 0)
    pictures[3, 2, 1, 1] = 9
    pictures[0, 1, 7, 0] = -9
    reach = PictureRange.of(pictures)
    assert float(reach.highest[2]) == 9
    assert float(reach.lowest[1]) == -9
    assert torch.equal(reach.highest[[0, 1, 3]], pictures[:, [0, 1, 3]].amax((0, 2, 3)))
    flat = PictureRange.of(torch.zeros(1, 4, 8, 8))
    assert (flat.highest > flat.lowest).all()


@pytest.mark.parametrize("strength", [3.0, -6.0])
def test_however_much_a_readout_asks_for_each_step_goes_to_the_end_of_the_range_and_no_further(strength):
    def check(step, x, prediction):
        denoised = Bright()(x, SIGMAS[step])
        lowest, highest = (end[:, None, None] for end in REACH)
        end = torch.maximum(denoised, highest) if strength > 0 else torch.minimum(denoised, lowest)
        fraction = euler_fraction(SIGMAS[step], SIGMAS[step + 1], False)
        assert torch.allclose(prediction - denoised, fraction * (end - denoised), atol=1e-4)

    kept = edited(brighter(200.0), strength, check)
    free = edited(brighter(200.0, None), strength)
    assert (free.abs().mean((0, 2, 3)) > 10 * kept.abs().mean((0, 2, 3))).all()


def test_within_the_range_and_at_strength_zero_nothing_is_limited():
    wide = PictureRange(100 * REACH.lowest, 100 * REACH.highest)
    assert torch.equal(edited(brighter(0.5, wide), 1.0), edited(brighter(0.5, None), 1.0))
    x = float(SIGMAS[0]) * noise((3, 4, 8, 8), 2)
    assert torch.equal(edited(brighter(2.0), 0.0), sample_euler(Bright(), x, SIGMAS))


def test_files_and_sums_keep_the_range(tmp_path):
    one = brighter(1.0)
    wider = brighter(1.0, PictureRange(REACH.lowest - 1, REACH.highest - 0.5))
    one.save(tmp_path / "one.safetensors")
    assert torch.equal(load_hdirection(tmp_path / "one.safetensors").tensors["range"], one.tensors["range"])
    both = combine_directions([(1.0, one), (-0.5, wider)])
    both.save(tmp_path / "both.safetensors")
    reach = range_of(load_hdirection(tmp_path / "both.safetensors"))
    assert torch.equal(reach.lowest, REACH.lowest - 1)
    assert torch.equal(reach.highest, REACH.highest)
    assert range_of(one.scaled(2.0)) is not None


@pytest.mark.parametrize("reach", [REACH, None])
def test_of_an_older_file_nothing_is_limited(tmp_path, reach):
    brighter(2.0, None).save(tmp_path / "old.safetensors")
    old = load_hdirection(tmp_path / "old.safetensors")
    assert range_of(old) is None
    assert range_of(combine_directions([(1.0, old), (1.0, brighter(1.0, reach))])) is None
    assert torch.equal(edited(old, 3.0), edited(brighter(2.0, None), 3.0))


def test_an_absurd_range_is_refused(tmp_path):
    for ends in ((2.0, 1.0), (-1.0, 1e9)):
        wrong = brighter(1.0, PictureRange(*(torch.full((4,), end) for end in ends)))
        with pytest.raises(EditError, match="its 'range' holds"):
            wrong.save(tmp_path / "wrong.safetensors")
