"""Draw the pack's icon and banner for the registry: ``python docs/icon_and_banner.py``.

Both show faces of the embedded renderer, half without and half with an attribute, over a slider. They are drawings, not
results: pictures that the model edited are in docs/gallery.md.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from singular_edit.demo.faces import Faces, render, sample
from torch import Tensor

IMAGES = Path(__file__).parent / "images"
ICON = 256
BANNER = (1260, 540)  # 21:9
TITLE, LINES = "Singular Edit", ("Say it in two prompts.", "Slide it on your picture.")
NIGHT, PALE, MIST, SUN = (24, 26, 40), (245, 245, 250), (176, 180, 204), (255, 196, 61)
FINE = 4  # each edge is drawn this many times larger, and is smooth when the drawing is reduced

# Seed, attribute and the background's hue of each face of the banner; the icon shows the first one.
CARDS = ((50_021, "glasses", 0.62), (50_034, "smile", 0.5), (50_026, "hat", 0.72))
PLACE = 0.5  # where a slider stands and its face is divided
CARD, GAP, RIGHT, TOP = 236, 22, 48, 104
ZOOM = 1.3  # of the icon's face, so that its glasses are seen where the icon is small


def main() -> None:
    """Write both pictures."""
    IMAGES.mkdir(exist_ok=True)
    icon().quantize(128, dither=Image.Dither.NONE).save(IMAGES / "icon.png", optimize=True)
    banner().quantize(256, dither=Image.Dither.NONE).save(IMAGES / "banner.png", optimize=True)


def icon() -> Image.Image:
    """Draw the icon: one face, half of it with glasses."""
    seed, attribute, hue = CARDS[0]
    size = ICON * FINE
    drawing = Image.new("RGBA", (size, size), NIGHT)
    large = round(size * ZOOM)
    drawing.paste(split_face(seed, attribute, hue, large), ((size - large) // 2, round(-0.19 * large)))
    draw = ImageDraw.Draw(drawing)
    draw.rectangle((0, size * 0.79, size, size), fill=NIGHT)
    draw.rectangle((size * PLACE - size // 100, 0, size * PLACE + size // 100, size * 0.79), fill=PALE)
    slider(draw, (size * 0.12, size * 0.88), size * 0.76, size * 0.075)
    drawing.putalpha(rounded(drawing.size, size // 7))
    return drawing.resize((ICON, ICON), Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """Draw the banner: the pack's name, and three faces with a slider each."""
    width, height = (side * FINE for side in BANNER)
    drawing = Image.new("RGB", (width, height), NIGHT)
    draw = ImageDraw.Draw(drawing)
    left = 56 * FINE
    draw.text((left, 196 * FINE), TITLE, PALE, ImageFont.load_default(62 * FINE), anchor="ls")
    for line, text in enumerate(LINES):
        draw.text((left, (262 + 42 * line) * FINE), text, MIST, ImageFont.load_default(29 * FINE), anchor="ls")
    size = CARD * FINE
    for index, (seed, attribute, hue) in enumerate(CARDS):
        x = width - RIGHT * FINE - (len(CARDS) - index) * size - (len(CARDS) - 1 - index) * GAP * FINE
        y = TOP * FINE
        face = split_face(seed, attribute, hue, size)
        line = ImageDraw.Draw(face)
        line.rectangle((size * PLACE - size // 120, 0, size * PLACE + size // 120, size), fill=PALE)
        drawing.paste(face, (x, y), rounded(face.size, size // 12))
        slider(draw, (x + size * 0.06, y + size * 1.14), size * 0.88, size * 0.055)
        draw.text((x + size / 2, y + size * 1.36), attribute, MIST, ImageFont.load_default(26 * FINE), anchor="ms")
    return drawing.resize(BANNER, Image.Resampling.LANCZOS)


def split_face(seed: int, attribute: str, hue: float, size: int) -> Image.Image:
    """Draw a face that looks straight ahead: without the attribute left of PLACE, with it right."""
    faces = sample([seed])
    straight = dict(shift_x=0.5, shift_y=0.5, roll=0.5, yaw=0.5)
    flat = dict(background_hue=hue, background_light=0.55, background_slope=0.5)
    for name, value in (straight | flat | dict(hat_color=0.05)).items():
        faces = faces.with_free(name, value)
    faces = Faces(faces.u, torch.zeros_like(faces.attributes))
    without, having = (picture(render(faces.with_attributes(**{attribute: on}), size=size)) for on in (False, True))
    edge = round(size * PLACE)
    without.paste(having.crop((edge, 0, size, size)), (edge, 0))
    return without


def picture(rendered: Tensor) -> Image.Image:
    """Return a rendered face [1, 3, H, W] as a picture."""
    return Image.fromarray((rendered[0].permute(1, 2, 0) * 255).round().byte().numpy())


def slider(draw: ImageDraw.ImageDraw, start: tuple[float, float], length: float, radius: float) -> None:
    """Draw a slider whose knob stands at PLACE."""
    (x, y), half = start, radius * 0.3
    knob = x + length * PLACE
    draw.rounded_rectangle((x, y - half, x + length, y + half), half, fill=MIST)
    draw.rounded_rectangle((x, y - half, knob, y + half), half, fill=SUN)
    draw.ellipse((knob - radius, y - radius, knob + radius, y + radius), fill=SUN)


def rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """Return a mask of a rectangle with round corners."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, fill=255)
    return mask


if __name__ == "__main__":
    main()
