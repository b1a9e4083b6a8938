"""Pictures and masks of any kind as batches that a pipeline takes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from singular_edit.backends.pipeline.pictures import Sides, mask_of, pictures_of, pil_pictures
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
        ([], "a picture is list"),
    ],
)
def test_what_is_no_picture_gets_a_sentence(picture, sentence):
    with pytest.raises(EditError, match=sentence):
        pictures_of(picture, SIDES)


@pytest.mark.parametrize("size", [0, -1, (0, 5), "large", (1, 2, 3)])
def test_what_is_no_size_gets_a_sentence(size):
    with pytest.raises(EditError, match="size is"):
        pictures_of(GREY, SIDES, size)


def test_masks():
    white = Image.new("L", (32, 32), 255)
    assert torch.equal(mask_of(white, (8, 8)), torch.ones(1, 1, 8, 8))
    half = torch.zeros(16, 16)
    half[:8] = 1
    assert torch.equal(mask_of(half, (2, 2)), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))
    assert mask_of(torch.rand(3, 1, 16, 16), (4, 4)).shape == (3, 1, 4, 4)
    assert mask_of(None, (4, 4)) is None
