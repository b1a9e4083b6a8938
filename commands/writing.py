"""A result's file: with the metadata and the colour profile of its source, and written whole or not at all."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..backends.pipeline.pictures import Sides, pictures_of
from ..core.errors import EditError
from ..core.file_names import cannot_save
from .colour import fits, from_srgb
from .reading import DAMAGED, XMP_OF_PNG, Picture

# Pillow's name of a format, and how it is written. By hand: nobody sees what these lose.
FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", dict(quality=95, subsampling=0)),
    ".jpeg": ("JPEG", dict(quality=95, subsampling=0)),
    ".webp": ("WEBP", dict(quality=95)),
    ".tif": ("TIFF", dict(compression="tiff_adobe_deflate")),
    ".tiff": ("TIFF", dict(compression="tiff_adobe_deflate")),
}
XMP_OF_TIFF = 700


def encoded(edited: Image.Image, source: Picture, ending: str) -> bytes:
    """Return the bytes of an edited picture's file.

    Args:
        edited: What the model drew, in mode RGB and sRGB; what is transparent in the source is over white.
        source: What it was made of.
        ending: One of FORMATS, in letters of any size.

    Returns:
        The file, of 8 bit, with what the format takes of the source's metadata. It is grey where the source is, and
        transparent where the source is and the format can.
    """
    name, options = FORMATS[ending.lower()]
    picture = edited if source.grey else from_srgb(edited, source.profile)
    alpha = source.alpha
    if alpha is not None and name != "JPEG":
        picture = _above_white(picture, alpha)
    if source.grey and name != "WEBP":
        picture = picture.convert("LA" if picture.mode == "RGBA" else "L")
    options = {**options, "icc_profile": source.profile if fits(source.profile, picture.mode) else None}
    try:
        return _saved(picture, name, {**options, **_metadata(source, name)})
    except DAMAGED:
        # Metadata that the format has no room for, or that is damaged, is left out.
        return _saved(picture, name, options)


def _saved(picture: Image.Image, name: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def _above_white(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return what, above white, looks like a picture of mode RGB: in mode RGBA, as opaque as the source is.

    Args:
        picture: What it is to look like.
        alpha: How opaque the source is, in any size; it is fitted as the source was.
    """
    opaque = pictures_of(alpha.convert("RGB"), Sides(1, 1), picture.size)[0, 0].numpy()
    # What is less opaque than this is hardly seen, and its colours could not be told from rounding.
    shares = np.maximum(opaque, 1 / 32)[..., None]
    colours = 255 - (255 - np.asarray(picture, dtype=np.float32)) / shares
    pixels = np.concatenate([colours, 255 * opaque[..., None]], axis=-1)
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def _metadata(source: Picture, name: str) -> dict[str, Any]:
    """Return what a format's writer takes of a source's metadata."""
    taken: dict[str, Any] = {}
    if name == "TIFF" and source.xmp:
        exif = Image.Exif()
        exif.load(source.exif)
        exif[XMP_OF_TIFF] = source.xmp
        taken["exif"] = exif
    elif source.exif:
        taken["exif"] = source.exif
    if name == "TIFF" and "exif" in taken:
        taken["compression"] = None  # libtiff, which compresses, writes no directories of EXIF
    if source.dpi is not None and name != "WEBP":
        taken["dpi"] = source.dpi
    if source.xmp and name in ("JPEG", "WEBP"):
        taken["xmp"] = source.xmp
    if name == "JPEG" and "comment" in source.texts:
        taken["comment"] = source.texts["comment"]
    if name == "PNG":
        texts = PngImagePlugin.PngInfo()
        for key, text in source.texts.items():
            texts.add_itxt(key, str(text))
        if source.xmp:
            texts.add_itxt(XMP_OF_PNG, source.xmp.decode("utf-8", "replace"))
        taken["pnginfo"] = texts
    return taken


def write_whole(path: Path, data: bytes, workplace: Path) -> None:
    """Write a file, whole or not at all, also where the process is killed.

    Args:
        path: The file; missing folders are made.
        data: What it is to hold.
        workplace: A folder on the same disk, where it is written first.

    Raises:
        EditError: It cannot be written.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        workplace.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=workplace)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except (OSError, ValueError) as error:
        raise cannot_save(path.name, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def ending_of(name: str, asked: str | None) -> str:
    """Return the ending of a result's file.

    Args:
        name: The source's name.
        asked: The format that is asked for, or None for the source's own, where it can be written.

    Raises:
        EditError: There is no such format.
    """
    if asked is None:
        own = os.path.splitext(name)[1]
        return own if own.lower() in FORMATS else ".png"
    ending = "." + asked.lower().lstrip(".")
    if ending not in FORMATS:
        raise EditError(f"format is '{asked}'; {', '.join(one[1:] for one in FORMATS)} are accepted.")
    return ending
