"""How finished pictures answer a scale, and the file that keeps it."""

from __future__ import annotations

import json
import math
import struct
from itertools import pairwise

import pytest
import torch
from singular_edit.core import EditError, load_hdirection
from singular_edit.core.hspace.combine import combine_directions
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.response import Response

SIGMAS = torch.tensor([2.0, 1.0])
RESPONSE = Response((0.5, 1.0, 2.0), (0.1, 0.6, 0.8))


def table(response: Response | None = RESPONSE) -> TableDirection:
    return TableDirection(SIGMAS, {"table": torch.ones(1, 4, 1, 1)}, {"name": "t"}).with_response(response)


@pytest.mark.parametrize(
    ("strength", "scale"),
    [(0.0, 0.0), (0.0625, 0.25), (0.125, 0.5), (0.4375, 0.75), (0.75, 1.0), (1.0, 2.0), (1.5, 3.0)],
)
def test_the_scale_of_an_even_strength_is_the_inverse_of_what_was_measured(strength, scale):
    assert math.isclose(RESPONSE.scale_at(strength), scale, rel_tol=1e-6, abs_tol=1e-9)
    assert math.isclose(RESPONSE.scale_at(-strength), -scale, rel_tol=1e-6, abs_tol=1e-9)


def test_even_steps_of_strength_make_even_progress():
    xs = torch.linspace(0, 1, 11)
    scales = [RESPONSE.scale_at(float(x)) for x in xs]
    assert scales == sorted(scales)

    def progress(scale: float) -> float:
        points = [(0.0, 0.0), *zip(RESPONSE.scales, RESPONSE.progress, strict=True)]
        for (low, made_low), (high, made_high) in pairwise(points):
            if scale <= high + 1e-9:
                return made_low + (scale - low) / (high - low) * (made_high - made_low)
        raise AssertionError(scale)

    made = torch.tensor([progress(scale) for scale in scales])
    assert torch.allclose(made, 0.8 * xs, atol=1e-6)


def test_rounds_that_do_not_rise_are_left_out():
    tried = [(1.0, 0.5), (0.5, 0.6), (0.2, -0.1), (1.2, 0.95), (1.5, 0.9), (3.0, 0.7)]
    assert Response.measured(tried, 1.5) == Response((0.5, 1.5), (0.6, 0.9))
    assert Response.measured([(1.0, 0.5), (1.5, -0.2)], 1.5) is None
    assert Response.measured([(1.5, float("nan"))], 1.5) is None


def test_a_direction_keeps_its_response_in_its_file(tmp_path):
    table().save(tmp_path / "new.safetensors")
    loaded = load_hdirection(tmp_path / "new.safetensors")
    assert loaded.response is not None
    assert loaded.response.scales == pytest.approx(RESPONSE.scales)
    assert loaded.response.progress == pytest.approx(RESPONSE.progress)
    assert loaded.response.change is None
    table(None).save(tmp_path / "old.safetensors")
    assert load_hdirection(tmp_path / "old.safetensors").response is None
    assert loaded.scaled(2.0).response is None


def test_a_file_says_what_the_full_scale_changes(tmp_path):
    table(RESPONSE._replace(change=0.25)).save(tmp_path / "new.safetensors")
    loaded = load_hdirection(tmp_path / "new.safetensors")
    assert loaded.response.change == 0.25
    assert "response.change" not in loaded.with_response(None).tensors
    assert "response.change" not in loaded.scaled(2.0).tensors
    # A change that a file could not hold is left out.
    assert Response.measured([(1.5, 0.9)], 1.5, 0.25).change == 0.25
    for change in (0.0, math.nan, 1e4):
        assert Response.measured([(1.5, 0.9)], 1.5, change).change is None


@pytest.mark.parametrize("change", [(0.0,), (-1.0,), (math.nan,), (1e4,), (1.0, 1.0)])
def test_a_file_with_a_change_that_cannot_be_is_refused(tmp_path, change):
    direction = table(RESPONSE)
    direction.tensors["response.change"] = torch.tensor(change)
    with pytest.raises(EditError, match=r"response\.change"):
        direction.save(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("scales", [(1.0, 0.5), (0.0, 1.0), (-1.0, 1.0), (1.0, float("nan")), (1.0, 1e9), (1.0, 1.0)])
def test_a_file_with_a_response_that_cannot_be_is_refused(tmp_path, scales):
    path = tmp_path / "bad.safetensors"
    table(Response((0.25, 0.75), (0.5, 0.9))).save(path)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + length])["response.scale"]["data_offsets"]
    body = 8 + length
    path.write_bytes(data[: body + begin] + struct.pack("<2f", *scales) + data[body + end :])
    with pytest.raises(EditError, match=r"damaged tensor 'response\.scale'"):
        load_hdirection(path)


def test_half_a_response_is_refused(tmp_path):
    direction = table(None)
    direction.tensors["response.scale"] = torch.tensor([1.0])
    direction.save(tmp_path / "half.safetensors")
    with pytest.raises(EditError, match=r"lacks response\.progress"):
        load_hdirection(tmp_path / "half.safetensors")


def test_a_sum_is_there_where_its_members_are(tmp_path):
    whole = combine_directions([(1.0, table()), (-0.75, table())])
    whole.save(tmp_path / "sum.safetensors")
    for direction in (whole, load_hdirection(tmp_path / "sum.safetensors")):
        # Beyond scale 1 it is the effect that is multiplied, and no dh is larger than it was learned.
        assert [weight for weight, _ in direction.parts] == [1.0, -0.5]
        assert direction.response == Response((2.0,), (1.0,))
    mixed = combine_directions([(1.0, table()), (0.5, table(None))])
    assert [weight for weight, _ in mixed.parts] == [1.0, 0.5]
    assert mixed.response is None
