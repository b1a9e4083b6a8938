"""Measure a slider in plain calls, by sampler and by where it ends: ``python benchmarks/samplers.py``.

The embedded U-Net draws new faces from "a face" with diffusers' schedulers, with and without a readout of glasses. A
sampler that looks back at earlier steps takes it badly when an edit stops at once near the end: the last predictions
jump, and what it extrapolates from them is noise. ``others`` is the share of the other attributes that stay, ``PSNR``
is that of the edited picture to the same picture without the slider: it falls where a picture is damaged. Chosen by it:
defaults.END_PERCENT. The recorded output is in benchmarks/results/samplers.txt.
"""

from __future__ import annotations

import argparse

import singular_edit
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from singular_edit.demo import faces, loader
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.pipeline import load_pipeline
from torch import Tensor

SCHEDULERS = {
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
    "heun": HeunDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "uni_pc": UniPCMultistepScheduler,
}


def main() -> None:
    """Print a row for each sampler, number of steps, strength and end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--attribute", choices=faces.ATTRIBUTES, default="glasses")
    parser.add_argument("--steps", type=int, nargs="+", default=[12, 20, 25])
    parser.add_argument("--ends", type=float, nargs="+", default=[0.7, 0.8, 0.9, 1.0])
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=24, help="pictures")
    args = parser.parse_args()
    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    judge = loader.load("cpu")
    index = faces.ATTRIBUTES.index(args.attribute)
    others = [i for i in range(len(faces.ATTRIBUTES)) if i != index]

    with singular_edit.attach(pipe) as edit:
        readout = edit.load(readout_path(args.attribute))

        def draw(steps: int) -> Tensor:
            """Draw pictures from "a face", [count, 3, side, side]."""
            return pipe(
                "a face",
                num_inference_steps=steps,
                guidance_scale=args.guidance,
                num_images_per_prompt=args.count,
                generator=torch.Generator().manual_seed(0),
                output_type="pt",
            ).images.float()

        print(f"{args.count} pictures, {args.attribute} at strength {args.strength:g}, guidance {args.guidance:g}")
        print(f"{'':<24s}{'end':>5s}{'success':>9s}{'others':>8s}{'PSNR dB':>9s}")
        for name in args.samplers:
            pipe.scheduler = SCHEDULERS[name].from_config(pipe.scheduler.config)
            for steps in args.steps:
                plain = draw(steps)
                before = judge.judged(plain)
                for end in args.ends:
                    with edit.slider({readout: args.strength}, until=end):
                        edited = draw(steps)
                    after = judge.judged(edited)
                    success = after[:, index].float().mean()
                    kept = (after[:, others] == before[:, others]).float().mean()
                    decibels = psnr(edited, plain).mean()
                    label = f"{name}, {steps} steps"
                    print(f"{label:<24s}{end:5.1f}{success:9.2f}{kept:8.2f}{decibels:9.1f}", flush=True)


if __name__ == "__main__":
    main()
