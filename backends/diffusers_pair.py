"""A plain and an edited prediction that share the encoder and the middle block of a diffusers U-Net.

In the plain pass each decoder block's inputs are kept; for the edited prediction the decoder alone runs once more, on
the edited rows. This is how the code of the Asyrp paper (arXiv 2210.10960) computes its two predictions.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

from torch import Tensor, nn

# What diffusers hands to a decoder block: batches, of which rows are chosen, and what holds for all rows.
BATCHES = ("temb", "encoder_hidden_states")
ALIKE = ("upsample_size",)


class DecoderInputs(NamedTuple):
    """What a run of the network gave to its decoder.

    Attributes:
        h: The middle block's output, [rows, Ch, h, w].
        blocks: The arguments of each decoder block, of the same rows; consumed by decode.
    """

    h: Tensor
    blocks: list[dict[str, Any]]


class DecoderRecorder:
    """Keeps what the decoder is given while it is entered as a context. Its hooks are removed in any case.

    Args:
        unet: A U-Net of which is_plain is true.
        rows: How many rows are kept, from the first on.
    """

    def __init__(self, unet: nn.Module, rows: int) -> None:
        self.unet = unet
        self.rows = rows
        self._h: Tensor | None = None
        self._blocks: list[dict[str, Any] | None] = []
        self._hooks = ExitStack()

    def __enter__(self) -> DecoderRecorder:
        with ExitStack() as hooks:
            hooks.callback(self.unet.mid_block.register_forward_hook(self._keep_bottleneck).remove)
            for block in self.unet.up_blocks:
                hooks.callback(block.register_forward_pre_hook(self._keep_inputs, with_kwargs=True).remove)
            self._hooks = hooks.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._hooks.close()

    @property
    def inputs(self) -> DecoderInputs | None:
        """What was kept; None where a decoder block was given what nobody here knows how to take rows of."""
        blocks = [arguments for arguments in self._blocks if arguments is not None]
        if self._h is None or len(blocks) != len(self.unet.up_blocks):
            return None
        return DecoderInputs(self._h, blocks)

    def _keep_bottleneck(self, module: nn.Module, inputs: tuple[Any, ...], h: Tensor) -> None:
        # A copy, because FreeU writes into h.
        self._h = h[: self.rows].clone()

    def _keep_inputs(self, module: nn.Module, inputs: tuple[Any, ...], arguments: dict[str, Any]) -> None:
        given = {name: value for name, value in arguments.items() if value is not None}
        # The decoder's own states are computed anew.
        h = given.pop("hidden_states", None)
        known = h is not None and not inputs and _is_known(given, len(h))
        self._blocks.append({name: self._kept(name, value) for name, value in given.items()} if known else None)

    def _kept(self, name: str, value: Any) -> Any:
        """Return the kept rows of one argument; a copy of a part lets the whole go."""
        if name in ALIKE:
            return value
        if isinstance(value, tuple):
            return tuple(self._kept("", part) for part in value)
        return value if len(value) == self.rows else value[: self.rows].clone()


def is_plain(unet: nn.Module) -> bool:
    """Return whether a network is diffusers' own ``UNet2DConditionModel``, and runs as diffusers wrote it.

    Args:
        unet: The network.

    Returns:
        False where something wraps, compiles or replaces the network, its decoder blocks or its attention.
    """
    kind = type(unet)
    if kind.__name__ != "UNet2DConditionModel" or not kind.__module__.startswith("diffusers."):
        return False
    modules = [unet, unet.mid_block, *unet.down_blocks, *unet.up_blocks]
    attention = [type(processor).__module__ for processor in unet.attn_processors.values()]
    return (
        all(type(module).__module__.startswith("diffusers.") for module in modules)
        and not any("forward" in vars(module) for module in modules)
        and all(module._compiled_call_impl is None for module in modules)
        and all(name.startswith("diffusers.") for name in attention)
    )


def decode(unet: nn.Module, h: Tensor, inputs: DecoderInputs) -> Tensor:
    """Run the decoder with another bottleneck.

    Args:
        unet: The network.
        h: The edited bottleneck, like inputs.h.
        inputs: What the plain pass gave to the decoder.

    Returns:
        The network's answer for these rows, [rows, C, H, W].
    """
    # A copy, because FreeU writes into h.
    h = h.to(inputs.h.dtype).clone()
    for block in unet.up_blocks:
        h = block(hidden_states=h, **inputs.blocks.pop(0))
    if unet.conv_norm_out is not None:
        h = unet.conv_act(unet.conv_norm_out(h))
    answer: Tensor = unet.conv_out(h)
    return answer


def _is_known(arguments: dict[str, Any], rows: int) -> bool:
    """Return whether each argument of a decoder block is a batch of ``rows`` rows, or the same for all rows."""
    skips = arguments.get("res_hidden_states_tuple")
    batches = [value for name, value in arguments.items() if name in BATCHES]
    return (
        arguments.keys() <= {"res_hidden_states_tuple", *BATCHES, *ALIKE}
        and isinstance(skips, tuple)
        and all(isinstance(part, Tensor) and len(part) == rows for part in (*skips, *batches))
    )
