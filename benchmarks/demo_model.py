"""Measure how good an embedded model is: ``python benchmarks/demo_model.py``. The tables of demo/weights/README.md.

Pictures are judged by the attribute classifier, whose own error on renders and on VAE reconstructions is printed first.
"""

from __future__ import annotations

import argparse
import time

import torch
from singular_edit.core import sample_euler
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import ARCHITECTURES, UNET
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import SOURCE, starting_noise
from singular_edit.demo.words import caption
from torch import Tensor
from torch.nn import functional as F

STEPS = 25
FACES = 2000  # renders that the VAE and the judge are measured on
ENCODE_BATCH = 200
DRAW_BATCH = 50


def by_attribute(rates: Tensor, digits: int) -> str:
    """Format one rate for each attribute, [4]."""
    cells = [f"{name} {rate:.{digits}f}" for name, rate in zip(faces.ATTRIBUTES, rates, strict=True)]
    return ", ".join(cells)


def draw(model: loader.DemoModel, prompt: str, count: int, cfg: float, steps: int = STEPS) -> Tensor:
    """Draw pictures from noise of seed 0, [count, 3, side, side] in [0, 1]."""
    sigmas = model.sigmas(steps)
    denoise = model.denoiser(prompt, cfg=cfg)
    noise = starting_noise(model, count, 0, sigmas)
    return torch.cat([model.decode(sample_euler(denoise, part, sigmas)) for part in noise.split(DRAW_BATCH)])


def print_loading(name: str) -> loader.DemoModel:
    """Load a model, and print how long it takes and how large its weights are."""
    loader.load("cpu", name)  # imports and disk cache, so that the time below is loading
    began = time.perf_counter()
    model = loader.load("cpu", name)
    seconds = time.perf_counter() - began
    parts = (model.architecture.network, model.architecture.text, "vae", "judge")
    size = sum((loader.WEIGHTS / f"{part}.safetensors").stat().st_size for part in parts)
    print(f"loads in {seconds:.2f} s; weights {size / 1e6:.1f} MB")
    return model


def print_vae_and_judge(model: loader.DemoModel) -> None:
    """Print the VAE's PSNR and the judge's accuracy on held-out faces."""
    drawn = faces.sample(range(FACES))
    quality = []
    right: dict[str, list[Tensor]] = {"renders": [], "VAE reconstructions": []}
    for start in range(0, FACES, ENCODE_BATCH):
        part = drawn[start : start + ENCODE_BATCH]
        renders = model.render(part)
        rebuilt = model.decode(model.encode(renders))
        quality.append(psnr(rebuilt, renders))
        for pictures, found in zip((renders, rebuilt), right.values(), strict=True):
            found.append(model.judged(pictures) == part.attributes)
    decibels = torch.cat(quality)
    print(f"VAE: {decibels.mean():.1f} dB on {FACES} held-out faces (worst {decibels.min():.1f})")
    for name, found in right.items():
        print(f"judge on {name}: {by_attribute(torch.cat(found).float().mean(0), 4)}")


def print_preview(model: loader.DemoModel) -> None:
    """Print the colours of ComfyUI's latent preview: least squares of a latent pixel's mean colour on its channels."""
    renders = model.render(faces.sample(range(FACES)))
    latents = torch.cat([model.encode(part) for part in renders.split(ENCODE_BATCH)])
    colours = F.adaptive_avg_pool2d(renders * 2 - 1, latents.shape[-2:]).movedim(1, -1).flatten(0, -2)
    channels = latents.movedim(1, -1).flatten(0, -2)
    channels = torch.cat([channels, torch.ones(len(channels), 1)], dim=1)
    *factors, bias = torch.linalg.lstsq(channels, colours).solution.tolist()
    for name, rows in (("factors", factors), ("bias", [bias])):
        print(f"{name}: " + ", ".join(f"[{red:.2f}, {green:.2f}, {blue:.2f}]" for red, green, blue in rows))


def print_speed(model: loader.DemoModel, cfg: float) -> None:
    """Print how long it takes to draw one face."""
    began = time.perf_counter()
    draw(model, caption(["hat"]), 1, cfg)
    seconds = time.perf_counter() - began
    threads = torch.get_num_threads()
    print(f"draws one face ({STEPS} steps, guidance {cfg:g}) in {seconds:.2f} s on {threads} threads")


def print_prompts(model: loader.DemoModel, count: int, cfg: float, steps: int) -> None:
    """Print what the judge sees in pictures of each prompt."""
    for name in faces.ATTRIBUTES:
        prompt = caption([name])
        seen = model.judged(draw(model, prompt, count, cfg, steps)).float().mean(0)
        print(f'"{prompt}": {by_attribute(seen, 3)}', flush=True)
    for prompt, guidance in ((SOURCE, cfg), (SOURCE, 1.0), ("", 1.0)):
        seen = model.judged(draw(model, prompt, count, guidance, steps)).float().mean(0)
        print(f'"{prompt}" at guidance {guidance:g}: {by_attribute(seen, 3)}')


def main() -> None:
    """Print everything, or the colours of the preview."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=ARCHITECTURES, default=UNET.name)
    parser.add_argument("--steps", type=int, default=STEPS, help="sampling steps of each prompt's pictures")
    parser.add_argument("--count", type=int, default=200, help="seeds for each prompt")
    parser.add_argument("--cfg", type=float, default=2.0)
    parser.add_argument("--preview", action="store_true", help="print only the colours of ComfyUI's latent preview")
    args = parser.parse_args()
    if args.preview:
        print_preview(loader.load("cpu", args.model))
        return
    model = print_loading(args.model)
    print_vae_and_judge(model)
    print_speed(model, args.cfg)
    print_prompts(model, args.count, args.cfg, args.steps)


if __name__ == "__main__":
    main()
