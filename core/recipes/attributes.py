"""Both kinds of attribute, SVD attributes and directions of h-space, as one: their files, and what these say.

Keys of an attribute's info that are written here and in core/model_family.py:

    source_prompt, target_prompt    the two prompts
    cfg, steps, width, height       how it was learned
    strength                        the strength to begin with
    strength_low, strength_high     the range in which something happens
    creator, licence                free text
    verdict                         how well a direction was learned, in a sentence
    preview                         a small JPEG before and after, in base64
    question                        the hash of everything that it was learned from

common_share, what several pairs have in common, is written by latent_svd/learn.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..errors import EditError, plain_text
from ..files import read_kind
from ..hspace.direction import KINDS, HDirection, load_hdirection
from ..hspace.readout import Readout
from ..latent_svd.attribute import KIND, SVDAttribute
from ..latent_svd.pair_notes import notes
from ..model_family import NOT_RECORDED, ModelFamily, check_family, check_layer
from . import defaults

Attribute = SVDAttribute | HDirection

SVD_METHOD = "latent svd"


def check_learns_from_pictures(method: str) -> None:
    """Raise an EditError for a method that learns from what the model draws alone."""
    if method != SVD_METHOD:
        raise EditError(
            f"method {plain_text(method)} learns from what the model draws, not from pictures; "
            f"for pictures method {SVD_METHOD} is accepted."
        )


def load_attribute(path: str | Path) -> Attribute:
    """Read an attribute of either kind from a file.

    Args:
        path: A file that ``save`` wrote.

    Returns:
        The attribute, on the CPU.

    Raises:
        EditError: The file is not a whole attribute of a known kind and version.
    """
    kind = read_kind(path)
    if kind == KIND:
        return SVDAttribute.load(path)
    if kind in KINDS:
        return load_hdirection(path)
    label = plain_text(Path(path).name)
    raise EditError(f"'{label}' holds a {plain_text(kind)}, which this version of Singular Edit does not know.")


def with_info(attribute: Attribute, info: Mapping[str, str]) -> Attribute:
    """Return a copy of an attribute that says more of itself.

    Args:
        attribute: The attribute, which stays as it is.
        info: Free text by key; it replaces what stood under the same keys.
    """
    return replace(attribute, info={**attribute.info, **info})


def guidance_factor(attribute: Attribute, guidance: float) -> float:
    """Return what a scale is multiplied by, so that a strength means the same at every guidance.

    Guidance multiplies the change that a readout makes, and pictures need the same change at any guidance: what is
    there at guidance 1.5 is there at 5, and three times as much only harms. So a readout with a response makes the
    change of EDIT_GUIDANCE at every guidance. A direction that moves h, and an SVD attribute, keep their scale.

    Args:
        attribute: The attribute, with its response.
        guidance: The guidance that a sampler works at.
    """
    if attribute.response is None or isinstance(attribute, SVDAttribute) or guidance == 0:
        return 1.0
    if not all(isinstance(part, Readout) for _, part in attribute.parts):
        return 1.0
    return defaults.EDIT_GUIDANCE / guidance


def with_scale(attribute: Attribute) -> Attribute:
    """Return an attribute without its response: its strength is its scale, as in an older file."""
    if isinstance(attribute, SVDAttribute):
        return replace(attribute, response=None)
    return attribute.with_response(None)


def advice(attribute: Attribute, source_prompt: str, target_prompt: str) -> dict[str, str]:
    """Return what the file of an attribute advises: its prompts, the strength to begin with and the range.

    Args:
        attribute: The attribute.
        source_prompt: The text without it.
        target_prompt: The text with it.

    Returns:
        Free text by key, for with_info.
    """
    low, high = advised_range(attribute)
    return {
        "source_prompt": source_prompt,
        "target_prompt": target_prompt,
        "strength": f"{advised_strength(attribute):g}",
        "strength_low": f"{low:g}",
        "strength_high": f"{high:g}",
    }


def advised_range(attribute: Attribute) -> tuple[float, float]:
    """Return the range in which something happens and little is damaged."""
    if attribute.response is None:
        return defaults.SLIDER_LOW, defaults.SLIDER_HIGH
    return defaults.RESPONSE_LOW, defaults.RESPONSE_HIGH


def advised_strength(attribute: Attribute) -> float:
    """Return the strength to begin with: the file's own within the slider's range, or the default of its kind."""
    default = defaults.FULL_SCALE
    if isinstance(attribute, SVDAttribute) or attribute.response is not None:
        default = defaults.THERE
    try:
        advised = float(attribute.info.get("strength", default))
    except ValueError:
        return default
    return min(max(advised, defaults.SLIDER_LOW), defaults.SLIDER_HIGH) if math.isfinite(advised) else default


def check_model(attribute: Attribute, here: ModelFamily) -> list[str]:
    """Check that an attribute fits a model.

    Args:
        attribute: The attribute.
        here: The model's family.

    Returns:
        Notes for the user where it may not work as well as on its own model.

    Raises:
        EditError: It was learned on another kind of model.
    """
    if isinstance(attribute, SVDAttribute):
        return check_family(attribute.name, attribute.info, here, bottleneck=False)
    notes: list[str] = []
    for _, part in attribute.parts:
        # The family first, by which people know what they have; a file that does not say it is known by its numbers.
        notes += check_family(part.name, part.info, here, bottleneck=True)
        check_layer(part.name, part.layer, here)
        if here.bottleneck_channels:
            part.check_width(here.bottleneck_channels)
        if isinstance(part, Readout) and here.place_size and part.place_size != here.place_size:
            raise EditError(
                f"'{part.name}' reads {part.place_size} x {part.place_size} latent pixels off each place of the "
                f"bottleneck but this model has {here.place_size} x {here.place_size}; "
                "use the model family it was learned on."
            )
    return list(dict.fromkeys(notes))


def verdict(attribute: Attribute) -> str:
    """Return in one line how well an attribute was learned; empty where its file does not say it."""
    if isinstance(attribute, SVDAttribute):
        return "; ".join(notes(attribute.info))
    return attribute.info.get("verdict", "")


def describe(attribute: Attribute) -> str:
    """Return in a few lines what an attribute's file says of itself.

    Args:
        attribute: The attribute.

    Returns:
        Its name and method; the model family; the prompts and settings; how well it was learned, where its file says
        so; the strength to begin with; who made it.
    """
    info = attribute.info
    method = SVD_METHOD if isinstance(attribute, SVDAttribute) else info.get("method", "direction")
    family = ModelFamily.from_info(info)
    lines = [f"{attribute.name}: {method}, learned on {NOT_RECORDED if family is None else family.text()}."]
    if "source_prompt" in info:
        lines.append(f"From '{info['source_prompt']}' to '{info.get('target_prompt', '')}'.")
    settings = [f"{key} {info[key]}" for key in ("cfg", "steps") if key in info]
    if "width" in info and "height" in info:
        settings.append(f"{info['width']} x {info['height']} pixels")
    if isinstance(attribute, SVDAttribute) and attribute.sigma:
        settings.append(f"sigma {attribute.sigma:.4g}")
    if settings:
        lines.append(f"Learned at {', '.join(settings)}.")
    if said := verdict(attribute):
        lines.append(said)
    strength = f"Begin with strength {advised_strength(attribute):g}"
    if "strength_low" in info and "strength_high" in info:
        strength += f"; {info['strength_low']} to {info['strength_high']} is its range"
    lines.append(f"{strength}.")
    for key in ("creator", "licence"):
        if info.get(key):
            lines.append(f"{key.capitalize()}: {info[key]}.")
    return "\n".join(lines)
