"""Measure traced inversion on the embedded model.

    python benchmarks/traced.py round_trips    how exactly pictures come back, at every guidance
    python benchmarks/traced.py edits          edits from traces beside edits from fixed_point's codes
    python benchmarks/traced.py variants       other ways to make and to follow a trace

Readouts are those that ship with the embedded U-Net; for ``edits --model transformer`` they are learned first, by the
same defaults. ``--first`` is the seed of the first face: what is reported is of 50000 and up, defaults are chosen on
60000 and up. Recorded outputs are in benchmarks/results/traced.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import traced_variants
from singular_edit.core import round_trip_psnr, sample_traced, traced_inversion
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.inversion import FIXED_POINT, TRACED
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import ARCHITECTURES, UNET
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.learned_files import LearnedFiles
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, SOURCE, Session
from torch import Tensor

CHOOSING_FACES = 60_000


def run_round_trips(model: loader.DemoModel, args: argparse.Namespace) -> None:
    """Print how exactly held-out renders come back, under "a face" and under their own captions."""
    drawn = faces.sample(range(args.first, args.first + args.count))
    latents = model.encode(model.render(drawn))
    print(f"{args.count} renders, latent PSNR in dB (lowest); 200 is bit for bit\n")
    for own in (False, True):
        heading = "under their own captions" if own else f"under {SOURCE!r}"
        print(f"{heading:<34s}" + "".join(f"{f'{steps} steps':>18s}" for steps in args.steps) + "  calls/step")
        for cfg in args.guidance:
            cells = []
            for steps in args.steps:
                denoise = model.captioned(drawn, cfg) if own else model.denoiser(SOURCE, cfg=cfg)
                sigmas = model.sigmas(steps)
                trace, report = traced_inversion(denoise, latents, sigmas)
                # As ComfyUI hands a code on: scaled to LATENT space and back.
                code = trace.code / model.latent_scale * model.latent_scale
                trip = round_trip_psnr(latents, sample_traced(denoise, trace, code, sigmas))
                cells.append(f"{trip.mean():9.1f} ({trip.min():5.1f})")
            row = "".join(f"{cell:>18s}" for cell in cells)
            print(f"{f'guidance {cfg:g}':<34s}{row}{report.calls / report.steps:12.2f}", flush=True)
        print()


def run_edits(model: loader.DemoModel, args: argparse.Namespace) -> None:
    """Print the scores of edits from fixed_point's codes and from traces."""
    learned = LearnedFiles(model, None, ships=args.model == UNET.name)
    settings = None if args.strength is None else EditSettings(args.strength)
    shown = "where they are there" if args.strength is None else f"at strength {args.strength:g}"
    print(
        f"{args.count} held-out renders an attribute; euler, {defaults.STEPS} steps; readouts {shown}, "
        f"own pair at strength {defaults.THERE:g}\n"
    )
    for name in args.attributes:
        readout = learned.readout(name)
        ways: dict[str, Callable[[Session], Tensor]] = {
            "unedited": edits.unedited,
            "readout": lambda s, readout=readout: edits.asyrp(s, readout, settings),
            "Latent SVD, own pair": edits.svd_own_pair,
            "prompt swap from T": edits.prompt_swap,
            f"prompt swap from step {defaults.SWAP_STEP}": lambda s: edits.prompt_swap(s, defaults.SWAP_STEP),
        }
        for cfg in args.guidance:
            drawn = faces.sample(range(args.first, args.first + args.count))
            sessions = {
                method: Session(model, drawn, name, cfg=cfg, traced=method == TRACED) for method in args.methods
            }
            calls = ", ".join(
                f"{method} {s.inversion.report.calls / s.inversion.report.steps:.2f}" for method, s in sessions.items()
            )
            print(f"{f'{name}, guidance {cfg:g}':<34s}{HEADER[34:]}    calls a step: {calls}", flush=True)
            for label in args.ways or ways:
                for method, s in sessions.items():
                    print(score(s, ways[label](s)).row(f"{label}, {method}"), flush=True)
            print(flush=True)


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    trips = commands.add_parser("round_trips")
    trips.add_argument("--steps", type=int, nargs="+", default=[10, 25, 50])
    trips.set_defaults(run=run_round_trips)
    edited = commands.add_parser("edits")
    edited.add_argument("--methods", nargs="+", choices=[FIXED_POINT, TRACED], default=[FIXED_POINT, TRACED])
    edited.add_argument("--ways", nargs="+", help="only these rows, by their labels")
    edited.add_argument("--strength", type=float, help="of the readouts; where they are there, if left out")
    edited.set_defaults(run=run_edits)
    variants = commands.add_parser("variants")
    variants.set_defaults(run=traced_variants.run)
    for command, count, first, guidance in (
        (trips, 16, HELD_OUT, [1.0, 2.0, 5.0, 7.5, 10.0]),
        (edited, 48, HELD_OUT, [1.5, 5.0]),
        (variants, 24, CHOOSING_FACES, [1.5, 5.0]),
    ):
        command.add_argument("--model", choices=ARCHITECTURES, default=UNET.name)
        command.add_argument("--count", type=int, default=count, help="held-out faces")
        command.add_argument("--first", type=int, default=first, help="seed of the first face")
        command.add_argument("--guidance", type=float, nargs="+", default=guidance)
        command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    args = parser.parse_args()
    args.run(loader.load(name=args.model), args)


if __name__ == "__main__":
    main()
