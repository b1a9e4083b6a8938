"""The pack's wire types and its place in the menu."""

from comfy_api.latest import io

from ..core.errors import EditError
from ..core.hspace.direction import HDirection
from ..core.latent_svd.attribute import SVDAttribute
from ..core.latent_svd.svd import BANDS

CATEGORY = "Singular Edit"
SVDAttributeType = io.Custom("SVD_ATTRIBUTE")
HDirectionType = io.Custom("H_DIRECTION")
MAX_SEED = 0xFFFFFFFFFFFFFFFF


def attribute_of(value, name: str) -> SVDAttribute:
    if not isinstance(value, SVDAttribute):
        raise EditError(f"{name} is a {type(value).__name__}; wire SVD Attribute Learn or Load SVD Attribute.")
    return value


def direction_of(value, name: str) -> HDirection:
    if not isinstance(value, HDirection):
        raise EditError(f"{name} is a {type(value).__name__}; wire h-Space Direction Learn or Load h-Direction.")
    return value


def atoms_inputs() -> list[io.Input]:
    """Which atoms of an attribute are applied, and where."""
    return [
        io.Int.Input("rank", default=0, min=0, max=256, tooltip="Use only this many leading atoms a channel. 0 = all."),
        io.Combo.Input(
            "band",
            options=list(BANDS),
            default="all",
            tooltip="A third of the atoms by size: coarse carries layout, fine carries texture and colour.",
        ),
        io.Mask.Input("mask", optional=True, tooltip="Edit only where the mask is white."),
    ]


def seed_input(id: str, tooltip: str) -> io.Int.Input:
    return io.Int.Input(id, default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def cfg_input(default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input("cfg", default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)
