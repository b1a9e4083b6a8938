"""Which runs of ComfyUI's U-Net can be repeated from the bottleneck on, with a result that is assured.

A run is such a one if nothing but ComfyUI's own code takes part in it, and weights: LoRA, ControlNet and areas are
that. Patches by known stock nodes are too. Everything else might remember an earlier run, or look at more than it is
given. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import torch
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor

# Stock patches that keep nothing of the decoder from one run to the next and treat each row of a batch alone: FreeU,
# Kohya Deep Shrink, Perturbed-Attention Guidance, Self-Attention Guidance.
KNOWN_PATCHES = ("nodes_freelunch.py", "nodes_model_downscale.py", "nodes_pag.py", "nodes_sag.py")
# Options that the network writes itself.
WRITTEN = ("original_shape", "transformer_index", "block", "block_index", "activations_shape")
# Options that ComfyUI sets. Others are another node's, and nobody knows what they do.
KNOWN_OPTIONS = {
    *WRITTEN,
    "callbacks",
    "cond_or_uncond",
    "patches",
    "patches_replace",
    "prefetch_dynamic_vbars",
    "sample_sigmas",
    "sigmas",
    "uuids",
    "wrappers",
}
COMPARED_BY_VALUE = (bool, int, float, str, UUID, type(None))


def can_record(base_model: Any, model_options: dict[str, Any]) -> bool:
    """Return whether the network is ComfyUI's own U-Net, and runs as ComfyUI wrote it.

    Args:
        base_model: ComfyUI's BaseModel.
        model_options: What the sampler function was given.

    Returns:
        False where something wraps, compiles or replaces the network.
    """
    network = base_model.diffusion_model
    if type(network) is not openaimodel.UNetModel:
        return False
    transformer = model_options.get("transformer_options", {})
    wrapped = any(get_all_wrappers(kind, transformer) for kind in (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL))
    functions = (type(network).forward, type(network)._forward, openaimodel.forward_timestep_embed)
    return (
        not wrapped
        and "model_function_wrapper" not in model_options
        and "multigpu_clones" not in model_options
        and network.default_num_video_frames is None
        and not network.predict_codebook_ids
        and all(_file_of(function) == openaimodel.__file__ for function in functions)
        and all(_runs_as_written(module) for module in network.modules())
    )


def _runs_as_written(module: torch.nn.Module) -> bool:
    """Return whether a layer is ComfyUI's or torch's own, not compiled, and its forward is that of its class."""
    replaced = vars(module).keys() & {"forward", "_forward"}
    of_whom = type(module).__module__
    return not replaced and module._compiled_call_impl is None and of_whom.startswith(("comfy.", "torch.nn."))


def _file_of(function: Any) -> str:
    """Return the file in which a function is written; "" for other callables."""
    return getattr(getattr(function, "__code__", None), "co_filename", "")


class NetworkInputs(NamedTuple):
    """What the network is given in one run.

    Attributes:
        x: Its input, [R, C, h, w].
        timesteps: [R].
        context: The prompts, [R, tokens, width].
        y: Pooled prompt and sizes, [R, width]; None for models without.
        control: ControlNet's residuals; None without.
        options: The transformer_options, without what belongs to this module or is written by the network.
    """

    x: Tensor
    timesteps: Tensor
    context: Tensor
    y: Tensor | None
    control: dict[str, list[Tensor | None]] | None
    options: dict[str, Any]

    @property
    def kinds(self) -> list[int]:
        """ComfyUI's cond_or_uncond: one number for each chunk of the batch."""
        return self.options["cond_or_uncond"]


def network_inputs(executor: Any, inputs: tuple[Any, ...], more: dict[str, Any], ours: Any) -> NetworkInputs | None:
    """Return what the network is given.

    Args:
        executor: ComfyUI's, as a DIFFUSION_MODEL wrapper is given it.
        inputs: The positional arguments of the network.
        more: Its other arguments.
        ours: The first output_block_patch.

    Returns:
        The inputs, or None where the run cannot be repeated from the bottleneck on.
    """
    if len(inputs) != len(NetworkInputs._fields):
        return None
    x, timesteps, context, y, control, options = inputs
    network = executor.class_obj
    others = options["patches"]["output_block_patch"][1:]
    patches = {**options["patches"], "output_block_patch": others}
    functions = [*_leaves(patches), *_leaves(options.get("patches_replace", {}))]
    batched = [part for part in (timesteps, context, y) if part is not None]
    repeatable = (
        # A prompt's own hook may add patches before ours, or wrap the network once more.
        options["patches"]["output_block_patch"][0] == ours
        and len(get_all_wrappers(WrappersMP.DIFFUSION_MODEL, options)) == 1
        and not get_all_wrappers(WrappersMP.APPLY_MODEL, options)
        and options.keys() <= KNOWN_OPTIONS
        and all(_is_known(function) for function in functions)
        and not any(value is not None for value in more.values())
        and all(isinstance(part, Tensor) and len(part) == len(x) for part in batched)
        and context is not None
        and (y is not None) == (network.num_classes is not None)
        and len(x) % len(options["cond_or_uncond"]) == 0
    )
    if not repeatable:
        return None
    # The network takes the residuals out of these lists.
    control = None if control is None else {name: list(parts) for name, parts in control.items()}
    kept = {name: value for name, value in options.items() if name not in (*WRITTEN, "wrappers", "patches")}
    return NetworkInputs(x, timesteps, context, y, control, {**kept, "patches": patches})


def _leaves(tree: Any) -> list[Any]:
    """Return what nested dictionaries and lists hold."""
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [tree]


def _is_known(function: Any) -> bool:
    """Return whether a patch is one of KNOWN_PATCHES. ComfyUI loads them under several names, so their file tells."""
    path = Path(_file_of(function))
    return path.parent.name == "comfy_extras" and path.name in KNOWN_PATCHES


def same(a: Any, b: Any) -> bool:
    """Compare two values: tensors and plain values by content, other objects by identity.

    Args:
        a: A value; dictionaries, lists and tuples are compared by what they hold.
        b: Another.

    Returns:
        Whether they are the same.
    """
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(*pair) for pair in zip(a, b, strict=True))
    return isinstance(a, COMPARED_BY_VALUE) and type(a) is type(b) and a == b
