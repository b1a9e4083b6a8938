"""Files of strangers: whole and used with a finite result, or refused in one sentence; nothing else."""

from __future__ import annotations

import json
import os
import struct
import threading

import pytest
import torch
from helpers.benchmarks import benchmark
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, load_file, save_file
from singular_edit.core import EditError, apply_attribute, load_hdirection, read_kind
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.core.tensor_file import MAX_HEADER, TensorFile, parse_json

fuzz = benchmark("fuzz_files")
ATTRIBUTES = fuzz.honest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One honest file of every kind."""
    folder = tmp_path_factory.mktemp("files")
    for name, attribute in ATTRIBUTES.items():
        attribute.save(folder / f"{name}.safetensors")
    return folder


@pytest.mark.parametrize("name", fuzz.NAMES)
def test_honest_files_are_used(folder, name):
    assert fuzz.use(folder / f"{name}.safetensors", ATTRIBUTES) == "right"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(fuzz.NAMES),
    mutation=st.sampled_from(sorted(fuzz.MUTATIONS)),
    rng=st.randoms(),
    more=st.booleans(),
)
def test_mutated_files_are_used_or_refused_in_a_sentence(folder, name, mutation, rng, more):
    data = fuzz.MUTATIONS[mutation]((folder / f"{name}.safetensors").read_bytes(), rng)
    if more and data:
        data = fuzz.flip_bits(data, rng)
    path = folder / "mutated" / "file.safetensors"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    fuzz.use(path, ATTRIBUTES)
    assert {one.name for one in path.parent.iterdir()} <= {"file.safetensors", "again.safetensors"}


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='[]{},":\\ 01eEa.-N', max_size=60))
def test_json_is_parsed_as_the_standard_library_does_or_refused(text):
    try:
        found = parse_json(text)
    except ValueError:
        return
    assert found == json.loads(text)


def rewritten(folder, name, change):
    """A copy of an honest file with other tensors."""
    path = folder / "changed.safetensors"
    data = (folder / f"{name}.safetensors").read_bytes()
    tensors = load(data)
    change(tensors)
    save_file(tensors, path, fuzz.Parts.of(data).header["__metadata__"])
    return path


# What once fell through: (file, tensor, its new value, the words of the sentence).
BROKE = [
    ("svd", "edit.s", lambda s: 1e30 * s, r"damaged tensor 'edit\.s'"),
    ("svd", "edit.s", lambda s: s.flip(-1).contiguous(), r"damaged tensor 'edit\.s'"),
    ("svd", "edit.s", lambda s: -s, r"damaged tensor 'edit\.s'"),
    ("svd", "edit.u", lambda u: 1e20 * u, r"damaged tensor 'edit\.u'"),
    ("svd", "edit.v", lambda v: v.to(torch.float8_e4m3fn), r"damaged tensor 'edit\.v'"),
    ("svd_cover", "cover.share", lambda s: 2 + s, r"damaged tensor 'cover\.share'"),
    ("svd_cover", "cover.target_energy", lambda e: -1 - e, r"damaged tensor 'cover\.target_energy'"),
    ("svd_aligned", "alignment.filter", lambda k: k[:, 1:].contiguous(), r"alignment\.filter"),
    ("svd_aligned", "alignment.filter", lambda k: k / 0, r"damaged tensor 'alignment\.filter'"),
    ("svd_cover", "cover.u", lambda u: 1e20 * u, r"damaged tensor 'cover\.u'"),
    ("table", "table", lambda t: 1e30 * t, "damaged tensor 'table'"),
    ("table", "sigmas", lambda s: s.flip(0).contiguous(), "damaged tensor 'sigmas'"),
    ("table", "sigmas", lambda s: s[:1].expand(4).contiguous(), "damaged tensor 'sigmas'"),
    ("table", "sigmas", lambda s: 0 * s, "damaged tensor 'sigmas'"),
    ("readout", "scale", lambda s: 0 * s, "damaged tensor 'scale'"),
    ("readout", "scale", lambda s: -s, "damaged tensor 'scale'"),
    ("readout", "time.weight", lambda t: t[:, :5].contiguous(), r"damaged tensor 'time\.weight'"),
    ("implicit", "time.weight", lambda t: t[:, :5].contiguous(), r"damaged tensor 'time\.weight'"),
    ("combined", "table", lambda t: t.expand(2, -1, -1, -1).contiguous(), "damaged tensor 'table'"),
    ("sum", "weights", lambda w: 1e19 * w, "damaged tensor 'weights'"),
    ("sum", "0.sigmas", lambda s: s.to(torch.float8_e5m2), r"damaged tensor '0\.sigmas'"),
    ("sum", "1.scale", lambda s: float("nan") * s, r"damaged tensor '1\.scale'"),
]


@pytest.mark.parametrize(("name", "tensor", "change", "words"), BROKE)
def test_values_that_mean_nothing_are_refused(folder, name, tensor, change, words):
    def changed(tensors):
        tensors[tensor] = change(tensors[tensor])

    path = rewritten(folder, name, changed)
    with pytest.raises(EditError, match=words):
        load_attribute(path)


def test_a_width_that_does_not_divide_into_groups_is_refused(folder):
    def narrower(tensors):
        for name, tensor in tensors.items():
            if name.startswith(("in.", "norm.", "time.")):
                tensors[name] = tensor[:31].contiguous()
        tensors["out.weight"] = tensors["out.weight"][:, :31].contiguous()

    with pytest.raises(EditError, match=r"damaged tensor 'norm\.weight'"):
        load_attribute(rewritten(folder, "implicit", narrower))


def test_a_tensor_too_much_is_refused(folder):
    with pytest.raises(EditError, match=r"has tensors that a file of kind svd_attribute does not have \(more\)"):
        load_attribute(rewritten(folder, "svd", lambda tensors: tensors.update(more=torch.ones(3))))


def test_half_precision_loads(folder):
    def halve(tensors):
        tensors.update({name: tensor.half() for name, tensor in tensors.items()})

    attribute = load_attribute(rewritten(folder, "svd", halve))
    assert attribute.edit.s.dtype == torch.float32
    assert torch.isfinite(apply_attribute(fuzz.noise(1, 4, 16, 16), attribute, 1.0)).all()


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 3000 + "1" + "}" * 3000, "[" + "1," * 100_000 + "1]"])
def test_json_that_is_deep_or_long_is_refused(folder, text):
    parts = fuzz.Parts.of((folder / "svd.safetensors").read_bytes())
    parts.header["__metadata__"]["info"] = text
    path = folder / "changed.safetensors"
    path.write_bytes(parts.joined())
    with pytest.raises(EditError, match="damaged header"):
        load_attribute(path)
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    with pytest.raises(EditError, match="not a readable safetensors file"):
        load_attribute(path)


def test_nothing_is_allocated_for_what_a_file_only_claims(tmp_path):
    path = tmp_path / "claims.safetensors"
    for length in (2**63, MAX_HEADER + 1, 1000):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(EditError, match="not a readable"):
            read_kind(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(EditError, match="not a readable"):
        read_kind(path)


def test_folders_pipes_devices_and_links_that_lead_nowhere_are_no_files(tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "loop", tmp_path / "gone", "/dev/zero", "a\0b"):
        with pytest.raises(EditError, match="a plain file is accepted"):
            read_kind(path)


def test_a_link_to_a_file_is_that_file(folder, tmp_path):
    (tmp_path / "link.safetensors").symlink_to(folder / "svd.safetensors")
    assert load_attribute(tmp_path / "link.safetensors").name == "hat"


def test_a_file_that_is_replaced_or_cut_while_open(folder, tmp_path):
    path = tmp_path / "file.safetensors"
    data = (folder / "table.safetensors").read_bytes()
    path.write_bytes(data)
    with TensorFile(path) as file:
        os.replace(_filled(tmp_path / "other", len(data)), path)
        assert torch.equal(file.tensor("table"), load(data)["table"])
    path.write_bytes(data)
    with TensorFile(path) as file:
        os.truncate(path, len(data) - 100)
        with pytest.raises(EditError, match="cut short"):
            file.tensor("table")


def _filled(path, size):
    path.write_bytes(b"\1" * size)
    return path


def test_savers_at_once_leave_a_whole_file(tmp_path):
    path = tmp_path / "file.safetensors"
    savers = [threading.Thread(target=ATTRIBUTES[name].save, args=(path,)) for name in ("table", "readout") * 4]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join()
    assert load_hdirection(path).name == "hat"
    assert [one.name for one in tmp_path.iterdir()] == ["file.safetensors"]


def test_what_could_not_be_loaded_is_not_saved(tmp_path):
    broken = ATTRIBUTES["table"].scaled(float("nan"))
    with pytest.raises(EditError, match="is not saved, because its 'table' holds NaN"):
        broken.save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_edit_that_would_give_nan_is_refused():
    with pytest.raises(EditError, match="gives NaN, infinite or enormous values"):
        apply_attribute(fuzz.noise(1, 4, 16, 16), ATTRIBUTES["svd"], 1e38)


def test_a_save_over_an_old_file_replaces_it_whole(folder, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes((folder / "svd.safetensors").read_bytes())
    ATTRIBUTES["table"].save(path)
    assert set(load_file(path)) == {"sigmas", "table"}
