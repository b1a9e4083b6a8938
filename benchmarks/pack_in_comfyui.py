"""The pack inside ComfyUI, in this process, with something honest for every wire of every node, made at little cost."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import singular_edit
import torch
from singular_edit.backends.find_comfyui import find_comfyui
from singular_edit.core.recipes import defaults

NETWORKS = ("unet", "transformer")
# Learning as little as it can: what is looked for does not depend on how much is learned.
LIGHT = {
    "TRAINING_STEPS": 2,
    "READOUT_SAMPLES": 4,
    "READOUT_MIN_SAMPLES": 2,
    "LEARN_SAMPLES": 2,
    "CALIBRATION_NOISES": 2,
    "READOUT_CALIBRATION_NOISES": 2,
    "START_MIN_NOISES": 2,
    "PAIRS": 2,
}
LIGHT_STEPS = {"fast": 2, "good": 3, "best": 4}
STEPS = 4
CFG = 2.0


class Wires(NamedTuple):
    """What wires of one model carry.

    Attributes:
        by_type: Values by the type of their wire.
        size: Of a latent, (C, H, W).
        code: The NOISE that the trace among the wires starts from.
    """

    by_type: dict[str, list[Any]]
    size: tuple[int, ...]
    code: Any


def start_comfyui(folder: Path) -> dict[str, Any]:
    """Import ComfyUI, with its models and its pictures in a folder, and return the pack's nodes by name."""
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("No ComfyUI here; set COMFYUI_PATH.")
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import folder_paths

    folder_paths.models_dir = str(folder / "models")
    folder_paths.set_temp_directory(str(folder / "temp"))
    extension = asyncio.run(singular_edit.comfy_entrypoint())
    nodes = asyncio.run(extension.get_node_list())
    return {node.define_schema().node_id.removeprefix("SingularEdit"): node for node in nodes}


@contextmanager
def light() -> Iterator[None]:
    """Let every node learn and prepare as little as it can."""
    before = {name: getattr(defaults, name) for name in LIGHT}
    steps = dict(defaults.QUALITY_STEPS)
    vars(defaults).update(LIGHT)
    defaults.QUALITY_STEPS.update(LIGHT_STEPS)
    try:
        yield
    finally:
        vars(defaults).update(before)
        defaults.QUALITY_STEPS.update(steps)


class PackInComfyUI:
    """The nodes, and what is wired to them.

    Args:
        nodes: The pack's nodes by name, where ComfyUI runs already; None starts it.
        networks: Of which embedded models there are to be wires.

    Attributes:
        nodes: The nodes by name.
        wires: What their wires carry, by network.
        folder: Where all files of ComfyUI lie that were started here.
    """

    def __init__(self, nodes: dict[str, Any] | None = None, networks: tuple[str, ...] = NETWORKS) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.nodes = start_comfyui(self.folder / "comfyui") if nodes is None else nodes
        self.wires = {network: self._wires(network) for network in networks}

    def run(self, name: str, /, **inputs: Any) -> tuple[Any, ...]:
        """Run a node as ComfyUI does, in inference mode, with its defaults for widgets that are left out."""
        items = self.nodes[name].define_schema().inputs
        given = {item.id: item.default for item in items if getattr(item, "default", None) is not None}
        with torch.inference_mode():
            outputs: tuple[Any, ...] = self.nodes[name].execute(**{**given, **inputs}).args
        return outputs

    def sample(self, wires: Wires, *, model: Any = None, sampler: Any = None) -> dict[str, Any]:
        """Sample with the stock node: with a MODEL from noise of a fixed seed, with a SAMPLER from an inverted code."""
        from comfy_extras.nodes_custom_sampler import CFGGuider, SamplerCustomAdvanced

        of = wires.by_type
        noise = of["NOISE"][0] if sampler is None else wires.code
        with torch.inference_mode():
            guider = CFGGuider().get_guider(of["MODEL"][0] if model is None else model, *of["CONDITIONING"], CFG)[0]
            sampler = of["SAMPLER"][0] if sampler is None else sampler
            sampled: dict[str, Any] = SamplerCustomAdvanced().sample(
                noise, guider, sampler, of["SIGMAS"][0], of["LATENT"][1]
            )[0]
        return sampled

    def _wires(self, network: str) -> Wires:
        from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise

        import nodes

        model, clip, vae = self.run("DemoModel", network=network)
        faces = torch.cat([self.run("DemoFace", seed=seed, network=network)[0] for seed in (1, 2)])
        with torch.inference_mode():
            prompts = [nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("a face", "a face with a hat")]
            latents = [nodes.VAEEncode().encode(vae, pictures)[0] for pictures in (faces[:1], faces)]
        sigmas = BasicScheduler().get_sigmas(model, "normal", STEPS, 1.0)[0]
        size = tuple(latents[0]["samples"].shape[1:])
        mask = torch.zeros(1, *size[1:])
        mask[:, : size[1] // 2] = 1
        common = dict(model=model, negative=prompts[0], latent_image=latents[1], sigmas=sigmas)
        learn = dict(common, source=prompts[0], target=prompts[1], samples=2, steps=2)
        directions = [self.run("HDirectionLearn", method=method, **learn)[0] for method in ("readout", "vector")]
        svd = self.run("SVDAttributeLearn", source=latents[1], target={"samples": latents[1]["samples"].flip(0)})[0]
        prepared = self.run("PreparePicture", model=model, clip=clip, vae=vae, image=faces[:1], steps=STEPS)[0]
        _, code, *_, trace = self.run("LatentInvert", positive=prompts[0], method="traced", cfg=CFG, **common)
        by_type = {
            "MODEL": [model],
            "CLIP": [clip],
            "VAE": [vae],
            "CONDITIONING": prompts,
            "LATENT": [*latents, {**latents[0], "noise_mask": mask}],
            "SIGMAS": [sigmas],
            "SAMPLER": [KSamplerSelect().get_sampler(name)[0] for name in ("euler", "dpmpp_2m")],
            "NOISE": [RandomNoise().get_noise(0)[0]],
            "IMAGE": [faces[:1], faces],
            "MASK": [mask],
            "SVD_ATTRIBUTE": [svd],
            "H_DIRECTION": directions,
            "PREPARED_PICTURE": [prepared],
            "LATENT_TRACE": [trace],
        }
        return Wires(by_type, size, code)
