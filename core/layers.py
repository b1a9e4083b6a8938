"""Names of the place in a network where h is read and moved: a direction belongs to one.

A U-Net has one such place, the output of its middle block, as in the paper (arXiv 2210.10960). A diffusion transformer
has as many as it has blocks with a stream of image tokens of their own: the image tokens after block i, laid out as the
grid of the picture's patches, are "double_block:i", the name that ComfyUI gives to the block. That is ours.
"""

from __future__ import annotations

from .errors import EditError

# The output of a U-Net's middle block, before the first decoder block; also what files without a layer mean.
MIDDLE_BLOCK = "middle_block"
# The image tokens of a transformer after the block whose number follows.
DOUBLE_BLOCK = "double_block"
# As a setting: the middle block of a U-Net, the block at the default depth of a transformer.
AUTO = "auto"
# Of a whole number in the words of a file, which may be anybody's.
MAX_DIGITS = 9

# Under this key, the info of a direction says which layer it belongs to; a U-Net's middle block needs no key.
LAYER_KEY = "layer"


def layer_info(layer: str) -> dict[str, str]:
    """Return what the file of a direction says of its layer."""
    return {} if layer == MIDDLE_BLOCK else {LAYER_KEY: layer}


def layer_text(layer: str) -> str:
    """Return a layer in words: "the bottleneck of a U-Net", or "double_block:3 of a transformer"."""
    return "the bottleneck of a U-Net" if block_of(layer) is None else f"{layer} of a transformer"


def block_layer(block: int) -> str:
    """Return the name of the image tokens after a transformer's block."""
    return f"{DOUBLE_BLOCK}:{block}"


def block_of(layer: str) -> int | None:
    """Return the number of the block that a layer names; None for a U-Net's middle block.

    Raises:
        EditError: It is no layer.
    """
    if layer == MIDDLE_BLOCK:
        return None
    kind, _, number = layer.partition(":")
    if kind != DOUBLE_BLOCK or not number.isdecimal() or len(number) > MAX_DIGITS:
        raise EditError(
            f"layer is '{layer}'; 'middle_block' (of a U-Net) or 'double_block:' and the number of a block (of a "
            "transformer) is accepted."
        )
    return int(number)


def choose_block(layer: str, blocks: int, depth: float) -> str:
    """Choose the layer of a transformer.

    Args:
        layer: A setting: AUTO, or the name of a layer.
        blocks: How many blocks the transformer has.
        depth: Where AUTO stands, as a share of its blocks.

    Returns:
        The layer's name.

    Raises:
        EditError: The transformer has no such block, or the layer is a U-Net's.
    """
    if layer == AUTO:
        return block_layer(max(0, min(blocks, round(depth * blocks)) - 1))
    block = block_of(layer)
    if block is None or block >= blocks:
        raise EditError(
            f"layer is '{layer}' but this model is a transformer of {blocks} blocks; "
            f"'{block_layer(0)}' to '{block_layer(blocks - 1)}' or '{AUTO}' is accepted."
        )
    return layer
