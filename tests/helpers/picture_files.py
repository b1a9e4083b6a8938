"""Pictures as people have them, as files, and files that are none."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

# Names of files that are passed over, and a word of the sentence that says why.
HOSTILE = {
    "a text.jpg": "cannot identify",
    "cut short.jpg": "cannot be read",
    "cut short.png": "cannot be read",
    "empty.png": "cannot identify",
    "gone.png": "No such file",
    "huge.png": "20000 x 20000 pixels",
    "moving.gif": "holds 2 pictures",
    "numbers.tif": "floating point",
    "pipe.png": "is no file",
    "strip.png": "4 x 400 pixels",
}


def file_of(picture: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    return buffer.getvalue()


def write_hostile(folder: Path, picture: Image.Image) -> None:
    """Write all of HOSTILE."""
    (folder / "a text.jpg").write_text("a face with a hat")
    (folder / "cut short.jpg").write_bytes(file_of(picture, "JPEG")[:500])
    (folder / "cut short.png").write_bytes(file_of(picture, "PNG")[:200])
    (folder / "empty.png").touch()
    (folder / "gone.png").symlink_to("nowhere")
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(90)])
    Image.new("F", (64, 64)).save(folder / "numbers.tif")
    os.mkfifo(folder / "pipe.png")
    Image.new("RGB", (4, 400)).save(folder / "strip.png")


def write_kinds(folder: Path, picture: Image.Image) -> list[str]:
    """Write a picture in many forms; return the names."""
    (folder / "sub").mkdir(exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x8298] = "me"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    described = dict(exif=exif, dpi=(300, 300), xmp=b"<x:xmpmeta/>", comment="a comment")
    picture.rotate(90).save(folder / "sub" / "turned.JPG", quality=95, **described)
    cut_out = picture.convert("RGBA")
    alpha = Image.new("L", picture.size, 0)
    alpha.paste(255, (8, 8, 56, 56))
    alpha.paste(128, (8, 8, 16, 56))
    cut_out.putalpha(alpha)
    cut_out.save(folder / "cut out.png")
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    picture.convert("CMYK").save(folder / "press.tif")
    picture.convert("L").save(folder / "grey.jpg", quality=95)
    picture.resize((101, 77)).save(folder / "odd.webp")
    picture.convert("P").save(folder / "palette.gif")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
