"""Stock ComfyUI nodes and ours as plain functions, for tests that run inside one process."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SIZE = (4, 16, 16)  # of the demo U-Net's latents


def empty_latent(count: int, size: tuple[int, ...] = SIZE) -> dict[str, Tensor]:
    """A LATENT of the demo model's size, all zeros."""
    return {"samples": torch.zeros(count, *size)}


class Graph:
    """A demo model in ComfyUI, its prompts, its schedule, and the stock nodes around them."""

    def __init__(self, pack_nodes: dict[str, Any], network: str = "unet") -> None:
        from comfy_extras import nodes_custom_sampler, nodes_model_advanced

        import nodes

        self.stock = nodes
        self.custom = nodes_custom_sampler
        self.advanced = nodes_model_advanced
        self.pack = pack_nodes
        self.network = network
        self.model, self.clip, self.vae = self.run("DemoModel", network=network)
        self.source = self.prompt("a face")
        self.target = self.prompt("a face with glasses")
        self.negative = self.prompt("")
        self.sigmas = self.schedule()
        self.euler = self.sampler("euler")

    def run(self, node: str, /, **inputs) -> tuple:
        """A node of the pack, with schema defaults for widgets left out, as ComfyUI runs it: in inference mode."""
        schema = self.pack[node].define_schema()
        defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
        with torch.inference_mode():
            return self.pack[node].execute(**{**defaults, **inputs}).args

    def prompt(self, text: str) -> list:
        with torch.inference_mode():
            return self.stock.CLIPTextEncode().encode(self.clip, text)[0]

    def schedule(self, steps: int = 25, model=None, scheduler: str = "normal", denoise: float = 1.0) -> Tensor:
        return self.custom.BasicScheduler().get_sigmas(model or self.model, scheduler, steps, denoise)[0]

    def sampler(self, name: str):
        return self.custom.KSamplerSelect().get_sampler(name)[0]

    def random_noise(self, seed: int = 0):
        return self.custom.RandomNoise().get_noise(seed)[0]

    def faces(self, seeds, **attributes) -> dict[str, Tensor]:
        """A LATENT of demo faces."""
        pictures = torch.cat([self.run("DemoFace", seed=seed, network=self.network, **attributes)[0] for seed in seeds])
        with torch.inference_mode():
            return self.stock.VAEEncode().encode(self.vae, pictures)[0]

    def invert(self, latent: dict, **inputs) -> tuple:
        """Latent Invert without measuring: (latent, noise, report, sigmas)."""
        return self.trace(latent, **{"method": "fixed_point", **inputs})[:4]

    def trace(self, latent: dict, **inputs) -> tuple:
        """Latent Invert, method traced, without measuring: (latent, noise, report, sigmas, trace)."""
        defaults = dict(model=self.model, positive=self.source, negative=self.negative, sigmas=self.sigmas)
        asked = dict(method="traced", measure=False)
        return self.run("LatentInvert", **{**defaults, **asked, **inputs}, latent_image=latent)

    def learn(self, method: str, **inputs) -> tuple:
        """h-Space Direction Learn at little cost: (direction, plot, report)."""
        defaults = dict(
            model=self.model,
            source=self.source,
            target=self.target,
            negative=self.negative,
            latent_image=empty_latent(2),
            sigmas=self.schedule(8),
            samples=2,
            steps=8,
            name="glasses",
        )
        return self.run("HDirectionLearn", **{**defaults, **inputs}, method=method)

    def pair(self, **inputs) -> tuple:
        """Latent Pair of two new faces: (source, target, sigmas, sigma, report)."""
        defaults = dict(
            model=self.model,
            source=self.source,
            target=self.target,
            negative=self.negative,
            noise=self.random_noise(),
            latent_image=empty_latent(2),
            sigmas=self.sigmas,
        )
        return self.run("LatentPair", **{**defaults, **inputs})

    def asyrp(self, direction, **inputs):
        """The SAMPLER of Asyrp Sampler."""
        return self.run("AsyrpSampler", direction=direction, **inputs)[0]

    def sample(
        self, latent: dict, sampler=None, cfg: float = 1.0, positive=None, model=None, sigmas: Tensor | None = None
    ) -> Tensor:
        """SamplerCustom with add_noise off."""
        with torch.inference_mode():
            return self.custom.SamplerCustom().sample(
                model or self.model,
                False,
                0,
                cfg,
                positive or self.source,
                self.negative,
                sampler or self.euler,
                self.sigmas if sigmas is None else sigmas,
                latent,
            )[0]["samples"]

    def sample_noise(
        self,
        noise,
        latent: dict,
        cfg: float = 1.0,
        model=None,
        sampler=None,
        sigmas: Tensor | None = None,
        positive=None,
    ) -> Tensor:
        """SamplerCustomAdvanced with a CFGGuider."""
        with torch.inference_mode():
            guider = self.custom.CFGGuider().get_guider(
                model or self.model, positive or self.source, self.negative, cfg
            )[0]
            return self.custom.SamplerCustomAdvanced().sample(
                noise, guider, sampler or self.euler, self.sigmas if sigmas is None else sigmas, latent
            )[0]["samples"]

    def ksampler(
        self, latent: dict, positive=None, start: int = 0, end: int = 25, seed: int = 0, cfg: float = 2.0, model=None
    ) -> dict[str, Tensor]:
        """KSampler (Advanced): noise is added at step 0, leftover noise returned before the last."""
        with torch.inference_mode():
            return self.stock.KSamplerAdvanced().sample(
                model or self.model,
                "enable" if start == 0 else "disable",
                seed,
                25,
                cfg,
                "euler",
                "normal",
                positive or self.source,
                self.negative,
                latent,
                start,
                end,
                "enable" if end < 25 else "disable",
            )[0]


def weights(model) -> dict[str, Tensor]:
    """A copy of a MODEL's weights."""
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def assert_unchanged(model, before: dict[str, Tensor], options: str) -> None:
    """A MODEL has these weights and these model_options, and none of its layers is patched."""
    after = weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert repr(model.model_options) == options
    assert not any(getattr(module, "weight_function", []) for module in model.model.modules())
