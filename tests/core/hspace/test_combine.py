"""Sums of directions: weights, signs, starts, kinds, files."""

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from singular_edit.core import EditError, EditWindow, RandomDirection, combine_directions, load_hdirection, sample_asyrp
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import ImplicitDirection
from singular_edit.core.hspace.strength import bottleneck_edit

SIGMAS = torch.tensor([8.0, 4.0, 2.0, 1.0])


def h(rows=2, channels=32, size=2, seed=0):
    return torch.randn(rows, channels, size, size, generator=torch.Generator().manual_seed(seed))


def table(value=1.0, sigmas=SIGMAS, channels=32, name="map"):
    generator = torch.Generator().manual_seed(int(value * 100))
    return TableDirection(
        sigmas, {"table": value * torch.randn(len(sigmas), channels, 2, 2, generator=generator)}, {"name": name}
    )


def network(name="network"):
    direction = ImplicitDirection.fresh(32, SIGMAS[1:], torch.Generator().manual_seed(0), {"name": name})
    direction.tensors["out.weight"].normal_(generator=torch.Generator().manual_seed(1))
    return direction


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4), st.floats(-2, 2), st.sampled_from([8.0, 3.0, 1.0]))
@settings(max_examples=30, deadline=None)
def test_it_is_the_weighted_sum(weights, strength, sigma):
    parts = [table(1.0 + i) for i in range(len(weights))]
    both = combine_directions(list(zip(weights, parts)))
    edit, x, sigma = (
        bottleneck_edit(both, strength, torch.cat([SIGMAS, torch.zeros(1)]), EditWindow(edit_from=both.start)),
        h(),
        torch.tensor(sigma),
    )
    wanted = x + strength * sum(w * part.delta(x, sigma) for w, part in zip(weights, parts))
    assert torch.allclose(x if edit is None else edit(x, sigma), wanted, atol=1e-4)
    assert torch.allclose(
        both.delta(x, sigma), wanted.sub(x) / strength if strength > 1e-3 else both.delta(x, sigma), atol=1e-2
    )


def test_a_direction_minus_itself_and_weights_of_zero():
    x, schedule = h(), torch.cat([SIGMAS, torch.zeros(1)])
    undone = combine_directions([(1.0, network()), (-1.0, network())])
    assert undone.delta(x, SIGMAS[2]).abs().max() < 1e-6
    assert bottleneck_edit(combine_directions([(0.0, table()), (0.0, network())]), 1.0, schedule, EditWindow()) is None


def test_each_keeps_its_own_start_and_its_own_count_of_steps():
    schedule = karras(10)
    early, late = table(sigmas=karras(20)[:-1]), table(2.0, sigmas=schedule[4:-1])
    both = combine_directions([(1.0, early), (-2.0, late)])
    assert both.start == early.start
    window, x = EditWindow(edit_until=float(schedule[8]), edit_from=both.start), h()
    edit, alone = (bottleneck_edit(d, 1.0, schedule, window) for d in (both, early))
    assert torch.equal(edit(x, schedule[2]), alone(x, schedule[2]))  # above the late one's start
    ratio = int((early.sigmas > schedule[8]).sum()) / 8
    wanted = x + ratio * early.delta(x, schedule[6]) - 2 * late.delta(x, schedule[6])
    assert torch.allclose(edit(x, schedule[6]), wanted, atol=1e-4)


def test_two_at_once_move_the_picture_as_far_as_each_alone():
    """A linear model: edits add up exactly."""
    schedule, denoise = karras(10), LinearBottleneck(gain=0.1)
    x = 14 * torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    one, two = table(1.0, schedule[:-1], 4), table(2.0, schedule[:-1], 4)
    window = EditWindow(edit_until=1.0)
    run = lambda d: sample_asyrp(denoise, x, schedule, bottleneck_edit(d, 1.0, schedule, window), window)
    stock = run(combine_directions([(0.0, one)]))
    assert torch.allclose(
        run(combine_directions([(1.0, one), (0.5, two)])) - stock,
        (run(one) - stock) + 0.5 * (run(two) - stock),
        atol=1e-3,
    )


def test_sums_of_sums_are_flat_and_scale():
    inner = combine_directions([(1.0, table()), (2.0, network())])
    outer = combine_directions([(0.5, inner), (1.0, table(3.0))])
    assert [w for w, _ in outer.parts] == [0.5, 1.0, 1.0]
    assert torch.allclose(outer.scaled(-2).delta(h(), SIGMAS[2]), -2 * outer.delta(h(), SIGMAS[2]), atol=1e-4)
    assert [w for w, _ in outer.scaled(2).parts] == [1.0, 2.0, 2.0]


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
    assert again.name == both.name == "+1 hat -0.5 beard"
    assert [p.name for _, p in again.parts] == ["hat", "beard"]
    for sigma in (8.0, 4.0, 1.5):
        assert torch.allclose(again.delta(h(), torch.tensor(sigma)), both.delta(h(), torch.tensor(sigma)), atol=1e-5)
    with pytest.raises(EditError, match="random direction is a baseline"):
        combine_directions([(1.0, RandomDirection(table(), 0))]).save(path)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"info": '{"members": "["}'}, "damaged header"),
        ({"info": "{}"}, "damaged header"),
        ({"info": '{"members": "[{\\"kind\\": \\"magic\\", \\"info\\": {}}]"}'}, "damaged header"),
        ({"info": '{"members": "[]"}'}, "2 weights for 0 directions"),
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
    else:
        tensors[change] = tensors[change] * float("nan") if change == "0.table" else tensors[change][:3]
    save_file(tensors, path, header)
    with pytest.raises(EditError, match=words):
        load_hdirection(path)
