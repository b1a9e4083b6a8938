"""What nodes share: the pack's wire types, its place in the menu, and inputs that several nodes have."""

from __future__ import annotations

from typing import Any, TypeVar

from comfy_api.latest import io

from ..core.errors import EditError
from ..core.hspace.direction import HDirection
from ..core.inversion.trace import Trace
from ..core.latent_svd.attribute import SVDAttribute
from ..core.latent_svd.svd import BANDS
from ..core.layers import AUTO
from ..core.recipes.attributes import Attribute
from ..core.recipes.defaults import RESPONSE_HIGH, SLIDER_HIGH, SLIDER_LOW, THERE

# Places in the menu: what an artist needs, everything else, and the embedded model.
ARTIST = "Singular Edit"
ADVANCED = f"{ARTIST}/advanced"
DEMO = f"{ARTIST}/demo"
AttributeType = io.Custom("ATTRIBUTE")
SVDAttributeType = io.Custom("SVD_ATTRIBUTE")
HDirectionType = io.Custom("H_DIRECTION")
PictureType = io.Custom("PREPARED_PICTURE")
TraceType = io.Custom("LATENT_TRACE")
MAX_SEED = 0xFFFFFFFFFFFFFFFF
CLIP_TOOLTIP = "The model's CLIP: from the last LoRA loader, or from the checkpoint loader where there is no LoRA."
NEGATIVE_TOOLTIP = "The negative prompt. At cfg 1 it is not used."
SLIDER_TOOLTIP = (
    "How much of the attribute, as a share of the way: 0 none, 0.5 half way, 1 there. "
    f"Above {RESPONSE_HIGH:g} the picture is damaged more than it changes. "
    "Below 0 takes it away where it is; an attribute of method latent svd does that poorly. "
    "Begin with the strength that info of Load Attribute says: 1.5 for an old file."
)
SVD_STRENGTH_TOOLTIP = (
    "How much of the attribute: 0 none, 1 all of it. The change comes between the two; above 1 there is little more. "
    "Below 0 the picture changes, but the attribute often stays."
)
Kind = TypeVar("Kind")


def checked(value: Any, kind: type[Kind] | tuple[type[Kind], ...], name: str, giver: str) -> Kind:
    """Check what came over a wire.

    Args:
        value: What came.
        kind: What is accepted.
        name: The input's name, for the error.
        giver: The nodes that give it, for the error.

    Returns:
        The value.

    Raises:
        EditError: It is something else.
    """
    if not isinstance(value, kind):
        raise EditError(f"{name} is a {type(value).__name__}; wire {giver}.")
    return value


def attribute_of(value: Any, name: str) -> SVDAttribute:
    """Return an input's value as an SVD attribute; see checked."""
    return checked(value, SVDAttribute, name, "SVD Attribute Learn or Load SVD Attribute")


def direction_of(value: Any, name: str) -> HDirection:
    """Return an input's value as an h-space direction; see checked."""
    return checked(value, HDirection, name, "h-Space Direction Learn or Load h-Direction")


def any_attribute_of(value: Any, name: str) -> Attribute:
    """Return an input's value as an attribute of either kind; see checked."""
    return checked(value, (SVDAttribute, HDirection), name, "Learn Attribute or Load Attribute")


def attribute_input(tooltip: str, optional: bool = False) -> io.Input:
    """Return an attribute input that takes both kinds, and the wires of both."""
    types = [SVDAttributeType, HDirectionType, AttributeType]
    return io.MultiType.Input("attribute", types=types, tooltip=tooltip, optional=optional)


def attribute_output() -> io.Output:
    """Return the attribute output of an artist's node."""
    return AttributeType.Output(
        "attribute", display_name="attribute", tooltip="Wire to Edit Picture, Strength Sheet or Apply Attribute."
    )


def svd_attribute_input(name: str, tooltip: str, optional: bool = False) -> io.Input:
    """Return an input for SVD attributes, which takes wires of the artist's nodes too."""
    return io.MultiType.Input(name, types=[SVDAttributeType, AttributeType], tooltip=tooltip, optional=optional)


def direction_input(name: str, tooltip: str, optional: bool = False) -> io.Input:
    """Return an input for directions of h-space, which takes wires of the artist's nodes too."""
    return io.MultiType.Input(name, types=[HDirectionType, AttributeType], tooltip=tooltip, optional=optional)


def slider_input(tooltip: str) -> io.Float.Input:
    """Return the strength of an artist's node: a slider over the range in which something happens."""
    return io.Float.Input(
        "strength",
        default=THERE,
        min=SLIDER_LOW,
        max=SLIDER_HIGH,
        step=0.05,
        round=0.001,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


def advanced(widget: io.Input) -> io.Input:
    """Mark a widget as one that most people leave alone; pages that know the mark fold it away."""
    widget.extra_dict = {**widget.extra_dict, "advanced": True}
    return widget


def with_advanced(schema: io.Schema, *ids: str) -> io.Schema:
    """Mark the widgets of these ids as ones that most people leave alone."""
    for item in schema.inputs:
        if item.id in ids:
            advanced(item)
    return schema


def with_search_words(schema: io.Schema, *words: str) -> io.Schema:
    """Let a node be found by more words, where the page knows how."""
    schema.search_aliases = list(words)
    return schema


def trace_of(value: Any, name: str) -> Trace:
    """Return an input's value as a trace; see checked."""
    return checked(value, Trace, name, "the trace output of Latent Invert")


def trace_input(tooltip: str) -> io.Input:
    """Return the optional trace input of a node that samples."""
    return TraceType.Input(
        "trace",
        optional=True,
        tooltip=f"From Latent Invert at method traced: {tooltip} Start from the latent or noise of the same node.",
    )


def strength_input(name: str, default: float, tooltip: str, optional: bool = False) -> io.Float.Input:
    """Return a widget for a strength or a weight, -10 to 10."""
    return io.Float.Input(
        name, default=default, min=-10.0, max=10.0, step=0.05, round=False, tooltip=tooltip, optional=optional
    )


def percent_input(name: str, default: float, tooltip: str, lowest: float = 0.0, highest: float = 1.0) -> io.Float.Input:
    """Return a widget for a sampling progress, 0 before the first step and 1 after the last."""
    return io.Float.Input(name, default=default, min=lowest, max=highest, step=0.01, round=False, tooltip=tooltip)


def cfg_input(default: float, tooltip: str, name: str = "cfg") -> io.Float.Input:
    """Return a widget for guidance."""
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)


def seed_input(name: str, tooltip: str) -> io.Int.Input:
    """Return a widget for a seed."""
    return io.Int.Input(name, default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def size_input(what: str) -> io.Latent.Input:
    """Return the latent_image input of a node that samples noise of its own; ``what``: what its batch counts."""
    return io.Latent.Input(
        "latent_image",
        tooltip=(
            "Sets the size of the pictures; wire Empty Latent Image. "
            f"Its batch size is how many pictures {what} at once: less where memory is short."
        ),
    )


def layer_input() -> io.String.Input:
    """Return the setting of where h is taken."""
    return io.String.Input(
        "layer",
        default=AUTO,
        optional=True,
        tooltip=(
            "Where in the model h is read. auto takes a U-Net's bottleneck, "
            "or a late block of a transformer (SD3, Flux, Qwen-Image). "
            "double_block:3 is after block 3 of a transformer; blocks count from 0. Method latent svd does not read it."
        ),
    )


def atoms_inputs() -> list[io.Input]:
    """Return the inputs that say which atoms of an attribute are applied, and where."""
    return [
        io.Int.Input(
            "rank",
            default=0,
            min=0,
            max=256,
            tooltip=(
                "Keep only so many of the largest patterns of the change (singular atoms, per channel). 0 keeps all."
            ),
        ),
        io.Combo.Input(
            "band",
            options=list(BANDS),
            default="all",
            tooltip=(
                "How coarse or fine the change may be: coarse is layout, fine is texture and colour. "
                "Each is a third of the patterns (singular atoms) by size."
            ),
        ),
        io.Mask.Input(
            "mask", optional=True, tooltip="Where the picture may change: white. Elsewhere it is not edited."
        ),
    ]
