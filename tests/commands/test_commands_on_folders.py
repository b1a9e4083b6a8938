"""``singular-edit apply``, ``invert`` and ``learn``, on few pictures in few steps."""

from __future__ import annotations

import math
import multiprocessing
import random
import shutil
import time

import numpy as np
import pytest
import torch
from helpers.folder_commands import FEW, apply, records, results
from helpers.picture_files import HOSTILE, write_hostile, write_kinds
from PIL import Image
from safetensors.torch import load_file
from singular_edit import cli
from singular_edit.commands.learn import check_writable, file_name_of
from singular_edit.commands.models import ModelChoice
from singular_edit.core.file_names import check_file_name
from singular_edit.core.recipes import inversion
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.demo.attributes import readout_path

pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, face):
    """(folder, names) of a picture in many forms."""
    folder = tmp_path_factory.mktemp("kinds")
    return folder, write_kinds(folder, face)


def test_pictures_as_people_have_them(no_loading, kinds, face, tmp_path, capfd):
    folder, names = kinds
    hostile = tmp_path / "in"
    hostile.mkdir()
    write_hostile(hostile, face)
    for name in names:
        (hostile / name).parent.mkdir(exist_ok=True)
        (hostile / name).write_bytes((folder / name).read_bytes())
    assert cli.main(apply(hostile, tmp_path / "out", "--sheet")) == 2
    said = capfd.readouterr()
    assert f"{len(names)} pictures done, {len(HOSTILE)} passed over" in said.out
    assert "Traceback" not in said.err
    assert "pictures/min" in said.err
    found = records(tmp_path / "out")
    assert {name for name, record in found.items() if record["error"] is None} == set(names)
    for name, words in HOSTILE.items():
        assert words in found[name]["error"]
    for name in names:
        record = found[name]
        assert record["strengths"] == [0.0, 1.5]
        assert record["round_trip_db"] >= 100
        assert record["seconds"] > 0
        plain, edited, sheet = (Image.open(tmp_path / "out" / result) for result in record["results"])
        assert list(plain.size) == list(edited.size) == record["size"]
        assert plain.tobytes() != edited.tobytes()
        assert sheet.width > 2 * plain.width
        assert sheet.height > plain.height
    assert found["odd.webp"]["size"] == [80, 48]
    assert not (tmp_path / "out" / ".unfinished").exists()


def test_an_edit_is_one_of_attach(faces, whole, pipe):
    import singular_edit
    from singular_edit.commands.reading import read_picture

    with singular_edit.attach(pipe) as edit:
        seed = read_picture(faces / "2.png").seed(0)
        hat = edit.load(readout_path("hat"))
        prompt = hat.info.get("source_prompt", "")
        expected = edit(edit.invert(Image.open(faces / "2.png"), prompt, steps=3, seed=seed), {hat: 1.5})[0]
    (faces.parent / "2.png").write_bytes(whole["2_1.5.png"])
    assert Image.open(faces.parent / "2.png").tobytes() == expected.tobytes()


def test_what_is_there_is_left_and_what_is_missing_is_made(no_loading, faces, whole, tmp_path, capfd):
    assert cli.main(apply(faces, tmp_path)) == 0
    (tmp_path / "3_1.5.png").unlink()
    before = (tmp_path / "2_0.png").stat().st_mtime_ns
    assert cli.main(apply(faces, tmp_path)) == 0
    assert "1 pictures done, 0 passed over, 5 done before" in capfd.readouterr().out
    assert results(tmp_path) == whole
    assert (tmp_path / "2_0.png").stat().st_mtime_ns == before
    assert cli.main(apply(faces, tmp_path, "--guidance", "2")) == 2
    assert "holds results of other settings (guidance 1.5, not 2)" in capfd.readouterr().err


def test_a_run_that_made_nothing_holds_no_folder(no_loading, faces, tmp_path, capfd):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    assert cli.main(apply(broken, tmp_path / "out", "--steps", "2")) == 2
    assert cli.main(apply(faces / "1.png", tmp_path / "out", "--steps", "1")) == 0
    assert cli.main(apply(faces / "1.png", tmp_path / "out", "--steps", "2")) == 2
    assert "holds results of other settings (steps 1, not 2)" in capfd.readouterr().err


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_picture_that_comes_back_as_no_number_is_passed_over(no_loading, faces, tmp_path, monkeypatch, value):
    monkeypatch.setattr(inversion, "round_trip_psnr", lambda picture, rebuilt: torch.tensor([value]))
    assert cli.main(apply(faces / "1.png", tmp_path)) == 2
    (record,) = records(tmp_path).values()
    assert "finite number of decibels" in record["error"]
    assert record["results"] == []


def test_two_shares_are_one_run(no_loading, faces, whole, tmp_path, monkeypatch):
    assert cli.main(apply(faces, tmp_path, "--shard", "1/2")) == 0
    halfway = len(records(tmp_path))
    assert 0 < halfway < 6
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(apply(faces, tmp_path)) == 0
    assert results(tmp_path) == whole
    assert len(records(tmp_path)) == 6


def test_a_run_that_is_killed_goes_on_where_it_stood(faces, whole, tmp_path, monkeypatch):
    """Killed twice as a computer does it; processes are forked from one that has imported everything."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["singular_edit.commands.run", "singular_edit.demo.pipeline"])
    chance = random.Random(0)
    for enough in (1, 3, 6):
        process = context.Process(target=cli.main, args=(apply(faces, tmp_path),))
        process.start()
        while enough < 6 and process.is_alive() and len(list(tmp_path.glob("*.png"))) < 2 * enough - 1:
            time.sleep(0.01)
        if enough < 6:
            time.sleep(chance.uniform(0, 0.1))
            process.kill()
        process.join()
    assert process.exitcode == 0
    assert results(tmp_path) == whole
    assert len(records(tmp_path)) == 6


def test_a_mask_keeps_what_is_black(no_loading, faces, whole, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    half = Image.new("L", (64, 64), 0)
    half.paste(255, (0, 0, 64, 32))
    half.save(masks / "2.png")
    assert cli.main(apply(faces, tmp_path / "out", "--mask", str(masks))) == 2
    found = records(tmp_path / "out")
    assert found["2.png"]["error"] is None
    assert "has no mask" in found["1.png"]["error"]
    pixels = [np.asarray(Image.open(tmp_path / "out" / name), float) for name in found["2.png"]["results"]]
    changes = np.abs(pixels[1] - pixels[0]).mean(axis=(1, 2))
    # The norms of the VAE's decoder see the whole picture.
    assert changes[48:].mean() < 1 < changes[:32].mean()


def test_pictures_are_inverted(no_loading, faces, tmp_path):
    assert cli.main(["invert", str(faces / "1.png"), str(tmp_path), *FEW, "--prompt", "a face"]) == 0
    record = records(tmp_path)["1.png"]
    assert record["round_trip_db"] >= 100
    assert 15 < record["picture_db"] < 60
    noise = load_file(tmp_path / record["results"][1])
    assert noise["latents"].shape == (1, 4, 16, 16)
    assert len(noise["sigmas"]) == 4
    assert 0.3 < noise["latents"].std() / noise["sigmas"][0] < 1.7


def test_an_attribute_is_learned(no_loading, tmp_path, capfd):
    file = tmp_path / "glasses.safetensors"
    command = ["learn", "a face", "a face with glasses", "--method", "svd", "--effort", "quick", "--steps", "8"]
    assert cli.main([*command, "--name", "glasses", "--output", str(file)]) == 0
    assert "glasses: latent svd" in capfd.readouterr().out
    assert load_attribute(file).info["target_prompt"] == "a face with glasses"
    assert cli.main([*command, "--output", str(file)]) == 2
    assert "is there already" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["a face", ""], "TARGET is blank"),
        ([" ", "a hat"], "SOURCE is blank"),
        (["a face", "a hat", "--output", "taken/hat.safetensors"], "in the folder '{here}/taken' ("),
        (["a face", "a hat", "--output", f"{'a' * 255}.safetensors"], "File name too long"),
        (["a face", "a hat", "--name", "../hat"], "name is '../hat.safetensors'"),
    ],
)
def test_what_cannot_be_learned_is_said_before_the_model_is_loaded(tmp_path, capfd, monkeypatch, more, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ModelChoice, "open", None)
    (tmp_path / "taken").touch()
    assert cli.main(["learn", *more]) == 2
    assert sentence.format(here=tmp_path) in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    "text", ["a face: hat?", "1/2 face\n", " con ", "../..", "?", "\udcff", "h\u00fct" * 90, "NUL."]
)
def test_a_target_gives_a_name_that_files_can_have(tmp_path, text):
    name = file_name_of(text)
    assert check_file_name(name, "name") == name
    assert name.endswith(".safetensors")
    assert len(name.split("/")) == 1
    check_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_attribute_is_learned_from_pictures_of_a_folder(no_loading, faces, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a face_ with glasses.safetensors"
    command = ["learn", "a face", "a face: with glasses", "--effort", "quick", "--steps", "3"]
    assert cli.main([*command, "--pictures", str(tmp_path / "gone")]) == 2
    assert "does not exist" in capfd.readouterr().err
    many = tmp_path / "many"
    many.mkdir()
    for i in range(13):
        shutil.copy(faces / "1.png", many / f"{i}.png")
    assert cli.main([*command, "--pictures", str(many), "--method", "readout"]) == 2
    said = capfd.readouterr()
    assert "learns from what the model draws" in said.err
    assert "learned from the first 12 of 13 pictures" in said.out
    assert cli.main([*command, "--pictures", str(faces), "--size", "96x64"]) == 0
    said = capfd.readouterr().out
    assert "latent svd" in said
    assert "the first" not in said
    info = load_attribute(file).info
    assert (info["width"], info["height"]) == ("96", "64")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--model", "gone"], "there is no model_index.json"),
        (["--model", "gone.safetensors"], "there is no model_index.json"),
        (["--device", "toaster"], "device is 'toaster'"),
        (["--device", "meta"], "device is 'meta'"),
        (["--precision", "float8"], "precision is 'float8'"),
        (["--precision", "float16"], "embedded model unet is computed in float32 alone"),
        (["--config", "gone"], "only a .safetensors checkpoint takes one"),
        (["--model", str(readout_path("hat"))], "which is the file of an attribute"),
        (["--format", "psd"], "format is 'psd'"),
        (["--steps", "0"], "steps is 0"),
        (["--guidance", "nan"], "guidance is nan"),
        (["--guidance", "1e30"], "guidance is 1e+30; a number up to 100"),
        (["--max-pixels", "0"], "max-pixels is 0"),
        (["--strength", "inf"], "no finite number"),
        (["--mask", "gone.png"], "does not exist"),
        (["--shard", "3/2"], "shard is '3/2'"),
        (["--workers", "2"], "together with --ray"),
        (["--ray", "--shard", "1/2"], "one of them is accepted"),
    ],
)
def test_what_is_not_accepted_gets_a_sentence(no_loading, faces, tmp_path, capfd, more, sentence):
    assert cli.main(apply(faces, tmp_path / "out", *more)) == 2
    said = capfd.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_file_for_another_model_gets_a_sentence(faces, tmp_path, capfd):
    assert cli.main(apply(faces, tmp_path, "--model", "transformer")) == 2
    said = capfd.readouterr().err
    assert "singular-edit: 'hat'" in said
    assert "Traceback" not in said
