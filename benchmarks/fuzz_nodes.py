"""Generated calls of every node inside ComfyUI: inputs in range, out of range, and broken.

What a call is given must be as before when it ends, whether it ends well or not, and it must end.
"""

from __future__ import annotations

import faulthandler
import random
import sys
from pathlib import Path
from typing import Any

import torch
from pack_in_comfyui import PackInComfyUI, Wires
from singular_edit.core import EditError
from snapshot import differences, process_state, seen
from torch import Tensor

LONGEST_SENTENCE = 300
# No latent and no picture becomes so large.
ABSURD = 1e6
# Seconds that one call may take; the slowest takes about ten on one core.
LONGEST_CALL = 300
# How often an input is one that a page would send, and how often a call has only such inputs.
HONEST_SHARE = 0.9
HONEST_CALLS = 0.3
ODD_NUMBERS = (-1, 0, 1, -(2**63), 2**64, 1e308, -1e308, float("nan"), float("inf"), "3", None, True, [1], 0.5)
ODD_TEXTS = ("", "\0", "\ud800", "$x_{", "^", "../../x", "C:\\x", "/etc/x", "a\nb", "k" * 5000, "NUL", "x.", None, 7)
NAMES = ("hat", "a face with $x^2$", "people/hat", "0, 1, 1.5", "", "double_block:1", "nan, 1", "1e400")
# Widgets that say how long a node works get small values.
SMALL = {"steps", "samples", "training_steps", "max_iterations", "count", "batch_size", "at_step", "first_parting"}
SMALL |= {"last_parting", "stop_at_step", "first_atom", "last_atom", "rank", "component"}


def broken_tensors(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """Something that is no tensor of this shape."""
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(rng.randrange(2**32)))
    return rng.choice(
        (
            tensor * float("nan"),
            tensor * float("inf"),
            1e38 * tensor,
            1e8 * tensor,
            0 * tensor,
            tensor[:0],
            tensor[..., :0],
            tensor[0],
            tensor[:, :, None],
            tensor.bool(),
            tensor.half(),
            tensor.double(),
            tensor.to(torch.float8_e4m3fn),
            tensor[..., :3, :5],
            tensor[..., :1, :1],
            torch.ones(2, 16, 8, 8),
            tensor.tolist(),
            None,
        )
    )


class Calls:
    """The nodes, and calls of them.

    Args:
        pack: Where they run; None starts ComfyUI.
    """

    def __init__(self, pack: PackInComfyUI | None = None) -> None:
        self.pack = PackInComfyUI() if pack is None else pack
        self.names = sorted(self.pack.nodes)
        self.seen = seen(self.pack.wires)
        self.files = self.files_outside()

    def files_outside(self) -> set[Path]:
        """Return the files in and beside the folders that nodes may write into, which are left out."""
        ours = self.pack.folder / "comfyui"
        return {path for path in self.pack.folder.rglob("*") if ours not in path.parents and path != ours}

    def call(self, name: str, rng: random.Random) -> str:
        """Call a node with generated inputs.

        Args:
            name: The node.
            rng: What is drawn from.

        Returns:
            "right", or the sentence.

        Raises:
            AssertionError: A result is not finite, a sentence is not one that can be shown, what was given has changed,
                or a file lies where none may.
        """
        network = "transformer" if rng.random() < 0.3 and "transformer" in self.pack.wires else "unet"
        wires = self.pack.wires[network]
        share = 1.0 if rng.random() < HONEST_CALLS else HONEST_SHARE
        inputs = {}
        for item in self.pack.nodes[name].define_schema().inputs:
            if item.optional and rng.random() < 0.5:
                continue
            inputs[item.id] = honest(item, wires, rng) if rng.random() < share else self.odd(item, wires, rng)
        faulthandler.dump_traceback_later(LONGEST_CALL, exit=True, file=sys.__stderr__)
        try:
            return self._ends(name, inputs, wires)
        finally:
            faulthandler.cancel_dump_traceback_later()
            before, self.seen = self.seen, seen(self.pack.wires)
            changed = differences(before, self.seen)
            assert not changed, f"changed {', '.join(changed[:3])}"
            assert self.files_outside() == self.files, "files outside of ComfyUI's folders"

    def _ends(self, name: str, inputs: dict[str, Any], wires: Wires) -> str:
        state = process_state()
        try:
            try:
                with torch.inference_mode():
                    outputs = self.pack.nodes[name].execute(**inputs).args
            finally:
                assert process_state() == state, f"changed {differences(state, process_state())}"
            for output in outputs:
                self.check(output, wires)
        except EditError as error:
            sentence = str(error)
            assert len(sentence) <= LONGEST_SENTENCE, f"{len(sentence)} characters: {sentence[:60]}"
            assert sentence.isprintable(), f"no plain text: {sentence!r}"
            assert str(self.pack.folder) not in sentence, "a path"
            return sentence
        return "right"

    def odd(self, item: Any, wires: Wires, rng: random.Random) -> Any:
        """Return a value that no page gives, or one of another model."""
        kind = rng.choice(item.get_io_type().split(","))
        of = wires.by_type
        if kind in ("INT", "FLOAT"):
            return rng.choice(ODD_NUMBERS)
        if kind == "LATENT":
            return rng.choice(({"samples": broken_tensors(rng, (2, *wires.size))}, {}, None, 3))
        if kind == "SIGMAS":
            sigmas = of["SIGMAS"][0]
            ends = torch.tensor([3.0, float("nan"), 0.0]), torch.zeros(0), sigmas.flip(0), sigmas[:1], sigmas[:2]
            return rng.choice((*ends, 0 * sigmas, 1e4 * sigmas, sigmas[1:], sigmas[:, None], -sigmas, None, "x"))
        if kind == "CONDITIONING":
            return odd_prompt(of["CONDITIONING"], rng)
        if kind in ("IMAGE", "MASK"):
            return broken_tensors(rng, (1, 16, 16, 3) if kind == "IMAGE" else (1, 16, 16))
        if kind == "MODEL" and rng.random() < 0.5:
            return nan_model(of["MODEL"][0])
        if kind in of and rng.random() < 0.7:
            other = rng.choice(list(self.pack.wires.values())).by_type
            return rng.choice(other[kind if rng.random() < 0.7 else rng.choice(sorted(other))])
        return rng.choice(ODD_TEXTS)

    def check(self, output: Any, wires: Wires) -> None:
        """Raise AssertionError for an output that holds or gives NaN; what samples is sampled with."""
        import comfy.model_patcher
        import comfy.samplers

        if isinstance(output, comfy.model_patcher.ModelPatcher):
            output = self.pack.sample(self._wires_of(output, wires), model=output)
        elif isinstance(output, comfy.samplers.KSAMPLER):
            output = self.pack.sample(wires, sampler=output)
        elif callable(output):
            latent = wires.by_type["LATENT"][1]["samples"].clone()
            output = output(latent=latent)
        elif hasattr(output, "generate_noise"):
            output = output.generate_noise(wires.by_type["LATENT"][0])
        if isinstance(output, dict) and "samples" in output:
            output = output["samples"]
        if isinstance(output, float):
            output = torch.tensor(output)
        if isinstance(output, Tensor) and output.is_floating_point():
            assert float(output.float().abs().max()) <= ABSURD, "not finite, or absurd"

    def _wires_of(self, model: Any, wires: Wires) -> Wires:
        """Return the wires that belong to a MODEL."""
        kind = type(model.model)
        return next((one for one in self.pack.wires.values() if type(one.by_type["MODEL"][0].model) is kind), wires)


def honest(item: Any, wires: Wires, rng: random.Random) -> Any:
    """Return a value that a page or an honest wire gives."""
    kind = rng.choice(item.get_io_type().split(","))
    values = [one for name in item.get_io_type().split(",") for one in wires.by_type.get(name, [])]
    if values:
        return rng.choice(values)
    if kind == "INT":
        return rng.choice((item.default, item.min)) if item.id not in SMALL else item.min + rng.randrange(4)
    if kind == "FLOAT":
        return rng.choice((item.default, rng.uniform(item.min, item.max)))
    if kind == "COMBO":
        return rng.choice(list(item.options) or ["none"])
    if kind == "BOOLEAN":
        return rng.random() < 0.5
    return rng.choice((item.default, item.default, rng.choice(NAMES))) if kind == "STRING" else None


def odd_prompt(prompts: list[Any], rng: random.Random) -> Any:
    """Return a CONDITIONING that is broken, narrow, or about a part of picture or steps."""
    tokens, more = prompts[0][0]
    mask = torch.zeros(1, 16, 16)
    mask[:, :4, :4] = 1
    part = rng.choice(
        (
            [[tokens, {**more, "area": (8, 8, 0, 0), "strength": 1.0}]],
            [[tokens, {**more, "mask": mask, "set_area_to_bounds": True}]],
            [[tokens, {**more, "start_percent": 0.5, "end_percent": 1.0}]],
            [[tokens, {**more, "start_percent": 0.0, "end_percent": 0.5}]],
            [[tokens[..., :5], more]],
            [[tokens * float("nan"), more]],
            [[1e30 * tokens, more]],
            [[tokens[:, :0], more]],
            [[tokens[0], more]],
            [[tokens, None]],
            [],
            None,
            [1],
            "a face",
        )
    )
    return [*part, *prompts[1]] if isinstance(part, list) and rng.random() < 0.2 else part


def nan_model(model: Any) -> Any:
    """Return a MODEL that predicts NaN, as half precision does that overflows."""
    clone = model.clone()
    clone.set_model_unet_function_wrapper(
        lambda apply, args: float("nan") * apply(args["input"], args["timestep"], **args["c"])
    )
    return clone
