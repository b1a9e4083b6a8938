"""A picture's file, as people have them: turned, transparent, 16 bit, CMYK, grey, huge, cut short, or no picture."""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..core.errors import EditError, plain_text
from .colour import to_srgb

# Pixels of the largest picture that is read, if the command line does not say otherwise; Pillow's own limit.
MAX_PIXELS = 89_478_485
# The longest side over the shortest one; what is longer would be cut off to a strip of it.
MAX_ASPECT = 8
# What Pillow raises for files and for metadata that are damaged.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    MemoryError,
    Image.DecompressionBombError,
)
# A phone's picture holds a second one for depth or size; its first one is the picture.
SEVERAL_IN_ONE = ("MPO",)
# Tags of EXIF that describe how a file's pixels lie, and so belong to no other file.
LAYOUT_TAGS = {*range(254, 260), 262, 263, 266, 273, 274, *range(277, 281), 284, *range(317, 326), *range(330, 348)}
LAYOUT_TAGS |= {512, 513, 514, *range(519, 533), 700, 34377, 34675}
# Tags with directories of their own, of the camera and of the place; and what in these means the file: how many pixels
# it has, where in it another directory lies, and what only the camera's maker can read.
DIRECTORIES = (0x8769, 0x8825)
OF_THE_FILE = (0xA002, 0xA003, 0xA005, 0x927C)
XMP_OF_PNG = "XML:com.adobe.xmp"


@dataclass(frozen=True)
class Picture:
    """A picture of a file, and what its edits keep of the file.

    Attributes:
        image: Upright, as singular_edit.attach takes it: RGB in sRGB, or grey of 8 or 16 bit; with alpha, where it has.
        digest: SHA-256 of the file's bytes.
        grey: Whether it has no colours.
        profile: Its colour profile.
        exif: Its EXIF without what a new file says anew.
        xmp: Its XMP.
        dpi: Its dots an inch.
        texts: A PNG's texts, and a JPEG's comment as "comment".
    """

    image: Image.Image
    digest: bytes
    grey: bool = False
    profile: bytes | None = None
    exif: bytes = b""
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def alpha(self) -> Image.Image | None:
        """How opaque each pixel is, in mode L; None where all are."""
        if "A" not in self.image.getbands() and "transparency" not in self.image.info:
            return None
        return self.image.convert("RGBA").getchannel("A")

    def seed(self, seed: int) -> int:
        """Return a seed of this picture's own, by its bytes and the seed that the user sees."""
        return int.from_bytes(sha256(self.digest + str(seed).encode()).digest()[:4], "big")


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture.

    Args:
        path: Its file.
        max_pixels: Pixels that it may have.

    Returns:
        The picture.

    Raises:
        EditError: The file is no picture, is damaged, or holds one that is too large, too long, or of another kind.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise EditError(f"'{plain_text(path.name)}' is no file; a file with one picture is accepted.")
        data = path.read_bytes()
        with _any_size():
            image: Image.Image = Image.open(io.BytesIO(data))
            _check(image, path.name, max_pixels)
            image.load()
    except EditError:
        raise
    except DAMAGED as error:
        reason = plain_text(getattr(error, "strerror", None) or _without_buffer(error))
        raise EditError(
            f"'{plain_text(path.name)}' cannot be read as a picture ({reason}); a whole picture is accepted."
        ) from error
    exif = _exif_of(image)
    profile, info = image.info.get("icc_profile"), image.info
    texts = {key: text for key, text in getattr(image, "text", {}).items() if key != XMP_OF_PNG}
    if isinstance(info.get("comment"), bytes | str):
        comment = info["comment"]
        texts["comment"] = comment.decode("utf-8", "replace") if isinstance(comment, bytes) else comment
    xmp = info.get("xmp") or info.get(XMP_OF_PNG)
    upright = _upright(image)
    return Picture(
        _plain(upright, profile),
        sha256(data).digest(),
        grey=image.mode.split(";")[0] in ("1", "L", "LA", "La", "I"),
        profile=profile,
        exif=exif,
        xmp=xmp.encode() if isinstance(xmp, str) else xmp,
        dpi=_dpi_of(info),
        texts=texts,
    )


@contextmanager
def _any_size() -> Iterator[None]:
    """Switch Pillow's own limit off, which warns before it refuses."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check(image: Image.Image, name: str, max_pixels: int) -> None:
    """Raise an EditError for a picture that is not read further; nothing but its header was read yet."""
    width, height = image.size
    label = plain_text(name)
    if width * height > max_pixels:
        raise EditError(
            f"'{label}' has {width} x {height} pixels; {max_pixels} pixels are accepted, or more with --max-pixels."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise EditError(
            f"'{label}' has {width} x {height} pixels; sides of which one is at most {MAX_ASPECT} times the other are "
            "accepted."
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in SEVERAL_IN_ONE:
        raise EditError(f"'{label}' holds {frames} pictures; a file with one picture is accepted.")
    if image.mode == "F":
        raise EditError(f"'{label}' has pixels of floating point; 8 or 16 bit are accepted.")


def _plain(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a picture in modes that are edited as they are: RGB, RGBA, L, LA, or grey of 16 bit."""
    if image.mode in ("L", "LA") or image.mode.startswith("I"):
        return image
    if image.mode == "CMYK":
        return to_srgb(image, profile)
    if "A" in image.getbands() or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        plain = to_srgb(with_alpha.convert("RGB"), profile)
        plain.putalpha(with_alpha.getchannel("A"))
        return plain
    return to_srgb(image.convert("RGB"), profile)


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; damaged EXIF says nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except DAMAGED:
        return image


def _exif_of(image: Image.Image) -> bytes:
    """Return a picture's EXIF without what belongs to its file alone; damaged EXIF is left out."""
    exif = Image.Exif()
    try:
        found = image.getexif()
        for tag, value in found.items():
            if tag in DIRECTORIES:
                own = {key: one for key, one in found.get_ifd(tag).items() if key not in OF_THE_FILE}
                exif[tag] = own
            elif tag not in LAYOUT_TAGS:
                exif[tag] = value
        return exif.tobytes() if len(exif) else b""
    except DAMAGED:
        return b""


def _dpi_of(info: dict[Any, Any]) -> tuple[float, float] | None:
    """Return the dots an inch, where a file says them in two numbers."""
    try:
        across, down = (float(number) for number in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1e5 and 0 < down < 1e5 else None


def _without_buffer(error: BaseException) -> str:
    """Return what an error says, without the address of the memory that the file was read into."""
    return str(error).split("<_io.")[0].strip() or type(error).__name__
