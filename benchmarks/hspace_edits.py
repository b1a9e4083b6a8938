"""Measure h-space edits and their baselines on held-out inverted renders.

The table is of the shipped defaults; below it stand other strengths, other numbers of steps and two readouts at once.
This is the command ``edits`` of benchmarks/hspace.py.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from singular_edit.core import HDirection, RandomDirection, combine_directions, load_hdirection
from singular_edit.core.hspace.direction import DeltaDirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings, LearnSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from singular_edit.demo.evaluation.tables import logits, strength_monotonicity
from torch import Tensor

OTHER_STEPS = (10, 50)
DH_METHOD = "combined"  # of the learned dh


class Directions(NamedTuple):
    """What is measured of one attribute: the readout, and a learned dh to compare with."""

    readout: HDirection
    dh: HDirection


def success(s: Session, pictures: Tensor) -> float:
    """Return the share of pictures [B, 3, 64, 64] in which the judge sees the session's attribute."""
    return float((logits(s, pictures) > 0).float().mean())


def random_like(direction: HDirection, seed: int) -> RandomDirection:
    """Return a random direction of the same norm.

    Raises:
        SystemExit: The direction is a readout or a sum, which has no dh.
    """
    if not isinstance(direction, DeltaDirection):
        raise SystemExit(f"{direction.name} has no dh; a direction that moves h is accepted.")
    return RandomDirection.like(direction, seed)


def load_or_learn(model: loader.DemoModel, attribute: str, args: argparse.Namespace) -> Directions:
    """Read an attribute's directions from the files of args.directions, or learn them at the shipped settings."""
    if args.directions:
        folder = Path(args.directions)
        return Directions(
            load_hdirection(folder / f"{attribute}.readout.safetensors"),
            load_hdirection(folder / f"{attribute}.h.safetensors"),
        )
    began = time.perf_counter()
    readout = edits.readout(model, attribute, seed=args.seed)
    print(f"{attribute}: readout learned in {time.perf_counter() - began:.0f} s")
    settings = LearnSettings.for_method(DH_METHOD)
    recorded = edits.trajectories(model, attribute, settings, args.seed)
    return Directions(readout, edits.h_direction(model, attribute, recorded, settings, seed=args.seed))


def run(args: argparse.Namespace) -> None:
    """Print the tables of every attribute.

    Args:
        args: attributes, directions, count, few and seed of the command line.
    """
    model = loader.load()
    directions = {name: load_or_learn(model, name, args) for name in args.attributes}
    settings = EditSettings()
    print(
        f"{args.count} held-out renders an attribute, inverted; euler, {defaults.STEPS} steps, "
        f"guidance {defaults.EDIT_GUIDANCE:g}; strength {settings.strength:g}, "
        f"edits begin where the prompts branched in learning and end at progress {settings.edit_percent:g}\n"
    )
    names = list(directions)
    for i, name in enumerate(names):
        s = Session(model, faces.sample(range(HELD_OUT, HELD_OUT + args.count)), name)
        print_edits(s, directions[name], args.seed)
        few = Session(model, faces.sample(range(HELD_OUT, HELD_OUT + min(args.few, args.count))), name)
        readout = directions[name].readout
        print_strengths(few, readout)
        print_steps(few, readout)
        other = names[(i + 1) % len(names)]
        if other != name:
            print_together(few, readout, other, directions[other].readout)
        print(flush=True)


def print_edits(s: Session, directions: Directions, seed: int) -> None:
    """Print the scores of each edit of a session; seed: of the random direction."""
    readout, dh = directions
    symmetric = replace(edits.there(readout), symmetric=True)
    ways: dict[str, Callable[[], Tensor]] = {
        "unedited": lambda: edits.unedited(s),
        "prompt swap from T": lambda: edits.prompt_swap(s),
        f"prompt swap from step {defaults.SWAP_STEP}": lambda: edits.prompt_swap(s, defaults.SWAP_STEP),
        "Asyrp, readout": lambda: edits.asyrp(s, readout),
        "Asyrp, readout, symmetric": lambda: edits.asyrp(s, readout, symmetric),
        "Asyrp, learned dh": lambda: edits.asyrp(s, dh),
        "Asyrp, learned dh, symmetric": lambda: edits.asyrp(s, dh, symmetric),
        "Asyrp, random dh of equal norm": lambda: edits.asyrp(s, random_like(dh, seed)),
    }
    print(f"{s.attribute:<34s}" + HEADER[34:])
    for label, edit in ways.items():
        print(score(s, edit()).row(label), flush=True)


def print_strengths(s: Session, readout: HDirection) -> None:
    """Print how the judge's score rises with the readout's strength, on faces without and with the attribute."""
    having = Session(s.model, s.faces, s.attribute, has_attribute=True)
    strength_monotonicity(s, having, lambda s, strength: edits.asyrp(s, readout, EditSettings(strength)))


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
    command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    command.add_argument(
        "--directions",
        type=Path,
        help=(
            "folder of ATTRIBUTE.readout.safetensors and ATTRIBUTE.h.safetensors, as singular-edit evaluate leaves "
            "them; learned anew without it"
        ),
    )
    command.add_argument("--few", type=int, default=48, help="faces for what is shown below the table")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=run)
