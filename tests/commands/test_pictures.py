"""Pictures as people have them: what is read of a file, and what a result keeps of it."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from helpers.picture_files import HOSTILE, write_hostile, write_kinds
from PIL import Image, ImageCms
from singular_edit.commands.colour import from_srgb, space_of, to_srgb
from singular_edit.commands.reading import Picture, read_picture
from singular_edit.commands.writing import FORMATS, encoded, write_whole
from singular_edit.core import EditError

SIDE = 64


def drawn() -> Image.Image:
    """A picture that is another one when turned or mirrored."""
    across, down = np.meshgrid(np.linspace(0, 255, SIDE), np.linspace(0, 255, SIDE))
    pixels = np.stack([across, down, np.where(across > 3 * down, 255, 40)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures")
    write_kinds(path, drawn())
    return path


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a.convert("RGB"), float) - np.asarray(b.convert("RGB"), float)).mean())


def again(picture: Picture, ending: str, edited: Image.Image | None = None) -> Image.Image:
    """The result's file, opened."""
    if edited is None:
        edited = Image.fromarray(np.array(picture.image.convert("RGB")))
    return Image.open(io.BytesIO(encoded(edited, picture, ending)))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile")
    write_hostile(path, drawn())
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_whole_picture_gets_a_sentence(hostile, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EditError, match=HOSTILE[name]) as said:
            read_picture(hostile / name)
    assert f"'{name}'" in str(said.value)
    assert "\n" not in str(said.value)


def test_the_largest_picture_is_as_asked(folder):
    with pytest.raises(EditError, match="more with --max-pixels"):
        read_picture(folder / "odd.webp", max_pixels=101 * 77 - 1)
    assert read_picture(folder / "odd.webp", max_pixels=101 * 77).image.size == (101, 77)


def test_a_turned_photograph_comes_upright_and_keeps_its_metadata(folder):
    picture = read_picture(folder / "sub" / "turned.JPG")
    assert difference(picture.image, drawn()) < 6
    for ending in (".jpg", ".png", ".webp", ".tif"):
        result = again(picture, ending)
        exif = result.getexif()
        assert exif[0x8298] == "me"
        assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
        assert exif.get(0x0112, 1) == 1
        assert difference(result, drawn()) < 8
    jpeg = again(picture, ".jpg").info
    assert jpeg["dpi"] == (300, 300)
    assert jpeg["xmp"] == b"<x:xmpmeta/>"
    assert jpeg["comment"] == b"a comment"
    assert again(picture, ".png").text["XML:com.adobe.xmp"] == "<x:xmpmeta/>"
    assert again(picture, ".tif").tag_v2[700] == b"<x:xmpmeta/>"


def test_metadata_that_a_format_has_no_room_for_is_left_out(folder):
    picture = replace(read_picture(folder / "sub" / "turned.JPG"), xmp=bytes(200_000))
    result = again(picture, ".jpg")
    assert "xmp" not in result.info
    assert difference(result, drawn()) < 8


def test_a_cut_out_stays_one_and_looks_as_it_was_edited(folder):
    picture = read_picture(folder / "cut out.png")
    edited = drawn().rotate(180)
    white = Image.new("RGB", edited.size, "white")
    alpha = picture.alpha
    shown = Image.composite(edited, white, alpha)
    result = again(picture, ".png", shown)
    assert result.mode == "RGBA"
    assert np.array_equal(np.asarray(result.getchannel("A")), np.asarray(alpha))
    above = Image.alpha_composite(white.convert("RGBA"), result)
    assert difference(above, shown) < 1
    assert difference(again(picture, ".jpg", shown), shown) < 5


def test_grey_stays_grey_and_keeps_16_bit_on_the_way_in(folder):
    for name in ("deep.png", "grey.jpg"):
        picture = read_picture(folder / name)
        assert again(picture, ".png", drawn()).mode == "L"
        assert again(picture, ".webp", drawn()).mode == "RGB"
    deep = read_picture(folder / "deep.png").image
    assert np.asarray(deep).max() > 255


def test_a_press_picture_becomes_rgb(folder):
    picture = read_picture(folder / "press.tif")
    assert difference(picture.image, drawn()) < 2
    assert {again(picture, ending).mode for ending in FORMATS} == {"RGB"}


def wide_gamut() -> bytes:
    """sRGB's profile with red and green swapped, and no name: a space of its own."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = profile[green : green + 4], profile[red : red + 4]
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


def test_a_picture_is_edited_in_srgb_and_written_in_its_own_profile(tmp_path):
    profile = wide_gamut()
    assert space_of(profile) == "RGB"
    drawn().save(tmp_path / "wide.png", icc_profile=profile)
    picture = read_picture(tmp_path / "wide.png")
    swapped = Image.merge("RGB", [drawn().getchannel(band) for band in (1, 0, 2)])
    assert difference(picture.image, swapped) < 2
    result = again(picture, ".png")
    assert result.info["icc_profile"] == profile
    assert difference(result, drawn()) < 2


def test_a_damaged_profile_changes_nothing_and_is_left_out(tmp_path):
    for profile in (b"damaged", wide_gamut()[:200]):
        assert difference(to_srgb(drawn(), profile), drawn()) == 0
        assert difference(from_srgb(drawn(), profile), drawn()) == 0
        drawn().save(tmp_path / "a.png", icc_profile=profile)
        assert "icc_profile" not in again(read_picture(tmp_path / "a.png"), ".png").info


def test_a_seed_is_of_the_bytes_and_of_the_seed(folder):
    grey, odd = (read_picture(folder / name) for name in ("grey.jpg", "odd.webp"))
    assert len({grey.seed(0), grey.seed(1), odd.seed(0)}) == 3
    assert grey.seed(0) == read_picture(folder / "grey.jpg").seed(0)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "out" / "a.png", b"all of it", tmp_path / "work")
    assert (tmp_path / "out" / "a.png").read_bytes() == b"all of it"
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(EditError, match="cannot be saved"):
        write_whole(tmp_path / "folder.png", b"data", tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
