"""How good the embedded model is: ``python benchmarks/demo_model.py``. The table of demo/weights/README.md.

Pictures are judged by the attribute classifier, whose own error on renders and on VAE reconstructions is printed first.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from singular_edit.core import sample_euler
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import starting_noise
from singular_edit.demo.words import caption


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="seeds a prompt")
    parser.add_argument("--cfg", type=float, default=2.0)
    args = parser.parse_args()
    loader.load("cpu")  # imports and disk cache, so that the time below is loading
    began = time.perf_counter()
    model = loader.load("cpu")
    print(
        f"loads in {time.perf_counter() - began:.2f} s; weights {sum(f.stat().st_size for f in Path(loader.WEIGHTS).glob('*.safetensors')) / 1e6:.1f} MB"
    )
    drawn = faces.sample(range(2000))
    renders = faces.render(drawn)
    rebuilt = torch.cat([model.decode(model.encode(part)) for part in renders.split(200)])
    print(
        f"VAE: {psnr(rebuilt, renders).mean():.1f} dB on 2000 held-out faces (worst {psnr(rebuilt, renders).min():.1f})"
    )
    for name, pictures in (("renders", renders), ("VAE reconstructions", rebuilt)):
        right = (torch.cat([model.judged(part) for part in pictures.split(200)]) == drawn.attributes).float().mean(0)
        print(f"judge on {name}: " + ", ".join(f"{n} {r:.4f}" for n, r in zip(faces.ATTRIBUTES, right)))
    began = time.perf_counter()
    draw(model, caption(["hat"]), 1, args.cfg)
    print(
        f"draws one face (25 steps, guidance {args.cfg:g}) in {time.perf_counter() - began:.2f} s on {torch.get_num_threads()} threads"
    )
    for name in faces.ATTRIBUTES:
        seen = model.judged(draw(model, caption([name]), args.count, args.cfg)).float().mean(0)
        print(f'"{caption([name])}": ' + ", ".join(f"{n} {r:.3f}" for n, r in zip(faces.ATTRIBUTES, seen)))
    for prompt, cfg in ((caption([]), args.cfg), (caption([]), 1.0), ("", 1.0)):
        seen = model.judged(draw(model, prompt, args.count, cfg)).float().mean(0)
        print(f'"{prompt}" at guidance {cfg:g}: ' + ", ".join(f"{n} {r:.3f}" for n, r in zip(faces.ATTRIBUTES, seen)))


def draw(model, prompt: str, count: int, cfg: float) -> torch.Tensor:
    sigmas = model.sigmas(25)
    noise = starting_noise(model, count, 0, sigmas)
    return torch.cat(
        [model.decode(sample_euler(model.denoiser(prompt, cfg=cfg), part, sigmas)) for part in noise.split(50)]
    )


if __name__ == "__main__":
    main()
