"""Attribute files: whole, or refused in one sentence."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from singular_edit.core import EditError, HDirection, SVDAttribute, learn_attribute, load_hdirection, read_kind
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import ImplicitDirection


@pytest.fixture
def saved(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    path = tmp_path / "a.safetensors"
    learn_attribute(x, x + torch.randn(x.shape, generator=generator), info={"name": "a"}).save(path)
    return path


def rewrite(path, tensors=None, **metadata):
    with safe_open(path, "pt") as file:
        header = {**file.metadata(), **metadata}
    save_file(load_file(path) | (tensors or {}), path, {k: v for k, v in header.items() if v is not None})


@pytest.mark.parametrize(
    "metadata, words",
    [
        ({"format": "pt"}, "not a Singular Edit attribute"),
        ({"version": "99"}, "version 99; this version of Singular Edit reads 1"),
        ({"kind": "h_direction_table"}, "holds a h_direction_table"),
        ({"info": "{"}, "damaged header"),
        ({"numbers": "{}"}, "damaged header"),
        ({"info": "[1]"}, "damaged header"),
    ],
)
def test_damaged_or_foreign_headers(saved, metadata, words):
    rewrite(saved, **metadata)
    with pytest.raises(EditError, match=words):
        SVDAttribute.load(saved)


@pytest.mark.parametrize(
    "tensors",
    [
        {"edit.s": torch.full((4, 8), float("nan"))},
        {"edit.s": torch.ones(3, 8)},
        {"edit.u": torch.ones(4, 8)},
        {"edit.v": torch.ones(4, 8, 8, dtype=torch.int32)},
        {"edit.s": torch.ones(4, 0)},
    ],
)
def test_damaged_tensors(saved, tensors):
    rewrite(saved, tensors)
    with pytest.raises(EditError, match="damaged tensor"):
        SVDAttribute.load(saved)


def test_missing_tensor(saved):
    with safe_open(saved, "pt") as file:
        header = file.metadata()
    save_file({k: v for k, v in load_file(saved).items() if k != "edit.v"}, saved, header)
    with pytest.raises(EditError, match="lacks edit.v"):
        SVDAttribute.load(saved)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"PK\x03\x04 a zip", lambda data: data[:4]],
)
def test_cut_or_foreign_bytes(saved, damage):
    saved.write_bytes(damage(saved.read_bytes()))
    for load in (SVDAttribute.load, load_hdirection, read_kind):
        with pytest.raises(EditError, match="not a readable safetensors file"):
            load(saved)


def test_no_such_file(tmp_path):
    with pytest.raises(EditError, match="No file 'b.safetensors'"):
        SVDAttribute.load(tmp_path / "b.safetensors")


def test_an_attribute_is_not_a_direction(saved):
    with pytest.raises(EditError, match="an h-space direction .* is accepted here"):
        load_hdirection(saved)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("singular_edit.core.files.save_file", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError):
        SVDAttribute.load(saved).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


@pytest.mark.parametrize(
    "direction",
    [
        TableDirection(torch.tensor([4.0, 2.0, 1.0]), {"table": torch.randn(3, 32, 2, 2)}, {"name": "t"}),
        TableDirection(torch.tensor([4.0, 2.0, 1.0]), {"table": torch.randn(1, 32, 1, 1)}, {"name": "v"}),
        ImplicitDirection.fresh(32, torch.tensor([4.0, 2.0]), torch.Generator().manual_seed(0), {"name": "i"}),
    ],
)
def test_directions_come_back(direction, tmp_path):
    if isinstance(direction, ImplicitDirection):
        direction.tensors["out.weight"].normal_()
    direction.save(tmp_path / "d.safetensors")
    again = load_hdirection(tmp_path / "d.safetensors")
    h, sigma = torch.randn(2, 32, 2, 2), torch.tensor(1.5)
    assert isinstance(again, HDirection)
    assert again.name == direction.name
    assert torch.allclose(again.delta(h, sigma), direction.delta(h, sigma), atol=1e-5)


def test_a_table_of_another_length_is_refused(tmp_path):
    TableDirection(torch.tensor([4.0, 2.0, 1.0]), {"table": torch.randn(2, 32, 2, 2)}).save(tmp_path / "d.safetensors")
    with pytest.raises(EditError, match="2 directions for 3 sigmas"):
        load_hdirection(tmp_path / "d.safetensors")
