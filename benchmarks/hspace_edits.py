"""h-space edits and their baselines on held-out inverted renders: the table of the shipped default, and what else it promises."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from singular_edit.core import HDirection, RandomDirection, combine_directions, load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session
from singular_edit.demo.evaluation.tables import logits, strength_monotonicity

SEED = 50_000
OTHER_STEPS = (10, 50)


def learned(model: loader.DemoModel, attribute: str, args: argparse.Namespace) -> tuple[HDirection, HDirection]:
    """The readout, and a direction that moves h for comparison: from the files of args.directions, or learned anew."""
    if args.directions:
        return tuple(load_hdirection(args.directions / f"{attribute}.{kind}.safetensors") for kind in ("readout", "h"))
    began = time.perf_counter()
    readout = edits.readout(model, attribute, seed=args.seed)
    print(f"{attribute}: readout learned in {time.perf_counter() - began:.0f} s")
    return readout, edits.h_direction(
        model, attribute, edits.trajectories(model, attribute, seed=args.seed), seed=args.seed
    )


def run(args: argparse.Namespace) -> None:
    model = loader.load()
    directions = {name: learned(model, name, args) for name in args.attributes}
    print(
        f"{args.count} held-out renders an attribute, inverted; euler, {defaults.STEPS} steps, guidance {defaults.EDIT_GUIDANCE:g}; strength {defaults.H_STRENGTH:g}, "
        f"readout from step {defaults.READOUT_BRANCH_STEP}, dh from {defaults.DH_BRANCH_STEP}, until {defaults.EDIT_PERCENT:g}\n"
    )
    for i, (name, (readout, dh)) in enumerate(directions.items()):
        s = Session(model, faces.sample(range(SEED, SEED + args.count)), name)
        print(f"{name:<34s}" + HEADER[34:])
        for label, edit in (
            ("unedited", lambda: edits.unedited(s)),
            ("prompt swap from T", lambda: edits.prompt_swap(s)),
            (
                f"prompt swap from step {defaults.READOUT_BRANCH_STEP}",
                lambda: edits.prompt_swap(s, defaults.READOUT_BRANCH_STEP),
            ),
            ("Asyrp, readout", lambda: edits.asyrp(s, readout)),
            ("Asyrp, readout, symmetric", lambda: edits.asyrp(s, readout, symmetric=True)),
            ("Asyrp, learned dh", lambda: edits.asyrp(s, dh)),
            ("Asyrp, learned dh, symmetric", lambda: edits.asyrp(s, dh, symmetric=True)),
            ("Asyrp, random dh of equal norm", lambda: edits.asyrp(s, RandomDirection(dh, args.seed))),
        ):
            print(score(s, edit()).row(label), flush=True)
        few = Session(model, faces.sample(range(SEED, SEED + min(args.few, args.count))), name)
        strength_monotonicity(
            few,
            Session(model, few.faces, name, has_attribute=True),
            lambda s, strength: edits.asyrp(s, readout, strength),
        )
        other, (second, _) = list(directions.items())[(i + 1) % len(directions)]
        promises(few, readout, other, second)


def promises(few: Session, readout: HDirection, other: str, second: HDirection) -> None:
    """The same direction at other numbers of steps, and together with another one: success."""
    model, name = few.model, few.attribute
    seen = lambda s, pictures: float((logits(s, pictures) > 0).float().mean())
    by_steps = {
        steps: few if steps == few.steps else Session(model, few.faces, name, steps=steps)
        for steps in sorted((*OTHER_STEPS, few.steps))
    }
    print(
        f"{len(few.faces)} faces, success at steps "
        + ", ".join(f"{steps}: {seen(s, edits.asyrp(s, readout)):.2f}" for steps, s in by_steps.items())
    )
    if other != name:
        s = Session(model, few.faces.with_attributes(**{other: False}), name)
        together = edits.asyrp(s, combine_directions([(1.0, readout), (1.0, second)]))
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
