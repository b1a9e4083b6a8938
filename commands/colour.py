"""Colour profiles: models know sRGB, so that pictures of other profiles are brought there, and their edits back."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

# What a profile calls its space, and the modes of pictures that it can belong to.
SPACES = {"RGB": ("RGB", "RGBA"), "GRAY": ("L", "LA", "I;16"), "CMYK": ("CMYK",)}


def space_of(profile: bytes | None) -> str:
    """Return the colour space of a profile: a key of SPACES, or "" for none, a damaged one, and others."""
    if not profile:
        return ""
    try:
        space = ImageCms.getOpenProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (ImageCms.PyCMSError, OSError, ValueError):
        return ""
    return space if space in SPACES else ""


def is_srgb(profile: bytes) -> bool:
    """Return whether a profile of space RGB is sRGB by its own name."""
    return "srgb" in ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(profile))).lower()


def to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring a picture to sRGB.

    Args:
        picture: In mode RGB or CMYK.
        profile: Its profile; one that is damaged, of another space or sRGB itself changes nothing.

    Returns:
        The picture in mode RGB.
    """
    space = space_of(profile)
    if profile is None or picture.mode not in SPACES.get(space, ()) or (space == "RGB" and is_srgb(profile)):
        return picture.convert("RGB")
    return _transformed(picture, ImageCms.getOpenProfile(io.BytesIO(profile)), _srgb())


def from_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring a picture of mode RGB from sRGB to a profile of space RGB; any other changes nothing."""
    if profile is None or space_of(profile) != "RGB" or is_srgb(profile):
        return picture
    return _transformed(picture, _srgb(), ImageCms.getOpenProfile(io.BytesIO(profile)))


def fits(profile: bytes | None, mode: str) -> bool:
    """Return whether a profile can be written into a picture of a mode."""
    return mode in SPACES.get(space_of(profile), ())


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _transformed(picture: Image.Image, here: ImageCms.ImageCmsProfile, there: ImageCms.ImageCmsProfile) -> Image.Image:
    """Bring a picture from one profile to another, as RGB; one that a profile cannot transform is converted plainly."""
    try:
        changed = ImageCms.profileToProfile(
            picture, here, there, renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except ImageCms.PyCMSError:
        changed = None
    return picture.convert("RGB") if changed is None else changed
