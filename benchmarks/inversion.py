"""How well inversions come back, ours and others', on the embedded model: ``python benchmarks/inversion.py``.

Per method: model calls a step; latent PSNR of the round trip (peak-to-peak 4); picture PSNR to the render, whose ceiling
is the VAE's own; and, for pictures the model drew itself, the relative distance of the code to the noise they were
drawn from. The others are diffusers' DDIMInverseScheduler (clip_sample off, its own timesteps) and, where a ComfyUI and
its requirements are installed, FlipSigmas + euler through SamplerCustom.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from singular_edit.backends.find_comfyui import find_comfyui
from singular_edit.core import (
    QUALITIES,
    belm_inversion,
    code_recovery,
    ddim_inversion,
    fixed_point_inversion,
    sample,
    sample_belm,
    sample_euler,
)
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import starting_noise
from singular_edit.demo.words import caption
from torch import Tensor

SEED = 50_000


class Setting:
    """One model, prompt, guidance and schedule; counts the model's calls. context: a prompt a picture, [B, tokens, width].

    each: fixed_point solves every picture on its own, as an artist's graph does, so that none waits for the slowest; calls are then their mean.
    """

    def __init__(self, model: loader.DemoModel, context: Tensor, cfg: float, steps: int, each: bool = False):
        self.model, self.context, self.cfg, self.steps, self.sigmas, self.each = (
            model,
            context,
            cfg,
            steps,
            model.sigmas(steps),
            each,
        )
        self.inner, self.calls = model.denoiser("", cfg=cfg), 0.0
        self.choose(slice(None))

    def choose(self, rows: slice) -> None:
        """The prompts of these pictures, from here on."""
        self.inner.context = self.context[rows]

    def denoise(self, x: Tensor, sigma: Tensor, h_edit=None) -> Tensor:
        self.calls += len(x) / len(self.context)
        return self.inner(x, sigma)

    def groups(self) -> list[slice]:
        """The pictures that are solved together."""
        count = len(self.context)
        return [slice(i, i + 1) for i in range(count)] if self.each else [slice(0, count)]

    def unit(self, code: Tensor) -> Tensor:
        """A code at sigmas[0] as noise of variance one."""
        return code / (1 + self.sigmas[0] ** 2) ** 0.5

    def code(self, noise: Tensor) -> Tensor:
        """The way back of unit."""
        return noise * (1 + self.sigmas[0] ** 2) ** 0.5


# A method takes (setting, latents) and returns (way back, code as noise of variance one). Its ``draw`` makes a picture
# from noise of variance one with the method's own sampler; euler where it has none.


def draw_euler(s: Setting, noise: Tensor) -> Tensor:
    return sample_euler(s.denoise, s.code(noise), s.sigmas)


def ours(quality: str, sampler: str = "euler"):
    def method(s: Setting, latents: Tensor):
        codes = []
        for rows in s.groups():
            s.choose(rows)
            codes.append(
                fixed_point_inversion(s.denoise, latents[rows], s.sigmas, *QUALITIES[quality], sampler=sampler)[0]
            )
        s.choose(slice(None))
        code = torch.cat(codes)
        return lambda: sample(s.denoise, code, s.sigmas, sampler), s.unit(code)

    method.draw = lambda s, noise: sample(s.denoise, s.code(noise), s.sigmas, sampler)
    return method


def explicit(s: Setting, latents: Tensor):
    code, _ = ddim_inversion(s.denoise, latents, s.sigmas)
    return lambda: sample_euler(s.denoise, code, s.sigmas), s.unit(code)


def belm(s: Setting, latents: Tensor):
    pair = belm_inversion(s.denoise, latents, s.sigmas)
    return lambda: sample_belm(s.denoise, tuple(part.float() for part in pair), s.sigmas), s.unit(pair[0].float())


belm.draw = lambda s, noise: sample_belm(s.denoise, s.code(noise), s.sigmas)


@torch.no_grad()
def run_diffusers(name: str, s: Setting, x: Tensor) -> Tensor:
    import diffusers

    alphas = s.model.alphas_cumprod.double()
    betas = (1 - alphas / torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])).float().numpy()
    scheduler = getattr(diffusers, name)(trained_betas=betas, clip_sample=False, timestep_spacing="leading")
    scheduler.set_timesteps(s.steps)
    for t in scheduler.timesteps:
        a = alphas[int(t)].float()
        sigma, scaled = ((1 - a) / a) ** 0.5, x / a**0.5
        x = scheduler.step((scaled - s.denoise(scaled, sigma)) / sigma, t, x).prev_sample
    return x


def diffusers_ddim(s: Setting, latents: Tensor):
    code = run_diffusers("DDIMInverseScheduler", s, latents)
    return lambda: run_diffusers("DDIMScheduler", s, code), code


diffusers_ddim.draw = lambda s, noise: run_diffusers("DDIMScheduler", s, noise)


class ComfyUI:
    """FlipSigmas + euler as an artist wires it, in the ComfyUI that is installed."""

    def __init__(self, path: Path):
        import asyncio

        sys.path.insert(0, str(path))
        import comfy.cli_args

        comfy.cli_args.args.cpu = not torch.cuda.is_available()
        import singular_edit
        from graph import Graph

        async def nodes():
            return await (await singular_edit.comfy_entrypoint()).get_node_list()

        self.graph = Graph({n.define_schema().node_id.removeprefix("SingularEdit"): n for n in asyncio.run(nodes())})

    def __call__(self, s: Setting, latents: Tensor):
        graph, space = self.graph, self.graph.model.model
        flipped = graph.custom.FlipSigmas().get_sigmas(s.sigmas.cpu())[0]
        picture = {"samples": space.process_latent_out(latents.cpu())}
        code = graph.sample(picture, cfg=s.cfg, sigmas=flipped)
        s.calls += s.steps
        back = lambda: space.process_latent_in(graph.sample({"samples": code}, cfg=s.cfg, sigmas=s.sigmas.cpu())).to(
            latents
        )
        return back, s.unit(space.process_latent_in(code).to(latents))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="held-out renders, and as many drawn pictures")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 5.0, 7.5])
    parser.add_argument(
        "--captions",
        action="store_true",
        help='invert each render under its own caption instead of "a face"; without ComfyUI, whose prompt is one',
    )
    parser.add_argument(
        "--each", action="store_true", help="solve every picture on its own, as a graph with one picture does"
    )
    parser.add_argument("--samplers", action="store_true", help="heun, dpm_2 and dpmpp_2m too")
    args = parser.parse_args()
    model, comfyui = loader.load(), None if args.captions else find_comfyui()
    methods = {
        "ddim": explicit,
        **{f"fixed_point, {q}": ours(q) for q in QUALITIES},
        "O-BELM (own sampler)": belm,
        "diffusers DDIMInverse": diffusers_ddim,
    }
    if args.samplers:
        methods |= {f"fixed_point, good, {name}": ours("good", name) for name in ("heun", "dpm_2", "dpmpp_2m")}
    if comfyui is not None:
        try:
            methods["ComfyUI FlipSigmas"] = ComfyUI(comfyui)
        except ImportError as missing:
            print(f"ComfyUI at {comfyui} left out: {missing}")
    drawn = faces.sample(range(SEED, SEED + args.count))
    renders = faces.render(drawn)
    latents = model.encode(renders)
    names = [caption(has_attribute if args.captions else []) for has_attribute in drawn.names()]
    context = torch.cat([model.context(name) for name in names])
    ceiling = psnr(model.decode(latents).cpu(), renders).mean()
    print(
        f"{args.count} held-out renders under {'their own captions' if args.captions else repr(caption([]))}; picture ceiling (VAE) {ceiling:.1f} dB\n"
    )
    for steps in args.steps:
        for cfg in args.guidance:
            s = Setting(model, context, cfg, steps, args.each)
            noise = s.unit(starting_noise(model, args.count, 1, s.sigmas))
            print(
                f"{steps} steps, guidance {cfg:g}".ljust(34)
                + "calls/step  latent dB  (lowest)  picture dB  distance to the noise drawn from"
            )
            for name, method in methods.items():
                s.calls = 0
                back, _ = method(s, latents)
                calls, returned = s.calls / steps, back()
                own = getattr(method, "draw", draw_euler)(s, noise)
                distance = code_recovery(method(s, own)[1], noise).mean()
                trip = psnr(returned, latents, 4)
                print(
                    f"{name:<34s}{calls:10.2f}{trip.mean():11.1f}{trip.min():10.1f}{psnr(model.decode(returned).cpu(), renders).mean():12.1f}{distance:12.4f}",
                    flush=True,
                )
            print(flush=True)


if __name__ == "__main__":
    main()
