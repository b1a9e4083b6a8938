"""Pictures and masks of any kind as batches that a pipeline takes."""

from __future__ import annotations

import io
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from singular_edit.backends.pipeline.masks import mask_of
from singular_edit.backends.pipeline.pictures import Sides, pictures_of, pil_pictures
from singular_edit.core import EditError

SIDES = Sides(native=64, multiple=8)
GREY = Image.new("RGB", (64, 64), (128, 128, 128))


def test_pil_pictures_go_there_and_back():
    values = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)) / 255
    images = pil_pictures(values)
    assert torch.equal(pictures_of(images, SIDES), values)
    assert torch.equal(pictures_of(values, SIDES), values)
    assert torch.equal(pictures_of(values[0], SIDES), values[:1])
    assert torch.equal(pictures_of([images[0], values[1]], SIDES), values)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_mode_of_a_grey_picture_is_grey(mode):
    picture = pictures_of(Image.new("RGB", (64, 64), "white").convert(mode), SIDES)
    assert picture.shape == (1, 3, 64, 64)
    assert (picture - 1).abs().max() < 0.01


def test_arrays_are_read_as_the_images_that_they_are_made_of():
    image = pil_pictures(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))[0]
    array = np.asarray(image)
    expected = pictures_of(image, SIDES)
    assert torch.equal(pictures_of(array, SIDES), expected)
    assert torch.equal(pictures_of([array, image], SIDES), expected.expand(2, -1, -1, -1))
    assert torch.allclose(pictures_of(array / 255, SIDES), expected)


@pytest.mark.parametrize(("grey", "largest"), [(64, 255), (255, 255), (16384, 65535), (65535, 65535)])
def test_mode_i_is_of_8_or_16_bit_by_its_largest_number(grey, largest):
    assert (pictures_of(Image.new("I", (64, 64), grey), SIDES) - grey / largest).abs().max() < 1e-6


def test_16_bit_and_transparent_pictures():
    deep = Image.fromarray((torch.full((64, 64), 0.25) * 65535).to(torch.uint16).numpy())
    assert (pictures_of(deep, SIDES) - 0.25).abs().max() < 1e-3
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    assert pictures_of(clear, SIDES).min() == 1


def test_a_photograph_is_turned_upright():
    picture = Image.new("RGB", (64, 32), "black")
    picture.paste("white", (0, 0, 32, 32))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.info["exif"] = exif.tobytes()
    upright = pictures_of(picture, SIDES, (32, 64))
    assert upright.shape == (1, 3, 64, 32)
    assert upright[..., :32, :].min() > 0.9
    assert upright[..., 32:, :].max() < 0.1


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((100, 200), None, (48, 88)),  # 64 * 64 pixels, 1 : 2
        ((100, 200), 128, (64, 128)),
        ((100, 200), (48, 32), (32, 48)),
        ((5, 5), None, (64, 64)),
        ((64, 64), None, (64, 64)),
    ],
)
def test_sizes(shape, size, expected):
    assert pictures_of(torch.rand(3, *shape), SIDES, size).shape[-2:] == expected


def test_the_middle_is_kept_where_the_aspect_differs():
    picture = torch.zeros(3, 64, 192)
    picture[..., 64:128] = 1
    assert pictures_of(picture, SIDES, (64, 64)).min() > 0.99


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        ("a.png", "a picture is str"),
        (255 * torch.ones(3, 8, 8), "numbers from 255 to 255"),
        (torch.full((3, 8, 8), float("nan")), "numbers from nan"),
        (torch.rand(8, 8), "a tensor of shape"),
        ([torch.rand(3, 64, 64), torch.rand(3, 64, 128)], "come out in different sizes"),
        ([], "pictures holds no picture; one or more are accepted"),
        (5, "a picture is int"),
        (torch.rand(0, 3, 8, 8), "a tensor of shape"),
        (np.zeros((8, 8)), "an array of shape"),
        (np.zeros((8, 8, 3), np.int64), "and type int64"),
        (np.full((8, 8, 3), 2.0), "numbers from 2 to 2"),
        (Image.new("F", (8, 8), 1.0), "a PIL image of mode F"),
        (Image.new("I", (8, 8), 70000), "mode I holds numbers from 70000 to 70000"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(picture, sentence):
    with pytest.raises(EditError, match=sentence):
        pictures_of(picture, SIDES)


def test_a_file_that_is_cut_off_gets_a_sentence():
    file = io.BytesIO()
    pil_pictures(torch.rand(1, 3, 64, 64))[0].save(file, "png")
    cut = Image.open(io.BytesIO(file.getvalue()[:4000]))
    with pytest.raises(EditError, match=r"a picture cannot be read .* a whole picture is accepted"):
        pictures_of(cut, SIDES)
    with pytest.raises(EditError, match="a mask cannot be read"):
        mask_of(Image.open(io.BytesIO(file.getvalue()[:4000])), (8, 8))


def test_pictures_are_read_one_after_the_other():
    """Photographs of a camera would fill the memory."""
    alive = []

    def photographs():
        for _ in range(4):
            photograph = torch.zeros(3, 640, 640)
            alive.append(weakref.ref(photograph))
            assert sum(one() is not None for one in alive) <= 2
            yield photograph
            del photograph

    assert len(pictures_of(photographs(), SIDES)) == 4


@pytest.mark.parametrize(
    "size", [10**400, 0, -1, (0, 5), "large", (1, 2, 3), ("64", "64"), True, 64.0, (64, None), "64"]
)
def test_what_is_no_size_gets_a_sentence(size):
    with pytest.raises(EditError, match="size is"):
        pictures_of(GREY, SIDES, size)


@pytest.mark.parametrize("size", [np.int64(32), [32, 32], (np.int64(32), 32), np.array([32, 32]), torch.tensor(32)])
def test_whole_numbers_of_any_library_are_sizes(size):
    assert pictures_of(GREY, SIDES, size).shape[-2:] == (32, 32)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((70, 50), "size (70, 50) becomes 72 x 48"),
        (70, "size 70 becomes 72 x 72"),
        ((64, 48), ""),
        (64, ""),
        (None, ""),
    ],
)
def test_a_size_that_is_rounded_is_said_once(size, said, caplog):
    with caplog.at_level("INFO", "singular_edit"):
        pictures_of([GREY, GREY], SIDES, size)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == bool(said)
    assert all(said in message for message in messages)


def test_masks():
    white = Image.new("L", (32, 32), 255)
    assert torch.equal(mask_of(white, (8, 8)), torch.ones(1, 1, 8, 8))
    half = torch.zeros(16, 16)
    half[:8] = 1
    assert torch.equal(mask_of(half, (2, 2)), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))
    assert mask_of(torch.rand(3, 1, 16, 16), (4, 4)).shape == (3, 1, 4, 4)
    assert mask_of(None, (4, 4)) is None


@pytest.mark.parametrize(
    "mask",
    [
        Image.new("RGBA", (16, 16), "white"),
        Image.new("I;16", (16, 16), 65535),
        Image.new("I", (16, 16), 255),
        np.ones((16, 16)),
        np.ones((16, 16), bool),
        np.ones((16, 16), np.uint8),
        np.full((16, 16), 255, np.uint8),
    ],
)
def test_white_of_any_kind_is_1(mask):
    assert torch.equal(mask_of(mask, (8, 8)), torch.ones(1, 1, 8, 8))


def test_a_grey_mask_of_16_bit_is_grey():
    assert (mask_of(Image.new("I;16", (16, 16), 20000), (8, 8)) - 20000 / 65535).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.full((8, 8), 255, dtype=torch.uint8), "a mask holds numbers from 255 to 255"),
        (torch.full((8, 8), 2.0), "a mask holds numbers from 2 to 2"),
        (torch.full((8, 8), float("nan")), "a mask holds numbers from nan"),
        (Image.new("F", (8, 8), 1.0), "a mask is a PIL image of mode F"),
        (torch.ones(8), "a mask is a tensor of shape"),
        (torch.ones(2, 3, 8, 8), "a mask is a tensor of shape"),
        (torch.ones(0, 8), "a mask is a tensor of shape"),
        (np.ones((8, 8, 3)), "a mask is an array of shape"),
        ("a.png", "a mask is str"),
    ],
)
def test_what_is_no_mask_gets_a_sentence(mask, sentence):
    with pytest.raises(EditError, match=sentence):
        mask_of(mask, (8, 8))


def test_a_mask_of_the_pictures_own_size_marks_what_it_marks_there():
    """What is white in both is white at the same place when the picture was cut to a square."""
    picture = torch.zeros(3, 64, 128)
    picture[..., 32:64] = 1
    drawn = pictures_of(picture, SIDES, (64, 64))
    for mask in (picture[0], pil_pictures(picture[None])[0]):
        assert torch.equal(mask_of(mask, (8, 8))[0, 0], mask_of(drawn[0, 0], (8, 8))[0, 0])
    assert mask_of(picture[0], (8, 8))[0, 0, 0].tolist() == [1.0] * 4 + [0.0] * 4


def test_a_picture_as_narrow_as_one_pixel_is_still_one():
    assert pictures_of(torch.ones(3, 100, 1), SIDES, (64, 64)).min() > 0.99
