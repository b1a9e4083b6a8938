"""Compare round trips of inversions, ours and others', on the embedded model: ``python benchmarks/inversion.py``.

The table says for each method

- calls/step: model calls of the inversion for each sampling step;
- latent dB: latent PSNR of the round trip (peak-to-peak 4), its mean and its lowest;
- picture dB: PSNR of the pictures to the renders, whose ceiling is the VAE's own;
- for pictures that the model drew itself, the relative distance of the code to the noise they were drawn from.

The others are diffusers' DDIMInverseScheduler (clip_sample off, its own timesteps) and, where a ComfyUI and its
requirements are installed, FlipSigmas + euler through SamplerCustom.
A recorded output is in benchmarks/results/inversion.txt.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from singular_edit.backends.conditioning import Conditioning
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
from singular_edit.core.denoiser import HEdit
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.score import LATENT_PEAK, psnr
from singular_edit.demo.evaluation.session import HELD_OUT, SOURCE, starting_noise
from singular_edit.demo.words import caption
from torch import Tensor


class Setting:
    """One model, prompt, guidance and schedule. It counts the model's calls.

    Args:
        model: The embedded model.
        context: A prompt for each picture, [B, tokens, width].
        cfg: Guidance.
        steps: Sampling steps.
        each: Whether fixed_point solves every picture on its own, as an artist's graph does, so that none waits for
            the slowest. Calls are then their mean.
    """

    def __init__(self, model: loader.DemoModel, context: Tensor, cfg: float, steps: int, *, each: bool = False) -> None:
        self.model = model
        self.context = context
        self.cfg = cfg
        self.steps = steps
        self.each = each
        self.sigmas = model.sigmas(steps)
        self.denoiser = model.denoiser("", cfg=cfg)
        self.calls = 0.0
        self.choose(slice(None))

    def choose(self, rows: slice) -> None:
        """Denoise under the prompts of these pictures from here on."""
        self.denoiser.context = Conditioning.of(self.context[rows])

    def denoise(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0, and count the call by the share of the pictures that it is of."""
        self.calls += len(x) / len(self.context)
        return self.denoiser(x, sigma)

    def groups(self) -> list[slice]:
        """Return the pictures that are solved together."""
        size = 1 if self.each else len(self.context)
        return [slice(i, i + size) for i in range(0, len(self.context), size)]

    def unit(self, code: Tensor) -> Tensor:
        """Return a code at sigmas[0] as noise of variance one."""
        return code / (1 + self.sigmas[0] ** 2) ** 0.5

    def code(self, noise: Tensor) -> Tensor:
        """Return noise of variance one as a code at sigmas[0]."""
        return noise * (1 + self.sigmas[0] ** 2) ** 0.5


# The way back from a code to latents, [B, 4, 16, 16] in model space
WayBack = Callable[[], Tensor]


class Method:
    """An inversion, and the sampler that belongs to it."""

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert latents in model space; returns the way back, and the code as noise of variance one."""
        raise NotImplementedError

    def draw(self, s: Setting, noise: Tensor) -> Tensor:
        """Sample from noise of variance one with the method's own sampler; euler where it has none."""
        return sample_euler(s.denoise, s.code(noise), s.sigmas)


class FixedPoint(Method):
    """fixed_point, at one of QUALITIES."""

    def __init__(self, quality: str, sampler: str = "euler") -> None:
        self.quality = QUALITIES[quality]
        self.sampler = sampler

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert each group of pictures."""
        codes = []
        for rows in s.groups():
            s.choose(rows)
            code, _ = fixed_point_inversion(s.denoise, latents[rows], s.sigmas, self.quality, sampler=self.sampler)
            codes.append(code)
        s.choose(slice(None))
        code = torch.cat(codes)
        return lambda: sample(s.denoise, code, s.sigmas, self.sampler), s.unit(code)

    def draw(self, s: Setting, noise: Tensor) -> Tensor:
        """Sample with the sampler that is inverted."""
        return sample(s.denoise, s.code(noise), s.sigmas, self.sampler)


class Explicit(Method):
    """The explicit DDIM inversion."""

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert all pictures at once."""
        code, _ = ddim_inversion(s.denoise, latents, s.sigmas)
        return lambda: sample_euler(s.denoise, code, s.sigmas), s.unit(code)


class Belm(Method):
    """O-BELM, whose code is a pair; its first half counts as the code."""

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert all pictures at once."""
        upper, lower = belm_inversion(s.denoise, latents, s.sigmas)
        pair = (upper.float(), lower.float())
        return lambda: sample_belm(s.denoise, pair, s.sigmas), s.unit(pair[0])

    def draw(self, s: Setting, noise: Tensor) -> Tensor:
        """Sample with O-BELM from a single code."""
        return sample_belm(s.denoise, s.code(noise), s.sigmas)


class Diffusers(Method):
    """diffusers' DDIMInverseScheduler and DDIMScheduler, whose state is noise of variance one at the start."""

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert all pictures at once."""
        code = run_scheduler("DDIMInverseScheduler", s, latents)
        return lambda: run_scheduler("DDIMScheduler", s, code), code

    def draw(self, s: Setting, noise: Tensor) -> Tensor:
        """Sample with DDIMScheduler."""
        return run_scheduler("DDIMScheduler", s, noise)


@torch.no_grad()
def run_scheduler(name: str, s: Setting, x: Tensor) -> Tensor:
    """Run a scheduler of diffusers over its own timesteps; x is in the scheduler's variance-preserving scale."""
    import diffusers

    alphas = s.model.alphas_cumprod.double()
    alphas_before = torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])
    betas = (1 - alphas / alphas_before).float().numpy()
    scheduler = getattr(diffusers, name)(trained_betas=betas, clip_sample=False, timestep_spacing="leading")
    scheduler.set_timesteps(s.steps)
    for t in scheduler.timesteps:
        a = alphas[int(t)].float()
        sigma = ((1 - a) / a) ** 0.5
        scaled = x / a**0.5
        eps = (scaled - s.denoise(scaled, sigma)) / sigma
        x = scheduler.step(eps, t, x).prev_sample
    return x


class FlipSigmas(Method):
    """FlipSigmas + euler as an artist wires it, by the stock nodes of an installed ComfyUI.

    Args:
        path: The ComfyUI.

    Raises:
        ImportError: Something that ComfyUI requires is not installed.
    """

    def __init__(self, path: Path) -> None:
        sys.path.insert(0, str(path))
        import comfy.cli_args

        # ComfyUI looks at its arguments when its other modules are imported.
        comfy.cli_args.args.cpu = not torch.cuda.is_available()
        from comfy_extras import nodes_custom_sampler
        from singular_edit.demo.comfyui import load

        import nodes

        self.custom = nodes_custom_sampler
        with torch.inference_mode():
            self.model, clip, _ = load()
            self.positive = nodes.CLIPTextEncode().encode(clip, SOURCE)[0]
            self.negative = nodes.CLIPTextEncode().encode(clip, "")[0]
        self.euler = nodes_custom_sampler.KSamplerSelect().get_sampler("euler")[0]

    def sample(self, x: Tensor, cfg: float, sigmas: Tensor) -> Tensor:
        """Run SamplerCustom without noise, from latents and to latents in LATENT space."""
        latent = {"samples": x}
        sampler = self.custom.SamplerCustom()
        with torch.inference_mode():
            output = sampler.sample(
                self.model, False, 0, cfg, self.positive, self.negative, self.euler, sigmas, latent
            )[0]
        return output["samples"]

    def invert(self, s: Setting, latents: Tensor) -> tuple[WayBack, Tensor]:
        """Invert all pictures at once, all under SOURCE."""
        space = self.model.model
        sigmas = s.sigmas.cpu()
        flipped = self.custom.FlipSigmas().get_sigmas(sigmas)[0]
        code = self.sample(space.process_latent_out(latents.cpu()), s.cfg, flipped)
        s.calls += s.steps

        def way_back() -> Tensor:
            return space.process_latent_in(self.sample(code, s.cfg, sigmas)).to(latents)

        return way_back, s.unit(space.process_latent_in(code).to(latents))


def methods(samplers: bool, comfyui: Path | None) -> dict[str, Method]:
    """Return the methods of the table, with fixed_point for other samplers, and with a ComfyUI's where one is given."""
    table: dict[str, Method] = {"ddim": Explicit()}
    for quality in QUALITIES:
        table[f"fixed_point, {quality}"] = FixedPoint(quality)
    table["O-BELM (own sampler)"] = Belm()
    table["diffusers DDIMInverse"] = Diffusers()
    if samplers:
        for name in ("heun", "dpm_2", "dpmpp_2m"):
            table[f"fixed_point, good, {name}"] = FixedPoint("good", name)
    if comfyui is not None:
        try:
            table["ComfyUI FlipSigmas"] = FlipSigmas(comfyui)
        except ImportError as missing:
            print(f"ComfyUI at {comfyui} left out: {missing}")
    return table


def row(s: Setting, method: Method, latents: Tensor, renders: Tensor) -> str:
    """Measure a method on renders, and on as many pictures that are drawn from noise."""
    noise = s.unit(starting_noise(s.model, len(latents), 1, s.sigmas))
    s.calls = 0
    way_back, _ = method.invert(s, latents)
    calls = s.calls / s.steps
    returned = way_back()
    drawn = method.draw(s, noise)
    distance = code_recovery(method.invert(s, drawn)[1], noise).mean()
    trip = psnr(returned, latents, LATENT_PEAK)
    pictures = psnr(s.model.decode(returned).cpu(), renders)
    return f"{calls:10.2f}{trip.mean():11.1f}{trip.min():10.1f}{pictures.mean():12.1f}{distance:12.4f}"


def main() -> None:
    """Print a table for each number of steps and each guidance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="held-out renders, and as many drawn pictures")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 25, 50])
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0, 5.0, 7.5])
    parser.add_argument("--captions", action="store_true", help="each render under its own caption; without ComfyUI")
    parser.add_argument("--each", action="store_true", help="solve every picture on its own, as a graph of one does")
    parser.add_argument("--samplers", action="store_true", help="heun, dpm_2 and dpmpp_2m too")
    args = parser.parse_args()
    model = loader.load()
    table = methods(args.samplers, None if args.captions else find_comfyui())
    drawn = faces.sample(range(HELD_OUT, HELD_OUT + args.count))
    renders = faces.render(drawn)
    latents = model.encode(renders)
    prompts = [caption(names) if args.captions else SOURCE for names in drawn.names()]
    context = torch.cat([model.context(prompt) for prompt in prompts])
    ceiling = psnr(model.decode(latents).cpu(), renders).mean()
    under = "their own captions" if args.captions else repr(SOURCE)
    print(f"{args.count} held-out renders under {under}; picture ceiling (VAE) {ceiling:.1f} dB\n")
    for steps in args.steps:
        for cfg in args.guidance:
            heading = f"{steps} steps, guidance {cfg:g}"
            print(f"{heading:<34s}calls/step  latent dB  (lowest)  picture dB  distance to the noise drawn from")
            s = Setting(model, context, cfg, steps, each=args.each)
            for name, method in table.items():
                print(f"{name:<34s}{row(s, method, latents, renders)}", flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
