"""Stock ComfyUI nodes and ours as plain functions, for tests that run inside one process."""

from __future__ import annotations

import math

import torch


class Graph:
    """The demo model in ComfyUI, its prompts, its schedule, and the stock nodes around them."""

    def __init__(self, pack_nodes: dict):
        from comfy_extras import nodes_custom_sampler, nodes_model_advanced

        import nodes

        self.stock, self.custom, self.advanced, self.pack = (
            nodes,
            nodes_custom_sampler,
            nodes_model_advanced,
            pack_nodes,
        )
        with torch.inference_mode():
            self.model, self.clip, self.vae = self.run("DemoModel")
            self.source, self.negative = self.prompt("a face"), self.prompt("")
            self.target = self.prompt("a face with glasses")
        self.sigmas = self.schedule()
        self.euler = nodes_custom_sampler.KSamplerSelect().get_sampler("euler")[0]

    def run(self, node: str, **inputs):
        """A node of the pack, with schema defaults for widgets left out, as ComfyUI runs it: in inference mode."""
        schema = self.pack[node].define_schema()
        defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
        with torch.inference_mode():
            return self.pack[node].execute(**{**defaults, **inputs}).args

    def prompt(self, text: str):
        with torch.inference_mode():
            return self.stock.CLIPTextEncode().encode(self.clip, text)[0]

    def schedule(self, steps: int = 25, model=None):
        return self.custom.BasicScheduler().get_sigmas(model or self.model, "normal", steps, 1.0)[0]

    def faces(self, seeds, **attributes) -> dict:
        """A LATENT of demo faces."""
        with torch.inference_mode():
            pictures = torch.cat([self.run("DemoFace", seed=seed, **attributes)[0] for seed in seeds])
            return self.stock.VAEEncode().encode(self.vae, pictures)[0]

    def invert(self, latent: dict, **inputs):
        return self.run(
            "LatentInvert",
            **{
                **dict(
                    model=self.model,
                    positive=self.source,
                    negative=self.negative,
                    latent_image=latent,
                    sigmas=self.sigmas,
                ),
                **inputs,
            },
        )

    def sample(
        self, latent: dict, sampler=None, cfg: float = 1.0, positive=None, model=None, sigmas=None
    ) -> torch.Tensor:
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
        self, noise, latent: dict, cfg: float = 1.0, model=None, sampler=None, sigmas=None
    ) -> torch.Tensor:
        """SamplerCustomAdvanced with a CFGGuider."""
        with torch.inference_mode():
            guider = self.custom.CFGGuider().get_guider(model or self.model, self.source, self.negative, cfg)[0]
            return self.custom.SamplerCustomAdvanced().sample(
                noise, guider, sampler or self.euler, self.sigmas if sigmas is None else sigmas, latent
            )[0]["samples"]

    def ksampler(
        self, latent: dict, positive=None, start: int = 0, end: int = 25, seed: int = 0, cfg: float = 2.0, model=None
    ) -> dict:
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


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def psnr(a: torch.Tensor, b: torch.Tensor, peak: float = 4.0) -> float:
    return 10 * math.log10(peak**2 / max((a - b).square().mean().item(), 1e-20))
