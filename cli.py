"""The command line: ``singular-edit demo`` learns, inverts and edits on the embedded model, and leaves pictures and a table."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .demo import faces

STRENGTHS = (-1.0, 0.0, 0.5, 1.0, 1.5)
SHOWN = 2
SEED = 50_000  # held out: training starts at faces.TRAINING_SEED
SINGLE_PAIRS = 8  # each is tried on its share of the pictures


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="singular-edit", description="Latent SVD and Asyrp on an exact inversion.")
    commands = parser.add_subparsers(required=True)
    demo = commands.add_parser(
        "demo", help="learn, invert and edit on the embedded face model; leaves pictures and a table"
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("output"),
        help="folder for the contact sheet, the table and the attribute files",
    )
    demo.add_argument("--count", type=int, default=48, help="held-out pictures an attribute is measured on")
    demo.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    demo.add_argument(
        "--samples",
        type=int,
        default=128,
        help="noises that h-space directions are learned from; a readout takes four times as many",
    )
    demo.add_argument(
        "--steps",
        type=int,
        default=600,
        help="training steps of h-space directions; a readout takes five thirds of them",
    )
    demo.add_argument("--pairs", type=int, default=24, help="foreign pairs that an SVD attribute is learned from")
    demo.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")
    demo.set_defaults(run=run_demo)
    args = parser.parse_args(argv)
    return args.run(args)


def run_demo(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from .core import RandomDirection
    from .core.recipes import defaults
    from .demo import loader
    from .demo.evaluation import edits
    from .demo.evaluation.contact_sheet import contact_sheet
    from .demo.evaluation.score import HEADER, score
    from .demo.evaluation.session import Session

    if min(args.count, args.samples, args.steps, args.pairs) < 1:
        raise SystemExit(
            f"--count is {args.count}, --samples is {args.samples}, --steps is {args.steps} and --pairs is {args.pairs}; 1 or more is accepted."
        )
    began = time.perf_counter()
    args.output.mkdir(parents=True, exist_ok=True)
    model = loader.load()
    lines, rows = [_setting(args.count), _round_trip(model, min(16, args.count)), ""], []
    print("\n".join(lines))
    with tqdm(total=len(args.attributes) * 15, unit="run") as bar:
        for attribute in args.attributes:
            bar.set_description(attribute)
            s = Session(model, faces.sample(range(SEED, SEED + args.count)), attribute)
            s.inversion
            bar.update()
            svd = edits.svd_attribute(model, attribute, args.pairs, args.seed)
            ones = edits.single_pairs(model, attribute, min(SINGLE_PAIRS, args.pairs), args.seed + 1)
            bar.update()
            recorded = edits.trajectories(model, attribute, args.samples, args.seed)
            readout = edits.readout(model, attribute, 4 * args.samples, args.steps * 5 // 3, args.seed)
            direction, difference = (
                edits.h_direction(model, attribute, recorded, method, args.steps, seed=args.seed)
                for method in ("combined", "difference")
            )
            svd.save(args.output / f"{attribute}.svd.safetensors")
            direction.save(args.output / f"{attribute}.h.safetensors")
            readout.save(args.output / f"{attribute}.readout.safetensors")
            bar.update()
            table = [f"{attribute:<34s}" + HEADER[34:]]
            for label, edit in (
                ("unedited", lambda: edits.unedited(s)),
                ("prompt swap from T", lambda: edits.prompt_swap(s)),
                (f"prompt swap from step {defaults.BRANCH_STEP}", lambda: edits.prompt_swap(s, defaults.BRANCH_STEP)),
                ("Latent SVD, own pair", lambda: edits.svd_own_pair(s)),
                ("Latent SVD, one foreign pair", lambda: edits.svd_one_foreign_pair(s, ones)),
                (f"Latent SVD, mean of {args.pairs} pairs", lambda: edits.svd_apply(s, svd)),
                ("Asyrp, readout", lambda: edits.asyrp(s, readout)),
                ("Asyrp, learned dh", lambda: edits.asyrp(s, direction)),
                ("Asyrp, difference dh", lambda: edits.asyrp(s, difference)),
                ("Asyrp, learned dh, symmetric", lambda: edits.asyrp(s, direction, symmetric=True)),
                ("Asyrp, random dh", lambda: edits.asyrp(s, RandomDirection(direction, args.seed))),
            ):
                table.append(score(s, edit()).row(label))
                bar.update()
            few = Session(model, s.faces[:SHOWN], attribute)
            pictures = {
                "Latent SVD": [edits.svd_apply(few, svd, strength) for strength in STRENGTHS],
                "Asyrp": [edits.asyrp(few, readout, strength) for strength in STRENGTHS],
            }
            rows += [(f"{attribute}\n{method}", few, edits) for method, edits in pictures.items()]
            bar.update()
            lines += [*table, ""]
            tqdm.write("\n".join([*table, ""]))
    contact_sheet(rows, STRENGTHS, args.output / "contact_sheet.png")
    (args.output / "table.txt").write_text("\n".join(lines))
    print(
        f"{args.output / 'contact_sheet.png'} and {args.output / 'table.txt'} written in {time.perf_counter() - began:.0f} s"
    )
    return 0


def _setting(count: int) -> str:
    from .core.recipes import defaults

    return (
        f"{count} held-out faces drawn without the attribute, inverted and edited: euler, {defaults.STEPS} steps, guidance {defaults.EDIT_GUIDANCE:g}. success: the "
        "judge sees the attribute; others: share of the\nother attributes kept; PSNR: to the face's own counterfactual.\n"
    )


def _round_trip(model, count: int) -> str:
    """Latent PSNR (peak-to-peak 4) of held-out renders, inverted under their own captions and rebuilt by euler."""
    import torch

    from .core import ddim_inversion, fixed_point_inversion, sample_euler
    from .core.recipes import defaults
    from .demo.evaluation.score import psnr
    from .demo.words import caption

    drawn = faces.sample(range(SEED, SEED + count))
    latents = model.encode(faces.render(drawn))
    context = torch.cat([model.context(caption(names)) for names in drawn.names()])
    sigmas, out = model.sigmas(defaults.STEPS), []
    for cfg in (1.0, 5.0):
        denoise = model.denoiser("", cfg=cfg)
        denoise.context = context
        for name, invert in (("fixed_point", fixed_point_inversion), ("ddim", ddim_inversion)):
            code, report = invert(denoise, latents, sigmas)
            back = sample_euler(denoise, code, sigmas)
            out.append(
                f"round trip, guidance {cfg:g}, {name:<12s} {psnr(back, latents, 4).mean():5.1f} dB latent PSNR at {report.calls / report.steps:.2f} model calls a step"
            )
    return "\n".join(out)
