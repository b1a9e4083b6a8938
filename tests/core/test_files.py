"""Attribute files: whole, or refused in one sentence."""

import pytest
import torch
from helpers.tensors import noise
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from singular_edit.core import EditError, HDirection, SVDAttribute, learn_attribute, load_hdirection, read_kind
from singular_edit.core.files import read, write
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import ImplicitDirection

SIGMAS = torch.tensor([4.0, 2.0, 1.0])


@pytest.fixture
def saved(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 8, 8, generator=generator)
    path = tmp_path / "a.safetensors"
    learn_attribute(x, x + torch.randn(x.shape, generator=generator), info={"name": "a"}).save(path)
    return path


def header_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def rewrite(path, tensors=None, **metadata):
    """Change tensors and header of a file."""
    save_file({**load_file(path), **(tensors or {})}, path, {**header_of(path), **metadata})


@pytest.mark.parametrize(
    ("metadata", "words"),
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
    ids=["NaN", "another length", "too few axes", "integers", "empty"],
)
def test_damaged_tensors(saved, tensors):
    rewrite(saved, tensors)
    with pytest.raises(EditError, match="damaged tensor"):
        SVDAttribute.load(saved)


def test_missing_tensor(saved):
    tensors = load_file(saved)
    del tensors["edit.v"]
    save_file(tensors, saved, header_of(saved))
    with pytest.raises(EditError, match=r"lacks edit\.v"):
        SVDAttribute.load(saved)


def first_half(data):
    return data[: len(data) // 2]


def first_bytes(data):
    return data[:4]


def nothing(data):
    return b""


def a_zip(data):
    return b"PK\x03\x04 a zip"


@pytest.mark.parametrize("load", [SVDAttribute.load, load_hdirection, read_kind])
@pytest.mark.parametrize("damage", [first_half, nothing, a_zip, first_bytes])
def test_cut_or_foreign_bytes(saved, damage, load):
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(EditError, match="not a readable safetensors file"):
        load(saved)


def test_no_such_file(tmp_path):
    with pytest.raises(EditError, match=r"No file 'b\.safetensors'"):
        SVDAttribute.load(tmp_path / "b.safetensors")


def test_an_attribute_is_not_a_direction(saved):
    with pytest.raises(EditError, match=r"an h-space direction .* is accepted here"):
        load_hdirection(saved)


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    before = saved.read_bytes()
    monkeypatch.setattr("singular_edit.core.files.save_file", fail)
    with pytest.raises(EditError, match=r"'a\.safetensors' cannot be saved \(disk full\)"):
        SVDAttribute.load(saved).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "new folder" / "c.safetensors"
    tensors = {"a": noise((3, 4)), "b": noise((4, 2))}
    write(path, "pebble", tensors, {"name": "c"}, sigma=1.5)
    read_tensors, info, numbers = read(path, "pebble", {"a": "xy", "b": "yz"}, ("sigma",))
    assert read_kind(path) == "pebble"
    assert torch.equal(read_tensors["a"], tensors["a"])
    assert torch.equal(read_tensors["b"], tensors["b"])
    assert info == {"name": "c"}
    assert numbers == {"sigma": 1.5}


def test_a_group_of_optional_tensors_is_whole_or_absent(tmp_path):
    path = tmp_path / "c.safetensors"
    write(path, "pebble", {"a": noise((3, 4))}, {})
    found, _, _ = read(path, "pebble", {"a": "xy"}, (), {"d": "x"})
    assert set(found) == {"a"}
    write(path, "pebble", {"a": noise((3, 4)), "b": noise((4, 2))}, {})
    with pytest.raises(EditError, match="lacks c"):
        read(path, "pebble", {"a": "xy"}, (), {"b": "yz", "c": "z"})


def implicit():
    """A network whose last layer is not zero, as a fresh one's is."""
    direction = ImplicitDirection.fresh(32, SIGMAS[:2], torch.Generator().manual_seed(0), {"name": "i"})
    weight = direction.tensors["out.weight"]
    weight.copy_(noise(tuple(weight.shape)))
    return direction


@pytest.mark.parametrize(
    "direction",
    [
        TableDirection(SIGMAS, {"table": noise((3, 32, 2, 2))}, {"name": "t"}),
        TableDirection(SIGMAS, {"table": noise((1, 32, 1, 1))}, {"name": "v"}),
        implicit(),
    ],
    ids=["map", "vector", "network"],
)
def test_directions_come_back(direction, tmp_path):
    direction.save(tmp_path / "d.safetensors")
    again = load_hdirection(tmp_path / "d.safetensors")
    h = noise((2, 32, 2, 2))
    sigma = torch.tensor(1.5)
    assert isinstance(again, HDirection)
    assert again.name == direction.name
    assert torch.allclose(again.delta(h, sigma), direction.delta(h, sigma), atol=1e-5)


def test_a_table_of_another_length_is_refused(tmp_path):
    TableDirection(SIGMAS, {"table": noise((2, 32, 2, 2))}).save(tmp_path / "d.safetensors")
    with pytest.raises(EditError, match="2 directions for 3 sigmas"):
        load_hdirection(tmp_path / "d.safetensors")
