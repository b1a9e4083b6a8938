"""Generated calls of every node inside ComfyUI, on the embedded model: inputs in range, out of range, and broken."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from typing import Any

import singular_edit
import torch
from singular_edit.backends.find_comfyui import find_comfyui
from singular_edit.core import EditError
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.demo.attributes import readout_path, svd_path
from torch import Tensor

LONGEST_SENTENCE = 300
# No latent and no picture becomes so large.
ABSURD = 1e6
SIZE = (4, 16, 16)
STEPS = 3
# How often an input is one that a page would send.
HONEST_SHARE = 0.85
ODD_NUMBERS = (-1, 0, 1, -(2**63), 2**64, 1e308, -1e308, float("nan"), float("inf"), "3", None, True, [1], 0.5)
ODD_TEXTS = ("", "\0", "\ud800", "$x_{", "^", "../../x", "C:\\x", "/etc/x", "a\nb", "k" * 5000, "NUL", "x.", None, 7)
# Widgets that say how long a node works get small values.
SMALL = {"steps", "samples", "training_steps", "max_iterations", "count", "batch_size"}


def broken_tensors(rng: random.Random, shape: tuple[int, ...]) -> Any:
    """Something that is no tensor of this shape."""
    tensor = torch.randn(shape)
    return rng.choice(
        (
            tensor * float("nan"),
            tensor * float("inf"),
            1e38 * tensor,
            tensor[:0],
            tensor[..., :0],
            tensor[0],
            tensor[:, :, None],
            tensor.bool(),
            tensor.to(torch.float8_e4m3fn),
            tensor[..., :3, :5],
            torch.randn(2, 16, 8, 8),
            tensor.tolist(),
            None,
        )
    )


class Calls:
    """The nodes, and what is wired to them."""

    def __init__(self) -> None:
        comfyui = find_comfyui()
        assert comfyui is not None, "set COMFYUI_PATH"
        sys.path.insert(0, str(comfyui))
        import comfy.cli_args

        comfy.cli_args.args.cpu = not torch.cuda.is_available()
        import folder_paths

        folder_paths.models_dir = tempfile.mkdtemp()
        extension = asyncio.run(singular_edit.comfy_entrypoint())
        nodes = asyncio.run(extension.get_node_list())
        self.nodes = {node.define_schema().node_id.removeprefix("SingularEdit"): node for node in nodes}
        self.names = sorted(self.nodes)
        with torch.inference_mode():
            self._wire()

    def _wire(self) -> None:
        """Make what honest wires carry."""
        from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise

        import nodes

        model, clip, vae = self.nodes["DemoModel"].execute().args
        prompts = [nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a face", "a face with a hat")]
        face = self.nodes["DemoFace"].execute(seed=1, smile="off", glasses="off", hat="off", beard="off").args[0]
        attributes = [load_attribute(path("hat")) for path in (svd_path, readout_path)]
        self.model, self.prompts = model, prompts
        self.sigmas = BasicScheduler().get_sigmas(model, "normal", STEPS, 1.0)[0]
        noise = RandomNoise().get_noise(0)[0]
        self.wires: dict[str, list[Any]] = {
            "MODEL": [model],
            "CLIP": [clip],
            "VAE": [vae],
            "CONDITIONING": prompts,
            "LATENT": [{"samples": torch.randn(count, *SIZE)} for count in (1, 2)],
            "SIGMAS": [self.sigmas],
            "SAMPLER": [KSamplerSelect().get_sampler(name)[0] for name in ("euler", "dpmpp_2m")],
            "NOISE": [noise],
            "IMAGE": [face],
            "MASK": [torch.rand(1, 16, 16)],
            "ATTRIBUTE": attributes,
            "SVD_ATTRIBUTE": attributes[:1],
            "H_DIRECTION": attributes[1:],
        }

    def call(self, name: str, rng: random.Random) -> str:
        """Call a node with generated inputs.

        Args:
            name: The node.
            rng: What is drawn from.

        Returns:
            "right", or the sentence.

        Raises:
            AssertionError: A result is not finite, or a sentence is not one that can be shown.
        """
        node = self.nodes[name]
        inputs = {}
        for item in node.define_schema().inputs:
            if not item.optional or rng.random() < 0.5:
                inputs[item.id] = self.honest(item, rng) if rng.random() < HONEST_SHARE else self.odd(item, rng)
        try:
            with torch.inference_mode():
                for output in node.execute(**inputs).args:
                    self.check(output)
        except EditError as error:
            sentence = str(error)
            assert len(sentence) <= LONGEST_SENTENCE, f"{len(sentence)} characters: {sentence[:60]}"
            assert sentence.isprintable(), f"no plain text: {sentence!r}"
            return sentence
        return "right"

    def honest(self, item: Any, rng: random.Random) -> Any:
        """Return a value that a page or an honest wire gives."""
        kind = item.io_type.split(",")[0]
        if kind in self.wires:
            return rng.choice(self.wires[kind])
        if kind == "INT":
            return rng.randint(item.min, min(item.max, item.min + 4 if item.id in SMALL else 100))
        if kind == "FLOAT":
            return rng.choice((item.default, rng.uniform(item.min, item.max)))
        if kind == "COMBO":
            return rng.choice(list(item.options) or ["none"])
        if kind == "BOOLEAN":
            return rng.random() < 0.5
        return item.default if kind == "STRING" else None

    def odd(self, item: Any, rng: random.Random) -> Any:
        """Return a value that no page gives."""
        kind = item.io_type.split(",")[0]
        if kind in ("INT", "FLOAT"):
            return rng.choice(ODD_NUMBERS)
        if kind == "LATENT":
            return rng.choice(({"samples": broken_tensors(rng, (2, *SIZE))}, {}, None, 3))
        if kind == "SIGMAS":
            ends = torch.tensor([3.0, float("nan"), 0.0]), torch.zeros(0), self.sigmas.flip(0), self.sigmas[:1]
            return rng.choice((*ends, 0 * self.sigmas, self.sigmas[:, None], -self.sigmas, None, "x"))
        if kind == "CONDITIONING":
            return self._odd_prompt(rng)
        if kind in ("IMAGE", "MASK"):
            return broken_tensors(rng, (1, 16, 16, 3) if kind == "IMAGE" else (1, 16, 16))
        if kind in self.wires and rng.random() < 0.3:
            return rng.choice(self.wires[rng.choice(sorted(self.wires))])
        return rng.choice(ODD_TEXTS)

    def _odd_prompt(self, rng: random.Random) -> Any:
        """Return a CONDITIONING that is broken, narrow, or about a part of picture or steps."""
        tokens, more = self.prompts[0][0]
        part = rng.choice(
            (
                [[tokens, {**more, "area": (8, 8, 0, 0), "strength": 1.0}]],
                [[tokens, {**more, "start_percent": 0.5, "end_percent": 1.0}]],
                [[tokens, {**more, "start_percent": 0.0, "end_percent": 0.5}]],
                [[tokens[..., :5], more]],
                [[tokens * float("nan"), more]],
                [[tokens[:, :0], more]],
                [],
                None,
                [1],
                "a face",
            )
        )
        return [*part, *self.prompts[1]] if isinstance(part, list) and rng.random() < 0.2 else part

    def check(self, output: Any) -> None:
        """Raise AssertionError for an output that holds or gives NaN; what samples is sampled with."""
        import comfy.model_patcher
        import comfy.samplers
        from comfy_extras.nodes_custom_sampler import SamplerCustom

        if isinstance(output, dict) and "samples" in output:
            output = output["samples"]
        is_model = isinstance(output, comfy.model_patcher.ModelPatcher)
        if is_model or isinstance(output, comfy.samplers.KSAMPLER):
            model = output if is_model else self.model
            sampler = self.wires["SAMPLER"][0] if is_model else output
            latent = {"samples": torch.randn(1, *SIZE, generator=torch.Generator().manual_seed(0))}
            sample = SamplerCustom().sample
            output = sample(model, True, 0, 2.0, *self.prompts, sampler, self.sigmas, latent)[0]["samples"]
        if isinstance(output, Tensor) and output.is_floating_point():
            assert float(output.abs().max()) <= ABSURD, "not finite, or absurd"
