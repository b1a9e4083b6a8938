"""Inputs of every node are checked against the node's own schema before it runs.

A page keeps to the ranges of its widgets, but through the API, and over wires, anything may come. Each range is written
once, in the schema; ComfyUI checks it for values that are typed in, not for NaN and not for wires.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.family import family_of, has_bottleneck
from ..backends.comfyui.random_states import random_states_kept
from ..core.errors import EditError, check_latent, is_computable, plain_text

# Options that a sentence lists, at most.
MAX_OPTIONS = 12
# Where the networks of SD3 and of Flux take the text.
TEXT_LAYERS = ("context_embedder", "txt_in")
# Of a prompt's tensor: [batch, tokens, width].
TOKEN_AXES = 3
# What something that comes over a wire of this type must be able to do, and which node gives it.
ABLE = {
    io.Model.io_type: ("get_model_object", "a checkpoint loader"),
    io.Clip.io_type: ("tokenize", "a checkpoint loader"),
    io.Vae.io_type: ("decode", "a checkpoint loader"),
    io.ClipVision.io_type: ("encode_image", "Load CLIP Vision"),
    io.Noise.io_type: ("generate_noise", "Random Noise"),
    io.Sampler.io_type: ("sample", "KSamplerSelect"),
}


def with_checked_inputs(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """Let a node check its inputs before it runs, and leave the process's random states as they were.

    Args:
        node: The node's class, which is changed.

    Returns:
        The class itself.
    """
    execute = node.execute.__func__  # type: ignore[attr-defined]
    if hasattr(execute, "__wrapped__"):
        return node

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], **inputs: Any) -> Any:
        check_inputs(cls, inputs)
        # Nothing on an optional wire is the same as no wire.
        given = {name: value for name, value in inputs.items() if value is not None}
        with random_states_kept():
            return execute(cls, **given)

    node.execute = classmethod(checked)  # type: ignore[method-assign,assignment]
    return node


def check_inputs(node: type[io.ComfyNode], inputs: dict[str, Any]) -> None:
    """Check the inputs of a node.

    Args:
        node: The node's class.
        inputs: Its inputs by name.

    Raises:
        EditError: One is missing, of another type, out of its range, or holds nothing that can be used.
    """
    # ComfyUI does not compare an input with its options where the node checks it itself.
    own_checks = set(inspect.signature(node.validate_inputs).parameters)
    # What a later version appended has a default, and workflows from before lack it.
    parameters = inspect.signature(node.execute).parameters
    model = None
    prompts: dict[str, Any] = {}
    for item in node.define_schema().inputs:
        name = item.id
        value = inputs.get(name)
        if value is None:
            has_default = name in parameters and parameters[name].default is not inspect.Parameter.empty
            if not item.optional and not (has_default and name not in inputs):
                raise EditError(f"{name} is missing; wire it, or give it a value.")
            continue
        if not (item.io_type == io.Combo.io_type and name in own_checks):
            _check(item, value)
        else:
            _check_text(item, value)
            answer = node.validate_inputs(**{name: value})
            if isinstance(answer, str):
                raise EditError(f"{answer} Choose another {name}.")
        if item.io_type == io.Model.io_type:
            model = value
        elif item.io_type == io.Conditioning.io_type:
            prompts[name] = value
    _check_text_widths(prompts, model)


def _check(item: io.Input, value: Any) -> None:
    """Check one input that has a value."""
    check = CHECKS.get(item.io_type)
    if check is not None:
        check(item, value)
    elif item.io_type in ABLE:
        method, giver = ABLE[item.io_type]
        if not hasattr(value, method):
            raise EditError(f"{item.id} is a {_type_name(value)}; wire the {item.io_type} of {giver}.")


def _type_name(value: Any) -> str:
    return plain_text(type(value).__name__)


def _check_whole_number(item: Any, value: Any) -> None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not item.min <= value <= item.max:
        raise EditError(
            f"{item.id} is {plain_text(value, 30)}; a whole number from {item.min} to {item.max} is accepted."
        )


def _check_number(item: Any, value: Any) -> None:
    # math.isfinite is False for NaN, which no comparison with a range finds.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not item.min <= value <= item.max or not math.isfinite(value):
        raise EditError(
            f"{item.id} is {plain_text(value, 30)}; a number from {item.min:g} to {item.max:g} is accepted."
        )


def _check_option(item: Any, value: Any) -> None:
    if value not in item.options:
        shown = [plain_text(option, 30) for option in item.options[:MAX_OPTIONS]]
        more = ", ..." if len(item.options) > MAX_OPTIONS else ""
        raise EditError(f"{item.id} is '{plain_text(value, 30)}'; {', '.join(shown)}{more} are accepted.")


def _check_switch(item: Any, value: Any) -> None:
    if not isinstance(value, bool):
        raise EditError(f"{item.id} is {plain_text(value, 30)}; true or false is accepted.")


def _check_text(item: Any, value: Any) -> None:
    # Half of a pair of surrogates is no character; a null byte ends a text in other programs.
    if not isinstance(value, str) or any("\ud800" <= one <= "\udfff" or one == "\0" for one in value):
        raise EditError(f"{item.id} is '{plain_text(value)}', which is no plain text; type it anew.")


def _check_latent(item: Any, value: Any) -> None:
    if not isinstance(value, dict) or "samples" not in value:
        raise EditError(f"{item.id} is a {_type_name(value)}; wire a LATENT, such as that of Empty Latent Image.")
    check_latent(value["samples"], item.id, video=True)


def _check_sigmas(item: Any, value: Any) -> None:
    if not isinstance(value, Tensor) or value.ndim != 1:
        raise EditError(f"{item.id} is a {_type_name(value)}; wire the SIGMAS of a scheduler, such as BasicScheduler.")


def _check_picture(item: Any, value: Any) -> None:
    _check_pixels(item.id, value, {4: "[batch, height, width, 3]"}, last=3)


def _check_mask(item: Any, value: Any) -> None:
    _check_pixels(item.id, value, {2: "[height, width]", 3: "[batch, height, width]"}, last=1)


def _check_pixels(name: str, value: Any, shapes: dict[int, str], last: int) -> None:
    """Check that a value is a tensor of one of these numbers of axes, of which the last has this length or more."""
    if (
        not isinstance(value, Tensor)
        or value.ndim not in shapes
        or value.numel() == 0
        or value.shape[-1] < last
        or not is_computable(value)
    ):
        shape = plain_text(f"{tuple(value.shape)} {value.dtype}") if isinstance(value, Tensor) else _type_name(value)
        raise EditError(f"{name} is no picture ({shape}); {' or '.join(shapes.values())} is accepted.")
    if not torch.isfinite(value.float()).all():
        raise EditError(f"{name} holds NaN or infinite values; check the node it comes from.")


def _check_conditioning(item: Any, value: Any) -> None:
    if not isinstance(value, list) or not value:
        raise EditError(f"{item.id} holds no prompt; wire the CONDITIONING of CLIP Text Encode.")
    for part in value:
        whole = isinstance(part, list | tuple) and len(part) == 2 and isinstance(part[1], dict)
        if not whole or not isinstance(part[0], Tensor) or part[0].ndim != TOKEN_AXES:
            raise EditError(f"{item.id} is no CONDITIONING; wire that of CLIP Text Encode.")
        if part[0].numel() == 0 or not torch.isfinite(part[0].float()).all():
            raise EditError(
                f"{item.id} is empty, or holds NaN or infinite values; check the node it comes from, or its LoRA."
            )


def _check_text_widths(prompts: dict[str, Any], model: Any) -> None:
    """Check that all prompts have the width that a U-Net, SD3 or Flux takes, or at least the same."""
    wanted = 0
    if model is not None and has_bottleneck(model.model):
        wanted = family_of(model.model).text_width
    elif model is not None:
        network = getattr(model.model, "diffusion_model", None)
        layers = [getattr(network, name, None) for name in TEXT_LAYERS]
        wanted = next((layer.in_features for layer in layers if hasattr(layer, "in_features")), 0)
    for name, prompt in prompts.items():
        for tokens, _ in prompt:
            width = tokens.shape[-1]
            wanted = wanted or width
            if width != wanted:
                raise EditError(
                    f"{name} is of a text encoder of width {width}, but {wanted} is accepted here; "
                    "use the CLIP that belongs to the model, for all prompts."
                )


CHECKS: dict[str, Callable[[Any, Any], None]] = {
    io.Int.io_type: _check_whole_number,
    io.Float.io_type: _check_number,
    io.Combo.io_type: _check_option,
    io.Boolean.io_type: _check_switch,
    io.String.io_type: _check_text,
    io.Latent.io_type: _check_latent,
    io.Sigmas.io_type: _check_sigmas,
    io.Image.io_type: _check_picture,
    io.Mask.io_type: _check_mask,
    io.Conditioning.io_type: _check_conditioning,
}
