"""A procedural renderer of faces with named attributes and exact counterfactuals.

A face is a row of uniform numbers (its free parameters: skin, hair, background, pose, ...) and four booleans (its
attributes). Everything free is drawn *before* the attributes, so that switching an attribute leaves the rest of the
face untouched: ``render(faces.with_attributes(hat=True))`` is the true edited picture that no photograph can give.

Shapes are signed distances on the plane [-1, 1]^2 (y down), antialiased over one pixel, painted back to front. Plain
numbers in the painting functions are lengths on that plane, or factors of a colour.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import torch
from torch import Tensor

ATTRIBUTES = ("smile", "glasses", "hat", "beard")
PREVALENCE = 0.4
SIZE = 64

# One uniform number per name; the order is part of the meaning of a seed.
FREE = (
    "skin", "hair", "hair_shade", "hair_length", "background_hue", "background_light", "background_slope",
    "shirt_hue", "shirt_light", "shift_x", "shift_y", "roll", "yaw", "width", "height", "eye_spacing", "eye_size",
    "iris", "brow", "nose", "mouth_width", "hat_color",
)  # fmt: skip

# Parameters that show only while their attribute is on, with the values a counterfactual is compared over.
OWN_PARAMETERS = {"hat": ("hat_color", (0.1, 0.3, 0.5, 0.7, 0.9))}

SKIN = ((0.97, 0.84, 0.74), (0.92, 0.74, 0.60), (0.79, 0.58, 0.43), (0.62, 0.43, 0.31), (0.48, 0.32, 0.23))
HAIR = ((0.10, 0.08, 0.08), (0.27, 0.17, 0.10), (0.50, 0.24, 0.11), (0.80, 0.64, 0.30), (0.58, 0.58, 0.60))
IRIS = ((0.20, 0.13, 0.08), (0.20, 0.38, 0.62), (0.24, 0.45, 0.25))
HAT = ((0.78, 0.16, 0.17), (0.15, 0.32, 0.68), (0.12, 0.50, 0.30), (0.95, 0.76, 0.16), (0.45, 0.20, 0.55))


@dataclass(frozen=True)
class Faces:
    """Faces as numbers, before they are painted.

    Attributes:
        u: The free parameters, uniform in [0, 1), [B, len(FREE)].
        attributes: Which attributes each face has: booleans in ATTRIBUTES order, [B, 4].
    """

    u: Tensor
    attributes: Tensor

    def __len__(self) -> int:
        return self.u.shape[0]

    def __getitem__(self, rows: slice | Tensor | list[int]) -> Faces:
        return Faces(self.u[rows], self.attributes[rows])

    def names(self) -> list[list[str]]:
        """Return the names of the attributes that each face has."""
        return [list(compress(ATTRIBUTES, row)) for row in self.attributes]

    def free(self, name: str) -> Tensor:
        """Return one free parameter, shaped [B, 1, 1] for painting."""
        return self.u[:, FREE.index(name), None, None]

    def has(self, name: str) -> Tensor:
        """Return 1.0 where a face has the attribute and 0.0 where not, shaped [B, 1, 1] for painting."""
        return self.attributes[:, _attribute_index(name), None, None].to(self.u.dtype)

    def with_attributes(self, **values: bool | None) -> Faces:
        """Return the same faces with attributes switched on or off; None leaves one as it is.

        Raises:
            ValueError: The renderer does not know an attribute.
        """
        attributes = self.attributes.clone()
        for name, value in values.items():
            if value is not None:
                attributes[:, _attribute_index(name)] = bool(value)
        return replace(self, attributes=attributes)

    def with_free(self, name: str, value: float) -> Faces:
        """Return the same faces with one free parameter set, in [0, 1)."""
        u = self.u.clone()
        u[:, FREE.index(name)] = value
        return replace(self, u=u)


def _attribute_index(name: str) -> int:
    """Return the attribute's column; raise ValueError for one that the renderer does not know."""
    if name not in ATTRIBUTES:
        raise ValueError(f"Unknown attribute '{name}': the renderer knows {', '.join(ATTRIBUTES)}.")
    return ATTRIBUTES.index(name)


def sample(seeds: Iterable[int]) -> Faces:
    """Draw one face per seed; each attribute is on with probability PREVALENCE, independently."""
    generator = torch.Generator()
    rows = [torch.rand(len(FREE) + len(ATTRIBUTES), generator=generator.manual_seed(int(seed))) for seed in seeds]
    table = torch.stack(rows)
    return Faces(table[:, : len(FREE)], table[:, len(FREE) :] < PREVALENCE)


def counterfactuals(faces: Faces, attribute: str, value: bool = True, size: int = SIZE) -> Tensor:
    """Paint every picture of the same faces with one attribute switched on, or off where value is False.

    Returns:
        [K, B, 3, size, size] in [0, 1], K over the values of the attribute's own parameter; 1 where it has none.
    """
    edited = faces.with_attributes(**{attribute: value})
    if value and attribute in OWN_PARAMETERS:
        name, choices = OWN_PARAMETERS[attribute]
        return torch.stack([render(edited.with_free(name, choice), size=size) for choice in choices])
    return render(edited, size=size)[None]


def render(
    faces: Faces | int,
    *,
    smile: bool | None = None,
    glasses: bool | None = None,
    hat: bool | None = None,
    beard: bool | None = None,
    size: int = SIZE,
) -> Tensor:
    """Paint faces, or the face of one integer seed, with attributes switched on or off; None leaves one as it is.

    Returns:
        Pictures, [B, 3, size, size] in [0, 1]; an embedded model knows those of its own size alone.
    """
    if not isinstance(faces, Faces):
        faces = sample([faces])
    faces = faces.with_attributes(smile=smile, glasses=glasses, hat=hat, beard=beard)
    canvas = _Canvas(faces, size)
    _paint_scene(canvas, faces)
    _paint_head(canvas, faces)
    _paint_features(canvas, faces)
    return canvas.image.clamp(0, 1)


class _Canvas:
    """The picture so far (image), the plane (px, py), and each face's own coordinates on it.

    x and y are shifted and rolled, [B, H, W]; fx is x, also turned by the yaw.
    """

    def __init__(self, faces: Faces, size: int) -> None:
        axis = (torch.arange(size) + 0.5) / size * 2 - 1
        self.py, self.px = torch.meshgrid(axis, axis, indexing="ij")
        x = self.px - 0.16 * (faces.free("shift_x") - 0.5)
        y = self.py - 0.12 * (faces.free("shift_y") - 0.5) - 0.06
        angle = 0.30 * (faces.free("roll") - 0.5)
        self.x = x * torch.cos(angle) + y * torch.sin(angle)
        self.y = y * torch.cos(angle) - x * torch.sin(angle)
        self.fx = self.x - 0.16 * (faces.free("yaw") - 0.5)
        self.image = torch.zeros(len(faces), 3, size, size)

    def paint(self, distance: Tensor, color: Tensor, opacity: Tensor | float = 1.0) -> None:
        """Paint ``color`` [B, 3, 1, 1] where the signed distance [B, H, W] is negative."""
        cover = ((0.5 - distance * self.image.shape[-1] / 2).clamp(0, 1) * opacity)[:, None]
        self.image = self.image + cover * (color - self.image)


def _ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Return the approximate signed distance to an axis-aligned ellipse; exact on circles."""
    k0 = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    k1 = torch.sqrt((x / rx**2) ** 2 + (y / ry**2) ** 2 + 1e-9)
    return k0 * (k0 - 1) / k1


def _box(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float, corner: float = 0.0) -> Tensor:
    """Return the signed distance to an axis-aligned box with rounded corners."""
    qx, qy = x.abs() - rx + corner, y.abs() - ry + corner
    outside = torch.sqrt(qx.clamp(min=0) ** 2 + qy.clamp(min=0) ** 2 + 1e-12)
    return outside + torch.maximum(qx, qy).clamp(max=0) - corner


def _stroke(x: Tensor, y: Tensor, half_width: Tensor, bend: float, thickness: float) -> Tensor:
    """Return the distance to a parabola y = bend * (x^2 / half_width^2 - 1/2) of the given thickness."""
    t = (x / half_width).clamp(-1, 1)
    return torch.sqrt((x - t * half_width) ** 2 + (y - bend * (t * t - 0.5)) ** 2 + 1e-9) - thickness


def _color(rgb: Sequence[float]) -> Tensor:
    """Return one colour for all faces, [1, 3, 1, 1]."""
    return torch.tensor(rgb)[None, :, None, None]


def _palette(colors: Sequence[Sequence[float]], t: Tensor, smooth: bool = False) -> Tensor:
    """Pick (or blend between) palette colours by a uniform number [B, 1, 1]; returns [B, 3, 1, 1]."""
    table = torch.tensor(colors)
    t = t[:, 0, 0] * (len(colors) - 1 if smooth else len(colors))
    low = t.long().clamp(max=len(colors) - 1)
    color = table[low]
    if smooth:
        high = (low + 1).clamp(max=len(colors) - 1)
        color = torch.lerp(color, table[high], (t - low)[:, None])
    return color[:, :, None, None]


def _hue(hue: Tensor, saturation: float, light: Tensor) -> Tensor:
    """Return the colour of a hue and a lightness, [B, 1, 1] each: [B, 3, 1, 1]."""
    phase = _color((0.0, 1 / 3, 2 / 3))
    wave = torch.cos(2 * torch.pi * (hue[:, None] - phase))
    return light[:, None] * (1 + saturation * wave)


def _hair_color(faces: Faces) -> Tensor:
    return _palette(HAIR, faces.free("hair")) * (0.85 + 0.3 * faces.free("hair_shade"))[:, None]


def _paint_scene(c: _Canvas, f: Faces) -> None:
    """Paint the background, the hair behind the head, and the shirt."""
    background = _hue(f.free("background_hue"), 0.35, 0.45 + 0.35 * f.free("background_light"))
    slope = 1 + 0.25 * (f.free("background_slope") - 0.5) * 2 * c.py
    c.image = background * slope[:, None]
    hair = _hair_color(f)
    length = 0.15 + 0.75 * f.free("hair_length")
    c.paint(_box(c.x, c.y + 0.05 - length / 2, 0.60 + 0.06 * f.free("width"), 0.30 + length / 2, 0.3), hair * 0.8)
    shirt = _hue(f.free("shirt_hue"), 0.6, 0.25 + 0.4 * f.free("shirt_light"))
    c.paint(_ellipse(c.px - 0.1 * (f.free("shift_x") - 0.5), c.py - 1.12, 0.85, 0.42), shirt)


def _paint_head(c: _Canvas, f: Faces) -> None:
    """Paint neck, ears, head, beard and fringe."""
    skin = _palette(SKIN, f.free("skin"), smooth=True)
    hair = _hair_color(f)
    rx, ry = 0.50 + 0.08 * f.free("width"), 0.62 + 0.08 * f.free("height")
    c.paint(_box(c.x, c.y - 0.65, 0.2, 0.25, 0.05), skin * 0.85)
    for side in (-1, 1):
        c.paint(_ellipse(c.x - side * rx, c.y - 0.05, 0.09, 0.14), skin * 0.92)
    c.paint(_ellipse(c.x, c.y, rx, ry), skin)
    # The beard comes before the hair: the lower face from ear to ear, with the lips left free.
    lips = _ellipse(c.fx, c.y - 0.36, 0.20, 0.09)
    jaw = torch.maximum(_ellipse(c.x, c.y - 0.03, rx + 0.02, ry + 0.05), -lips)
    upper_edge = 0.20 + 0.55 * (c.fx.abs() - 0.42).clamp(max=0).abs() * 0.35
    c.paint(torch.maximum(jaw, upper_edge - c.y), hair * 0.85, f.has("beard"))
    # The fringe is what of the head lies above a soft arc; a hat covers it.
    skull = _ellipse(c.x, c.y + 0.03, rx + 0.05, ry + 0.05)
    arc = c.y + 0.34 - 0.25 * (c.fx / rx) ** 2
    c.paint(torch.maximum(skull, arc), hair)


def _paint_features(c: _Canvas, f: Faces) -> None:
    """Paint eyes, brows, nose, mouth, glasses and hat."""
    skin = _palette(SKIN, f.free("skin"), smooth=True)
    hair = _hair_color(f)
    white, pupil = _color((0.97, 0.97, 0.95)), _color((0.08, 0.07, 0.08))
    iris = _palette(IRIS, f.free("iris"))
    spacing = 0.21 + 0.06 * f.free("eye_spacing")
    size = 0.085 + 0.03 * f.free("eye_size")
    lift = 0.16 + 0.05 * f.free("brow")
    for side in (-1, 1):
        x, y = c.fx - side * spacing, c.y + 0.06
        c.paint(_ellipse(x, y, size * 1.25, size), white)
        c.paint(_ellipse(x, y, size * 0.7, size * 0.7), iris)
        c.paint(_ellipse(x, y, size * 0.3, size * 0.3), pupil)
        c.paint(_stroke(x, y + lift, size * 1.4, 0.03, 0.022), hair * 0.7)
    nose = 0.14 + 0.06 * f.free("nose")
    c.paint(_ellipse(c.fx, c.y - 0.12 - nose / 4, 0.055, nose / 2), skin * 0.84)
    _paint_mouth(c, f)
    _paint_glasses(c, f, spacing)
    _paint_hat(c, f)


def _paint_mouth(c: _Canvas, f: Faces) -> None:
    """Paint a closed mouth, or with a smile an open one with teeth."""
    lip, teeth = _color((0.66, 0.22, 0.22)), _color((0.98, 0.97, 0.95))
    smile = f.has("smile")
    width = 0.14 + 0.04 * f.free("mouth_width")
    c.paint(_stroke(c.fx, c.y - 0.36, width, 0.0, 0.030), lip, 1 - smile)
    wide = width * 1.45
    t = c.fx / wide
    upper, lower = 0.30 - 0.04 * (t * t - 0.5), 0.36 - 0.26 * (t * t - 0.5)
    mouth = torch.maximum(torch.maximum(upper - c.y, c.y - lower), c.fx.abs() - wide)
    c.paint(mouth - 0.02, lip, smile)
    c.paint(mouth + 0.022, teeth, smile)


def _paint_glasses(c: _Canvas, f: Faces, spacing: Tensor) -> None:
    """Paint tinted lenses around the eyes, their frames, temples and bridge."""
    frame, tint = _color((0.07, 0.07, 0.09)), _color((0.75, 0.88, 0.95))
    on = f.has("glasses")
    for side in (-1, 1):
        lens = _box(c.fx - side * spacing, c.y + 0.05, 0.175, 0.150, 0.08)
        c.paint(lens, tint, 0.25 * on)
        c.paint(lens.abs() - 0.026, frame, on)
        c.paint(_box(c.fx - side * (spacing + 0.26), c.y + 0.08, 0.10, 0.018), frame, on)
    c.paint(_box(c.fx, c.y + 0.07, spacing - 0.165, 0.020), frame, on)


def _paint_hat(c: _Canvas, f: Faces) -> None:
    """Paint crown, ribbon and brim."""
    color = _palette(HAT, f.free("hat_color"))
    on = f.has("hat")
    rx = 0.56 + 0.06 * f.free("width")
    crown = torch.maximum(_ellipse(c.x, c.y + 0.36, rx, 0.56), c.y + 0.36)
    c.paint(crown, color, on)
    c.paint(_box(c.x, c.y + 0.43, rx, 0.06, 0.02), color * 0.6, on)
    c.paint(_box(c.x, c.y + 0.34, rx + 0.14, 0.05, 0.05), color * 0.85, on)
