"""h-space edits and their baselines on held-out inverted renders: the table of the shipped default, and what else it promises."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from singular_edit.core import HDirection, combine_directions, load_hdirection, random_like
from singular_edit.demo import editing, faces, loader
from singular_edit.demo.measure import HEADER, score
from tables import logits, monotone

SEED = 50_000
OTHER_STEPS = (10, 50)


def learned(model: loader.DemoModel, attribute: str, args: argparse.Namespace) -> tuple[HDirection, HDirection]:
    """The readout, and a direction that moves h for comparison: from the files of args.directions, or learned anew."""
    if args.directions:
        return tuple(load_hdirection(args.directions / f"{attribute}.{kind}.safetensors") for kind in ("readout", "h"))
    began = time.perf_counter()
    readout = editing.readout(model, attribute, seed=args.seed)
    print(f"{attribute}: readout learned in {time.perf_counter() - began:.0f} s")
    return readout, editing.h_direction(
        model, attribute, editing.trajectories(model, attribute, seed=args.seed), seed=args.seed
    )


def run(args: argparse.Namespace) -> None:
    model = loader.load()
    directions = {name: learned(model, name, args) for name in args.attributes}
    print(
        f"{args.count} held-out renders an attribute, inverted; euler, {editing.STEPS} steps, guidance {editing.CFG:g}; strength {editing.H_STRENGTH:g}, "
        f"readout from step {editing.READ_PART_STEP}, dh from {editing.H_PART_STEP}, until {editing.EDIT_PERCENT:g}\n"
    )
    for i, (name, (readout, dh)) in enumerate(directions.items()):
        s = editing.Session(model, faces.sample(range(SEED, SEED + args.count)), name)
        print(f"{name:<34s}" + HEADER[34:])
        for label, edit in (
            ("unedited", lambda: editing.unedited(s)),
            ("prompt swap from T", lambda: editing.prompt_swap(s)),
            (f"prompt swap from step {editing.READ_PART_STEP}", lambda: editing.prompt_swap(s, editing.READ_PART_STEP)),
            ("Asyrp, readout", lambda: editing.asyrp(s, readout)),
            ("Asyrp, readout, symmetric", lambda: editing.asyrp(s, readout, symmetric=True)),
            ("Asyrp, learned dh", lambda: editing.asyrp(s, dh)),
            ("Asyrp, learned dh, symmetric", lambda: editing.asyrp(s, dh, symmetric=True)),
            ("Asyrp, random dh of equal norm", lambda: editing.asyrp(s, random_like(dh, args.seed))),
        ):
            print(score(s, edit()).row(label), flush=True)
        few = editing.Session(model, faces.sample(range(SEED, SEED + min(args.few, args.count))), name)
        monotone(
            few,
            editing.Session(model, few.faces, name, worn=True),
            lambda s, strength: editing.asyrp(s, readout, strength),
        )
        other, (second, _) = list(directions.items())[(i + 1) % len(directions)]
        promises(few, readout, other, second)


def promises(few: editing.Session, readout: HDirection, other: str, second: HDirection) -> None:
    """The same direction at other numbers of steps, and together with another one: success."""
    model, name = few.model, few.attribute
    seen = lambda s, pictures: float((logits(s, pictures) > 0).float().mean())
    by_steps = {
        steps: few if steps == few.steps else editing.Session(model, few.faces, name, steps=steps)
        for steps in sorted((*OTHER_STEPS, few.steps))
    }
    print(
        f"{len(few.faces)} faces, success at steps "
        + ", ".join(f"{steps}: {seen(s, editing.asyrp(s, readout)):.2f}" for steps, s in by_steps.items())
    )
    if other != name:
        s = editing.Session(model, few.faces.with_attributes(**{other: False}), name)
        together = editing.asyrp(s, combine_directions([(1.0, readout), (1.0, second)]))
        print(
            f"together with {other}: {name} {seen(s, together):.2f}, {other} {float(model.logits(together)[:, faces.ATTRIBUTES.index(other)].gt(0).float().mean()):.2f}"
        )
    print(flush=True)


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    command.add_argument(
        "--directions",
        type=Path,
        help="folder of ATTRIBUTE.readout.safetensors and ATTRIBUTE.h.safetensors, as singular-edit demo leaves them; learned anew without it",
    )
    command.add_argument("--few", type=int, default=48, help="faces for what is shown below the table")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=run)
