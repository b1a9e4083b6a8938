"""Sums of directions: weights, signs, starts, kinds, files."""

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from singular_edit.core import EditError, EditWindow, RandomDirection, combine_directions, load_hdirection, sample_asyrp
from singular_edit.core.hspace.direction import DeltaDirection, TableDirection
from singular_edit.core.hspace.networks import ImplicitDirection
from singular_edit.core.hspace.strength import BoundEdit, bottleneck_delta, bottleneck_edit
from singular_edit.core.response import Response

SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0])
SCHEDULE = torch.cat([SIGMAS, torch.zeros(1)])


def h(rows=2, channels=32, size=2, seed=0):
    return noise((rows, channels, size, size), seed)


def table(value=1.0, sigmas=SIGMAS, channels=32, name="map"):
    maps = value * noise((len(sigmas), channels, 2, 2), int(value * 100))
    return TableDirection(sigmas, {"table": maps}, {"name": name})


def network(name="network"):
    direction = ImplicitDirection.fresh(32, SIGMAS[1:], torch.Generator().manual_seed(0), {"name": name})
    direction.tensors["out.weight"].normal_(generator=torch.Generator().manual_seed(1))
    return direction


def delta_of(direction, x, sigma):
    """The dh of a sum on the schedule that its members were learned on, where S / S' is 1."""
    return bottleneck_delta(direction, 1.0, SCHEDULE, EditWindow())(x, sigma)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4), st.floats(-2, 2), st.sampled_from([8.0, 3.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_it_is_the_weighted_sum(weights, strength, sigma):
    parts = [table(1.0 + i) for i in range(len(weights))]
    both = combine_directions(list(zip(weights, parts, strict=True)))
    x = h()
    sigma = torch.tensor(sigma)
    dh = sum(weight * part.delta(x, sigma) for weight, part in zip(weights, parts, strict=True))
    edit = bottleneck_edit(both, strength, SCHEDULE, EditWindow(edit_from=both.start))
    edited = x if edit is None else edit(x, sigma)
    assert torch.allclose(edited, x + strength * dh, atol=1e-4)
    delta = bottleneck_delta(both, 1.0, SCHEDULE, EditWindow())
    added = torch.zeros_like(x) if delta is None else delta(x, sigma)
    assert torch.allclose(added, dh, atol=1e-4)


def test_a_direction_minus_itself_and_weights_of_zero():
    undone = combine_directions([(1.0, network()), (-1.0, network())])
    assert delta_of(undone, h(), SIGMAS[2]).abs().max() < 1e-6
    nothing = combine_directions([(0.0, table()), (0.0, network())])
    assert bottleneck_edit(nothing, 1.0, SCHEDULE, EditWindow()) is None


def test_a_sum_has_no_dh_of_its_own():
    """What a sum adds depends on the sampler's steps, and some of its members may add nothing to h."""
    total = combine_directions([(1.0, table()), (1.0, network())])
    assert not isinstance(total, DeltaDirection)
    with pytest.raises(EditError, match="is a readout or a sum"):
        RandomDirection.like(total, 0)


def test_each_keeps_its_own_start_and_its_own_count_of_steps():
    schedule = karras(10)
    early = table(sigmas=karras(20)[:-1])
    late = table(2.0, sigmas=schedule[4:-1])
    both = combine_directions([(1.0, early), (-2.0, late)])
    assert both.start == early.start
    window = EditWindow(edit_until=float(schedule[8]), edit_from=both.start)
    x = h()
    edit = bottleneck_edit(both, 1.0, schedule, window)
    early_edit = bottleneck_edit(early, 1.0, schedule, window)
    above_late_start = schedule[2]
    assert torch.equal(edit(x, above_late_start), early_edit(x, above_late_start))
    ratio = int((early.sigmas > schedule[8]).sum()) / 8
    wanted = x + ratio * early.delta(x, schedule[6]) - 2 * late.delta(x, schedule[6])
    assert torch.allclose(edit(x, schedule[6]), wanted, atol=1e-4)


def test_two_at_once_move_the_picture_as_far_as_each_alone():
    """A linear model: edits add up exactly."""
    schedule = karras(10)
    denoise = LinearBottleneck(gain=0.1)
    x = 14 * noise()
    one = table(1.0, schedule[:-1], 4)
    two = table(2.0, schedule[:-1], 4)
    window = EditWindow(edit_until=1.0)

    def run(direction):
        edit = BoundEdit(bottleneck_edit(direction, 1.0, schedule, window))
        return sample_asyrp(denoise, x, schedule, edit, window)

    stock = run(combine_directions([(0.0, one)]))
    together = run(combine_directions([(1.0, one), (0.5, two)])) - stock
    apart = (run(one) - stock) + 0.5 * (run(two) - stock)
    assert torch.allclose(together, apart, atol=1e-3)


def test_sums_of_sums_are_flat_and_scale():
    inner = combine_directions([(1.0, table()), (2.0, network())])
    outer = combine_directions([(0.5, inner), (1.0, table(3.0))])
    assert [weight for weight, _ in outer.parts] == [0.5, 1.0, 1.0]
    assert [weight for weight, _ in outer.scaled(2).parts] == [1.0, 2.0, 2.0]
    dh = delta_of(outer, h(), SIGMAS[2])
    assert torch.allclose(delta_of(outer.scaled(-2), h(), SIGMAS[2]), -2 * dh, atol=1e-4)


def test_a_sum_is_called_by_its_weights():
    """Where all know what their strengths mean, the members' scales are others."""
    parts = [table(name=name).with_response(Response((scale,), (1.0,))) for name, scale in (("hat", 1.5), ("beard", 2))]
    assert combine_directions(list(zip((1.0, -0.5), parts, strict=True))).name == "+1 hat -0.5 beard"


def test_other_widths_are_refused():
    with pytest.raises(EditError, match="direction 'beard' was learned on a bottleneck of 64 channels but 'hat' on 32"):
        combine_directions([(1.0, table(name="hat")), (1.0, table(channels=64, name="beard"))])


@pytest.fixture
def saved(tmp_path):
    both = combine_directions([(1.0, table(name="hat")), (-0.5, network("beard"))])
    both.save(tmp_path / "sum.safetensors")
    return both, tmp_path / "sum.safetensors"


def test_a_file_holds_all_of_it(saved):
    both, path = saved
    again = load_hdirection(path)
    assert both.name == "+1 hat -0.5 beard"
    assert again.name == both.name
    assert [part.name for _, part in again.parts] == ["hat", "beard"]
    for sigma in (torch.tensor(8.0), torch.tensor(4.0), torch.tensor(1.5)):
        assert torch.allclose(delta_of(again, h(), sigma), delta_of(both, h(), sigma), atol=1e-5)


def test_a_random_direction_is_not_saved_in_a_sum(tmp_path):
    with pytest.raises(EditError, match="random direction is a baseline"):
        combine_directions([(1.0, RandomDirection.like(table(), 0))]).save(tmp_path / "sum.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"info": '{"members": "["}'}, "damaged header"),
        ({"info": "{}"}, "damaged header"),
        ({"info": '{"members": "[{\\"kind\\": \\"magic\\", \\"info\\": {}}]"}'}, "damaged header"),
        ({"info": '{"members": "[]"}'}, "has tensors that a file of kind h_direction_sum does not have"),
        ("1.out.bias", "lacks 1.out.bias"),
        ("0.table", "damaged tensor '0.table'"),
        ("0.sigmas", "4 directions for 3 sigmas"),
    ],
)
def test_a_damaged_file_is_refused(saved, change, words):
    path = saved[1]
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    if isinstance(change, dict):
        header |= change
    elif change == "1.out.bias":
        del tensors[change]
    elif change == "0.table":
        tensors[change] = tensors[change] * float("nan")
    else:
        tensors[change] = tensors[change][:3]
    save_file(tensors, path, header)
    with pytest.raises(EditError, match=words):
        load_hdirection(path)


def test_a_part_of_a_schedule_gets_no_more_than_the_whole():
    """S / S' counts the training steps that a part goes through, from where it begins to where it ends."""
    direction = table()
    whole = bottleneck_edit(direction, 1.0, SCHEDULE, EditWindow())(h(), SIGMAS[1])
    for part in (SCHEDULE[:3], SCHEDULE[1:3], SCHEDULE[1:]):
        assert torch.allclose(bottleneck_edit(direction, 1.0, part, EditWindow())(h(), SIGMAS[1]), whole)


def test_a_weight_of_zero_leaves_out_what_a_direction_does_not_know():
    knows = table().with_response(Response((1.0,), (1.0,)))
    assert combine_directions([(0.5, knows), (0.0, network())]).response is not None
    assert combine_directions([(0.5, knows), (0.5, network())]).response is None
