"""An edit's change on pictures at their own sizes, by the library and on the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.folder_commands import records
from PIL import Image
from singular_edit.core import EditError
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.faces import render

pytest.importorskip("diffusers")

STEPS = 4


def photograph(seed: int, size: tuple[int, int], *, hat: bool = False) -> Image.Image:
    """A face at another size, with detail that its drawing of 64 pixels has not."""
    from singular_edit.backends.pipeline.pictures import pil_pictures

    face = np.asarray(pil_pictures(render(seed, hat=hat))[0].resize(size)).astype(int)
    grain = np.random.default_rng(seed).integers(-9, 10, face.shape)
    return Image.fromarray((face + grain).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def edit():
    import singular_edit
    from singular_edit.demo import pipeline

    with singular_edit.attach(pipeline.load_pipeline()) as edit:
        yield edit


@pytest.fixture(scope="module")
def photographs():
    return [photograph(50_001, (200, 200)), photograph(50_002, (151, 151))]


@pytest.fixture(scope="module")
def code(edit, photographs):
    return edit.invert(photographs, "a face", steps=STEPS)


@pytest.fixture(scope="module")
def hat(edit):
    return edit.load(readout_path("hat"))


def test_pictures_keep_their_sizes_and_what_is_not_edited(edit, code, hat, photographs):
    unedited, edited = edit(code, hat, strengths=[0, 1.5], on_original=photographs)
    drawn = edit(code, hat, strengths=[0, 1.5], output_type="pt")
    for index, before in enumerate(photographs):
        assert np.array_equal(np.asarray(unedited[index]), np.asarray(before))
        assert edited[index].size == before.size
        moved = (np.asarray(edited[index]).astype(float) - np.asarray(before)) / 255
        wanted = torch.nn.functional.interpolate((drawn[1] - drawn[0])[index : index + 1], size=moved.shape[:2])
        both = np.stack([moved.ravel(), wanted[0].movedim(0, -1).numpy().ravel()])
        assert np.corrcoef(both)[0, 1] > 0.8


def test_a_mask_says_where_pictures_may_change(edit, code, hat, photographs):
    """Outside of it, by two places of the latent, a picture is as it was bit for bit."""
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    images = edit(code, {hat: 1.5}, mask=mask, on_original=photographs)
    for image, before in zip(images, photographs, strict=True):
        moved = np.abs(np.asarray(image).astype(int) - np.asarray(before))
        assert moved[:, : before.width // 4].max() == 0
        assert moved.max() > 50


def test_what_a_picture_has_already_is_not_given_it_twice(edit, hat, photographs):
    """An absolute strength of 0 takes the hat away, so that it is not the unedited picture."""
    wearing = photograph(50_001, (200, 200), hat=True)
    code = edit.invert(wearing, "a face", steps=STEPS)
    removed, there = edit(code, hat, strengths=[0, 1], absolute=True, on_original=wearing)
    assert np.array_equal(np.asarray(there[0]), np.asarray(wearing))
    assert np.abs(np.asarray(removed[0]).astype(int) - np.asarray(wearing)).max() > 25


def test_tensors_of_one_size_are_a_batch_and_of_several_a_list(edit, code, photographs):
    several = edit(code, on_original=photographs, output_type="pt")
    assert [tuple(one.shape) for one in several] == [(1, 3, 200, 200), (1, 3, 151, 151)]
    same = edit(code, on_original=[photographs[0]] * 2, output_type="pt")
    assert same.shape == (2, 3, 200, 200)


def test_what_does_not_fit_gets_a_sentence(edit, code, photographs):
    with pytest.raises(EditError, match="on_original holds 1 pictures but code is of 2"):
        edit(code, on_original=photographs[0])
    with pytest.raises(EditError, match="on_original holds no picture"):
        edit(code, on_original=[])
    with pytest.raises(EditError, match="output_type is 'latent' but on_original makes pictures"):
        edit(code, on_original=photographs, output_type="latent")


def test_the_command_line_writes_pictures_of_their_own_size(tmp_path, photographs):
    from singular_edit import cli

    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    photographs[0].crop((0, 0, 200, 180)).save(source / "a.png")
    asked = ["--on-original", "--steps", str(STEPS), "--strength", "0", "1.5"]
    assert cli.main(["apply", "hat", str(source), str(target), *asked]) == 0
    (record,) = records(target).values()
    plain, edited = (np.asarray(Image.open(target / name)) for name in record["results"])
    assert record["size"] == [200, 180]
    before = np.asarray(photographs[0])[:180]
    assert np.array_equal(plain, before)
    assert not np.array_equal(edited, before)
