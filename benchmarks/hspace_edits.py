"""Measure h-space edits and their baselines on held-out inverted renders.

The table is of the shipped defaults; below it stand taking away, other strengths, other numbers of steps and two
readouts at once; ``--only`` chooses among these. This is the command ``edits`` of benchmarks/hspace.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import hspace_directions
import torch
from singular_edit.core import HDirection, RandomDirection, combine_directions
from singular_edit.core.hspace.direction import DeltaDirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.demo import loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from singular_edit.demo.evaluation.tables import logits, strength_monotonicity
from torch import Tensor

OTHER_STEPS = (10, 50)
# Strengths that curves are drawn over, and those at which taking away is measured.
STRENGTHS = torch.linspace(-1.5, 1.5, 7)
REMOVALS = (-0.5, -1.0)
PARTS = ("table", "removal", "strengths", "steps", "together")


def success(s: Session, pictures: Tensor) -> float:
    """Return the share of pictures [B, 3, side, side] in which the judge sees the session's attribute."""
    return float((logits(s, pictures) > 0).float().mean())


def random_like(direction: HDirection, seed: int) -> RandomDirection:
    """Return a random direction of the same norm.

    Raises:
        SystemExit: The direction is a readout or a sum, which has no dh.
    """
    if not isinstance(direction, DeltaDirection):
        raise SystemExit(f"{direction.name} has no dh; a direction that moves h is accepted.")
    return RandomDirection.like(direction, seed)


def run(args: argparse.Namespace) -> None:
    """Print the tables of every attribute.

    Args:
        args: model, attributes, directions, count, few, only and seed of the command line.
    """
    model = loader.load(name=args.model)

    @cache
    def readout_of(name: str) -> HDirection:
        return hspace_directions.readout(model, name, args)

    @cache
    def moving_h(name: str) -> HDirection:
        return hspace_directions.moving_h(model, name, args)

    print(
        f"{args.model}: {args.count} held-out renders an attribute, inverted; euler, {defaults.STEPS} steps, "
        f"guidance {defaults.EDIT_GUIDANCE:g}; each direction where it is there; edits begin where the prompts "
        f"branched in learning and end at progress {EditSettings().edit_percent:g}\n"
    )
    for i, name in enumerate(args.attributes):
        drawn = model.sample(range(HELD_OUT, HELD_OUT + args.count))
        s = Session(model, drawn, name)
        few = Session(model, drawn[: args.few], name)
        readout = readout_of(name)
        if "table" in args.only:
            print_edits(s, readout, moving_h(name), args.seed)
        if "removal" in args.only:
            dh = {"Asyrp, learned dh": moving_h(name)} if args.removal_of_dh else {}
            print_removal(s, {"Asyrp, readout": readout, **dh})
        if "strengths" in args.only:
            print_strengths(few, readout)
        if "steps" in args.only:
            print_steps(few, readout)
        other = args.attributes[(i + 1) % len(args.attributes)]
        if other != name and "together" in args.only:
            print_together(few, readout, other, readout_of(other))
        print(flush=True)


def print_edits(s: Session, readout: HDirection, dh: HDirection, seed: int) -> None:
    """Print the scores of each edit of a session; seed: of the random direction."""

    def symmetric(direction: HDirection) -> EditSettings:
        return replace(edits.there(direction), symmetric=True)

    ways: dict[str, Callable[[], Tensor]] = {
        "unedited": lambda: edits.unedited(s),
        "prompt swap from T": lambda: edits.prompt_swap(s),
        f"prompt swap from step {defaults.SWAP_STEP}": lambda: edits.prompt_swap(s, defaults.SWAP_STEP),
        "Asyrp, readout": lambda: edits.asyrp(s, readout),
        "Asyrp, readout, symmetric": lambda: edits.asyrp(s, readout, symmetric(readout)),
        "Asyrp, learned dh": lambda: edits.asyrp(s, dh),
        "Asyrp, learned dh, symmetric": lambda: edits.asyrp(s, dh, symmetric(dh)),
        "Asyrp, random dh of equal norm": lambda: edits.asyrp(s, random_like(dh, seed)),
    }
    print(f"{s.attribute:<34s}" + HEADER[34:])
    for label, edit in ways.items():
        print(score(s, edit()).row(label), flush=True)


def print_strengths(s: Session, readout: HDirection) -> None:
    """Print how the judge's score rises with the readout's strength, on faces without and with the attribute."""
    having = Session(s.model, s.faces, s.attribute, has_attribute=True)
    strength_monotonicity(s, having, lambda s, strength: edits.asyrp(s, readout, EditSettings(strength)), STRENGTHS)


def print_removal(s: Session, directions: dict[str, HDirection]) -> None:
    """Print the scores of taking the attribute away from the same faces with it; directions: by their labels."""
    having = Session(s.model, s.faces, s.attribute, has_attribute=True)
    print(f"{f'{s.attribute}, taken away':<34s}" + HEADER[34:])
    print(score(having, edits.unedited(having), value=False).row("unedited"), flush=True)
    for label, direction in directions.items():
        for strength in REMOVALS:
            pictures = edits.asyrp(having, direction, EditSettings(strength))
            print(score(having, pictures, value=False).row(f"{label}, strength {strength:g}"), flush=True)


def print_steps(s: Session, readout: HDirection) -> None:
    """Print the success of the same readout at other numbers of steps."""
    cells = []
    for steps in sorted((*OTHER_STEPS, s.steps)):
        at = s if steps == s.steps else Session(s.model, s.faces, s.attribute, steps=steps)
        cells.append(f"{steps}: {success(at, edits.asyrp(at, readout)):.2f}")
    print(f"{len(s.faces)} faces, success at steps " + ", ".join(cells))


def print_together(s: Session, readout: HDirection, other: str, second: HDirection) -> None:
    """Print the success of two readouts at once, on faces without either attribute; other: the second's attribute."""
    without = Session(s.model, s.faces.with_attributes(**{other: False}), s.attribute)
    pictures = edits.asyrp(without, combine_directions([(1.0, readout), (1.0, second)]))
    of_other = Session(s.model, without.faces, other)
    print(
        f"together with {other}: {s.attribute} {success(without, pictures):.2f}, "
        f"{other} {success(of_other, pictures):.2f}"
    )


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what this command reads of the command line, but for --count."""
    hspace_directions.add_arguments(command)
    command.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="only these parts")
    command.add_argument("--removal-of-dh", action="store_true", help="take away by the direction that moves h too")
    command.add_argument("--few", type=int, default=48, help="faces for what is shown below the table")
    command.set_defaults(run=run)
