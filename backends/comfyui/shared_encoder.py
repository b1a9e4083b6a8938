"""A plain and an edited prediction that share the encoder and the middle block of ComfyUI's U-Net.

The plain prediction is the stock call. Meanwhile each run of the network keeps what its decoder was given: a Recording.
The edited prediction is asked for through all of ComfyUI once more, guidance included, but where the network is asked
what it was asked before, only its decoder runs, on the edited rows: a Replay. This is how the code of the Asyrp paper
(arXiv 2210.10960) computes its two predictions.

A run of the network that cannot be repeated exactly is not kept, and the edited prediction then runs the whole network
as it would without this module: another DIFFUSION_MODEL wrapper, a patch of unknown origin, a video model. A compiled
or replaced network, a model_function_wrapper, an APPLY_MODEL wrapper and several GPUs are not recorded at all.
This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel, forward_timestep_embed
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor

from .bottleneck import BottleneckPatch, before_decoder, edited_chunks, with_first_output_patch

WRAPPER_KEY = "singular_edit"
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
    transformer = model_options.get("transformer_options", {})
    wrapped = any(get_all_wrappers(kind, transformer) for kind in (WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL))
    return (
        type(network) is UNetModel
        and not {"forward", "_forward", "__call__"} & set(vars(network))
        and network._compiled_call_impl is None
        and network.default_num_video_frames is None
        and not network.predict_codebook_ids
        and not wrapped
        and "model_function_wrapper" not in model_options
        and "multigpu_clones" not in model_options
    )


class Question(NamedTuple):
    """What the network is asked in one run.

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


class Run(NamedTuple):
    """One run of the network that can be repeated from the bottleneck on.

    Attributes:
        question: What the network was asked.
        chosen: The chunks that an edit changes.
        h: The bottleneck of these chunks; empty where there are none.
        skips: The skip connection of each decoder block, of these chunks; consumed by decode.
        transformer_index: How many transformers came before the decoder.
        output: What the network answered, all rows.
    """

    question: Question
    chosen: list[int]
    h: list[Tensor]
    skips: list[Tensor]
    transformer_index: list[int]
    output: list[Tensor]


class Recording:
    """The runs of the network during a plain prediction.

    Args:
        edit_uncond: Whether the edited prediction will edit the rows of the negative prompt too.
    """

    def __init__(self, edit_uncond: bool) -> None:
        self.edit_uncond = edit_uncond
        self.runs: list[Run | None] = []
        self._current: Run | None = None

    def options(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Copy model_options so that a prediction with them is recorded; what is predicted does not change."""
        return _with_wrapper(with_first_output_patch(model_options, self._keep), self._record)

    def _record(self, executor: Any, *inputs: Any, **more: Any) -> Tensor:
        """Run the network and keep what its decoder was given: a DIFFUSION_MODEL wrapper."""
        question = _question(executor, inputs, more, self._keep)
        if question is None:
            self.runs.append(None)
            return executor(*inputs, **more)
        run = Run(question, edited_chunks(question.kinds, self.edit_uncond), [], [], [], [])
        self._current = run
        try:
            output: Tensor = executor(*inputs, **more)
        finally:
            self._current = None
        run.output.append(output.clone())
        complete = not run.chosen or len(run.skips) == len(executor.class_obj.output_blocks)
        self.runs.append(run if complete else None)
        return output

    def _keep(self, h: Tensor, hsp: Tensor | None, transformer_options: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Keep the edited chunks of what a decoder block is given: an output_block_patch."""
        run = self._current
        if run is not None and run.chosen and hsp is not None:
            count = len(run.question.kinds)
            if before_decoder(transformer_options):
                # A copy, because other patches write into h.
                run.h.append(_chunks(h, run.chosen, count).clone())
                run.transformer_index.append(transformer_options["transformer_index"])
            rows = _chunks(hsp, run.chosen, count)
            # A copy of a part lets the whole go; the whole itself is kept without a copy.
            run.skips.append(rows if len(run.chosen) == count else rows.clone())
        return h, hsp


class Replay:
    """The edited prediction that follows a recorded one.

    Args:
        recording: Of the plain prediction, with the same edit_uncond.
        patch: The edit.
    """

    def __init__(self, recording: Recording, patch: BottleneckPatch) -> None:
        self.runs = iter(recording.runs)
        self.patch = patch

    def options(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """Copy model_options so that a prediction with them is the edited one."""
        return _with_wrapper(with_first_output_patch(model_options, self.patch), self._replay)

    def _replay(self, executor: Any, *inputs: Any, **more: Any) -> Tensor:
        """Run the decoder alone if the network is asked what it was asked before: a DIFFUSION_MODEL wrapper."""
        run = next(self.runs, None)
        question = _question(executor, inputs, more, self.patch)
        if run is None or question is None or not _same(run.question, question):
            return executor(*inputs, **more)
        self.patch.fired = True
        output = run.output.pop()
        if run.chosen:
            edited = _decode(executor.class_obj, run, question, self.patch).chunk(len(run.chosen))
            chunks = list(output.chunk(len(question.kinds)))
            for i, part in zip(run.chosen, edited, strict=True):
                chunks[i] = part
            output = torch.cat(chunks)
        return output


def _decode(network: Any, run: Run, question: Question, patch: BottleneckPatch) -> Tensor:
    """Run the decoder on the edited chunks, [rows, C, h, w]."""
    count = len(question.kinds)
    x, timesteps, context = (_chunks(part, run.chosen, count) for part in question[:3])
    emb = network.time_embed(timestep_embedding(timesteps, network.model_channels, repeat_only=False).to(x.dtype))
    if question.y is not None:
        emb = emb + network.label_emb(_chunks(question.y, run.chosen, count))
    options = {
        **question.options,
        **{name: [question.options[name][i] for i in run.chosen] for name in ("cond_or_uncond", "uuids")},
        "original_shape": list(x.shape),
        "transformer_index": run.transformer_index[0],
    }
    bottleneck = run.h.pop()
    # A copy, because other patches write into h.
    h = patch.h_edit(bottleneck).to(bottleneck.dtype).clone()
    for number, block in enumerate(network.output_blocks):
        options["block"] = ("output", number)
        skip: Tensor | None = run.skips.pop(0)
        for other in options["patches"]["output_block_patch"]:
            h, skip = other(h, skip, options)
        if skip is not None:
            h = torch.cat([h, skip], dim=1)
        # An odd size is halved to the next whole number, so that the next skip connection says what to double to.
        size = run.skips[0].shape if run.skips else None
        h = forward_timestep_embed(block, h, emb, context, options, size)
    return network.out(h.type(x.dtype))


def _question(executor: Any, inputs: tuple[Any, ...], more: dict[str, Any], ours: Any) -> Question | None:
    """Return what the network is asked, or None where its run cannot be repeated from the bottleneck on."""
    x, timesteps, context, y, control, options = inputs
    network = executor.class_obj
    others = options["patches"]["output_block_patch"][1:]
    patches = {**options["patches"], "output_block_patch": others}
    functions = [*_leaves(patches), *_leaves(options.get("patches_replace", {}))]
    batched = [part for part in (timesteps, context, y) if part is not None]
    repeatable = (
        getattr(executor.original, "__func__", None) is UNetModel._forward
        # A prompt's own hook may add patches before ours, or wrap the network once more.
        and options["patches"]["output_block_patch"][0] == ours
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
    return Question(x, timesteps, context, y, control, {**kept, "patches": patches})


def _with_wrapper(model_options: dict[str, Any], wrapper: Any) -> dict[str, Any]:
    """Copy model_options with a DIFFUSION_MODEL wrapper."""
    transformer = model_options["transformer_options"]
    wrappers = transformer.get("wrappers", {})
    of_network = {**wrappers.get(WrappersMP.DIFFUSION_MODEL, {}), WRAPPER_KEY: [wrapper]}
    wrappers = {**wrappers, WrappersMP.DIFFUSION_MODEL: of_network}
    return {**model_options, "transformer_options": {**transformer, "wrappers": wrappers}}


def _chunks(batch: Tensor, chosen: list[int], count: int) -> Tensor:
    """Return some of the ``count`` chunks of a batch, without a copy where one or all are chosen."""
    if len(chosen) == count:
        return batch
    chunks = batch.chunk(count)
    return chunks[chosen[0]] if len(chosen) == 1 else torch.cat([chunks[i] for i in chosen])


def _leaves(tree: Any) -> list[Any]:
    """Return what nested dictionaries and lists hold."""
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in _leaves(part)]
    if isinstance(tree, list | tuple):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [tree]


def _is_known(function: Any) -> bool:
    """Return whether a patch is one of KNOWN_PATCHES. ComfyUI loads them under several names, so their file tells."""
    path = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    return path.parent.name == "comfy_extras" and path.name in KNOWN_PATCHES


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are the same: tensors and plain values by content, other objects by identity."""
    if a is b:
        return True
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(*pair) for pair in zip(a, b, strict=True))
    return isinstance(a, COMPARED_BY_VALUE) and type(a) is type(b) and a == b
