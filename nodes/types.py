"""The pack's wire types and its place in the menu."""

from comfy_api.latest import io

CATEGORY = "Singular Edit"
SVDAttributeType = io.Custom("SVD_ATTRIBUTE")
HDirectionType = io.Custom("H_DIRECTION")
MAX_SEED = 0xFFFFFFFFFFFFFFFF


def seed_input(id: str, tooltip: str) -> io.Int.Input:
    return io.Int.Input(id, default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def cfg_input(default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input("cfg", default=default, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=tooltip)
