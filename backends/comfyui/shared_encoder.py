"""A plain and an edited prediction that share the encoder and the middle block of ComfyUI's U-Net.

The plain prediction is the stock call. Meanwhile each run of the network keeps what its decoder was given: a Recording.
The edited prediction is asked for through all of ComfyUI once more, guidance included, but where the network is given
what it was given before, only its decoder runs, on the edited rows: a Replay. This is how the code of the Asyrp paper
(arXiv 2210.10960) computes its two predictions.

A run of the network that cannot be repeated exactly (repeatable.py) is not kept, and the edited prediction then runs
the whole network, as it would without this module. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from comfy.ldm.modules.diffusionmodules import openaimodel
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .bottleneck import BottleneckPatch, before_decoder, with_first_output_patch
from .h_patch import edited_chunks
from .repeatable import NetworkInputs, network_inputs, same

WRAPPER_KEY = "singular_edit"


class Run(NamedTuple):
    """One run of the network that can be repeated from the bottleneck on.

    Attributes:
        given: What the network was given.
        chosen: The chunks that an edit changes.
        h: The bottleneck of these chunks; empty where there are none.
        skips: The skip connection of each decoder block, of these chunks; consumed by decode.
        transformer_index: How many transformers came before the decoder.
        output: What the network returned, all rows.
    """

    given: NetworkInputs
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
        return with_network_wrapper(with_first_output_patch(model_options, self._keep), self._record)

    def _record(self, executor: Any, *inputs: Any, **more: Any) -> Tensor:
        """Run the network and keep what its decoder was given: a DIFFUSION_MODEL wrapper."""
        given = network_inputs(executor, inputs, more, self._keep)
        if given is None:
            self.runs.append(None)
            return executor(*inputs, **more)
        run = Run(given, edited_chunks(given.kinds, self.edit_uncond), [], [], [], [])
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
            count = len(run.given.kinds)
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
        return with_network_wrapper(self.patch.options(model_options), self._replay)

    def _replay(self, executor: Any, *inputs: Any, **more: Any) -> Tensor:
        """Run the decoder alone if the network is given what it was given before: a DIFFUSION_MODEL wrapper."""
        run = next(self.runs, None)
        given = network_inputs(executor, inputs, more, self.patch)
        if run is None or given is None or not same(run.given, given):
            return executor(*inputs, **more)
        self.patch.fired = True
        output = run.output.pop()
        if run.chosen:
            edited = _decode(executor.class_obj, run, given, self.patch).chunk(len(run.chosen))
            chunks = list(output.chunk(len(given.kinds)))
            for i, part in zip(run.chosen, edited, strict=True):
                chunks[i] = part
            output = torch.cat(chunks)
        return output


def _decode(network: Any, run: Run, given: NetworkInputs, patch: BottleneckPatch) -> Tensor:
    """Run the decoder on the edited chunks, [rows, C, h, w]."""
    count = len(given.kinds)
    x, timesteps, context = (_chunks(part, run.chosen, count) for part in given[:3])
    emb = network.time_embed(timestep_embedding(timesteps, network.model_channels, repeat_only=False).to(x.dtype))
    if given.y is not None:
        emb = emb + network.label_emb(_chunks(given.y, run.chosen, count))
    options = {
        **given.options,
        **{name: [given.options[name][i] for i in run.chosen] for name in ("cond_or_uncond", "uuids")},
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
        h = openaimodel.forward_timestep_embed(block, h, emb, context, options, size)
    return network.out(h.type(x.dtype))


def with_network_wrapper(model_options: dict[str, Any], wrapper: Any) -> dict[str, Any]:
    """Copy model_options with a DIFFUSION_MODEL wrapper: (executor, what the network is given) -> what it returns."""
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
