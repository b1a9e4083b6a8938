"""Folders, shares and manifests: which pictures there are, whose they are, and what of them is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from singular_edit.commands.apply import Apply, WeightedFile
from singular_edit.commands.folder import Job, check_folders, pictures_in, plan
from singular_edit.commands.manifest import Manifest, check_settings
from singular_edit.commands.shares import Share, share_of
from singular_edit.core import EditError

NAMES = [f"{i}.png" for i in range(200)]


def test_pictures_are_found_by_their_endings(tmp_path):
    # Results of an earlier run are no pictures of the next one.
    before = ("before/e.png", "before/settings.json")
    for name in ("b.PNG", "sub/a.jpg", "notes.txt", ".hidden.png", ".cache/c.png", "out/d.png", *before):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "bare").mkdir()
    assert pictures_in(tmp_path, tmp_path / "out") == ["b.PNG", "sub/a.jpg"]
    assert pictures_in(tmp_path / "notes.txt", tmp_path / "out") == ["notes.txt"]
    with pytest.raises(EditError, match="holds no pictures"):
        pictures_in(tmp_path / "bare", tmp_path / "out")


def test_results_lie_apart_from_pictures(tmp_path):
    pictures = tmp_path / "in"
    pictures.mkdir()
    (pictures / "a.png").touch()
    check_folders(pictures, pictures / "out")
    for source, target, sentence in (
        (tmp_path / "gone", tmp_path / "out", "does not exist"),
        (pictures, pictures, "holds the pictures themselves"),
        (pictures / "a.png", pictures, "holds the pictures themselves"),
        (pictures, tmp_path, "holds the pictures themselves"),
        (pictures, pictures / "a.png", "is a file"),
    ):
        with pytest.raises(EditError, match=sentence):
            check_folders(source, target)


def test_no_two_pictures_have_one_result():
    task = Apply(source=Path(), target=Path(), attributes=(), strengths=(0.0, 0.5), format="png")
    jobs = plan(["A.jpg", "a.gif", "a.png", "b/a.png"], task.results)
    results = [name for job in jobs for name in job.results]
    assert results[:4] == ["A_0.png", "A_0.5.png", "a.gif_0.png", "a.gif_0.5.png"]
    assert results[-2:] == ["b/a_0.png", "b/a_0.5.png"]
    assert len({name.casefold() for name in results}) == 8


def test_results_keep_name_and_format():
    task = Apply(source=Path(), target=Path(), attributes=(), sheet=True)
    results = [job.results for job in plan(["a.JPG", "b.bmp", "sub/c.webp"], task.results)]
    assert results == [("a.JPG", "a_sheet.png"), ("b.png", "b_sheet.png"), ("sub/c.webp", "sub/c_sheet.png")]


def test_every_picture_is_in_one_share():
    shares = [Share(index, 3) for index in (1, 2, 3)]
    owners = [[share.holds(name) for share in shares] for name in NAMES]
    assert all(sum(row) == 1 for row in owners)
    assert min(map(sum, zip(*owners, strict=True))) > 40


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (None, {}, Share(1, 1)),
        ("2/4", {"RANK": "0", "WORLD_SIZE": "8"}, Share(2, 4)),
        (None, {"RANK": "0", "WORLD_SIZE": "8"}, Share(1, 8)),
        (None, {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, Share(4, 4)),
        (None, {"RANK": "four", "WORLD_SIZE": "8"}, Share(1, 1)),
    ],
)
def test_a_share_comes_from_the_command_or_from_the_launcher(text, environment, expected):
    assert share_of(text, environment) == expected


@pytest.mark.parametrize("text", ["0/4", "5/4", "half", "1/0", "-1/2"])
def test_what_is_no_share_gets_a_sentence(text):
    with pytest.raises(EditError, match="the first of four"):
        share_of(text, {})


def test_a_manifest_says_what_is_missing(tmp_path):
    jobs = [Job(name, (f"{name}.out",)) for name in "abcd"]
    for job in jobs[:3]:
        (tmp_path / job.results[0]).write_bytes(b"whole")
    one, two = (Manifest(tmp_path, Share(index, 2), tmp_path / "work") for index in (1, 2))
    one.add({"source": "a", "results": ["a.out"], "error": None})
    two.add({"source": "b", "results": [], "error": "b is no picture"})
    two.add({"source": "d", "results": ["d.out"], "error": None})
    with two.path.open("a") as file:
        file.write('{"source": "c", "resul')  # where a process was killed
    missing = one.missing(jobs)
    assert [job.name for job in missing] == ["b", "c", "d"]
    two.forget(missing)
    two.add({"source": "b", "results": [], "error": "b is no picture"})
    assert [json.loads(line)["source"] for line in two.path.read_text().splitlines()] == ["b"]
    assert len(one.path.read_text().splitlines()) == 1


def test_results_of_other_settings_are_not_mixed(tmp_path):
    manifest = Manifest(tmp_path, Share(), tmp_path / "work")
    check_settings(tmp_path, {"steps": "25", "seed": "0"})
    manifest.begin({"steps": "25", "seed": "0"})
    manifest.add({"source": "a", "results": ["a.out"], "error": None})
    check_settings(tmp_path, {"steps": "25", "seed": "0"})
    with pytest.raises(EditError, match=r"steps 25, not 50"):
        check_settings(tmp_path, {"steps": "50", "seed": "0"})

    with pytest.raises(EditError, match=r"on_original None, not True"):
        check_settings(tmp_path, {"steps": "25", "seed": "0", "on_original": "True"})
    with pytest.raises(EditError, match=r"seed 0, not None"):
        check_settings(tmp_path, {"steps": "25"})


DAMAGED = (
    b"\xff\xfe",
    b'{"source": "a", "results": 5, "error": null}',
    b'{"source": "a", "results": null, "error": null}',
    b'{"source": ["a"], "results": [], "error": null}',
    b"[" * 100_000,
)


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:40].decode(errors="replace"))
def test_a_damaged_line_is_as_none(tmp_path, line):
    manifest = Manifest(tmp_path, Share(), tmp_path / "work")
    jobs = [Job("a", ("a.out",)), Job("b", ("b.out",))]
    for job in jobs:
        (tmp_path / job.results[0]).write_bytes(b"whole")
    manifest.path.write_bytes(line + b"\n")
    manifest.add({"source": "b", "results": ["b.out"], "error": None})
    check_settings(tmp_path, {})
    assert manifest.missing(jobs) == jobs[:1]
    manifest.forget(jobs[:1])
    assert [json.loads(line)["source"] for line in manifest.path.read_text().splitlines()] == ["b"]


def test_an_empty_result_is_made_again(tmp_path):
    manifest = Manifest(tmp_path, Share(), tmp_path / "work")
    manifest.add({"source": "a", "results": ["a.out"], "error": None})
    (tmp_path / "a.out").touch()
    assert len(manifest.missing([Job("a", ("a.out",))])) == 1


def test_attributes_have_weights_and_shipped_names(tmp_path):
    file = tmp_path / "a=b"
    file.touch()
    assert WeightedFile.of(str(file)) == WeightedFile(file)
    assert WeightedFile.of(f"{file}=0.5") == WeightedFile(file, 0.5)
    assert WeightedFile.of("hat=-1").path.name == "hat.readout.safetensors"
    assert WeightedFile.of("hat.svd").path.name == "hat.svd.safetensors"
    for text, sentence in (("gone", "is no file"), ("hat=much", "no number"), ("hat=nan", "no number")):
        with pytest.raises(EditError, match=sentence):
            WeightedFile.of(text)
