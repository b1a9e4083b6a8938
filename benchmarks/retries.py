"""Measure what retries bring: pictures that a readout changes too little are edited again, more strongly.

    python benchmarks/retries.py [--model transformer] [--attributes hat smile] [--count 24] [--first 60000]

For each attribute the pictures that lack it are edited with 0, 1 and more retries: success / others / PSNR in dB, as
docs/results.md defines them, and the share of them that were given more. Of pictures that wear it already, which are
to be left alone, it prints the PSNR to the unedited picture and the share that were given more all the same.

``--weak`` measures other values of defaults.WEAK_CHANGE. Readouts of the embedded U-Net are those that ship; others are
learned by the shipped settings and kept in ``--learned``. The recorded output is in benchmarks/results/retries.txt.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from singular_edit.core import HDirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.slide import Slide
from singular_edit.demo.architectures import UNET
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import EvaluatedModel, open_model
from singular_edit.demo.evaluation.learned_files import LearnedFiles
from singular_edit.demo.evaluation.score import psnr, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session


class Row(NamedTuple):
    """What one number of retries made of some pictures.

    Attributes:
        success: Share of the pictures with the attribute.
        others: Share of the other attributes that the judge sees as before.
        to_true: Mean PSNR to the true edited picture, in dB.
        to_unedited: Mean PSNR to the unedited picture, in dB.
        given_more: Share of the pictures that were edited at a larger scale.
    """

    success: float
    others: float
    to_true: float
    to_unedited: float
    given_more: float


def measured(session: Session, slide: Slide, retries: int) -> Row:
    """Edit the pictures of a session at strength 1 with so many retries, and sample nothing twice."""
    slide.factors.clear()
    edited = slide.at(defaults.THERE, retries=retries).clamp(0, 1)
    judged = score(session, edited)
    given_more = float((slide.factors[retries] > 1).double().sum()) / len(edited)
    to_unedited = float(psnr(edits.unedited(session), edited).mean())
    return Row(judged.success, judged.kept, judged.psnr, to_unedited, given_more)


def measure(model: EvaluatedModel, name: str, direction: HDirection, args: argparse.Namespace) -> None:
    """Print the rows of one attribute."""
    faces = model.sample(range(args.first, args.first + args.count))
    sessions = [
        Session(model, faces, name, cfg=args.guidance, steps=args.steps, traced=True, has_attribute=wears)
        for wears in (False, True)
    ]
    slides = [edits.asyrp_slide(session, direction) for session in sessions]
    print(f"\n{name:<32s}{'lacking it':>22s}{'given more':>12s}{'wearing it':>14s}{'given more':>12s}", flush=True)
    for weak in args.weak:
        with patch.object(defaults, "WEAK_CHANGE", weak):
            for retries in range(len(defaults.RETRY_FACTORS) + 1):
                row, worn = (measured(*one, retries) for one in zip(sessions, slides, strict=True))
                label = f"{retries} retries below {weak:g}"
                cell = f"{row.success:.2f}/{row.others:.2f}/{row.to_true:.1f}"
                print(
                    f"{label:<32s}{cell:>22s}{row.given_more:12.2f}{worn.to_unedited:11.1f} dB{worn.given_more:12.2f}",
                    flush=True,
                )


def main() -> None:
    """Measure every attribute that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=UNET.name, help="an embedded model, or a folder with a model of your own")
    parser.add_argument("--attributes", nargs="+")
    parser.add_argument("--count", type=int, default=24, help="pictures an attribute")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first picture")
    parser.add_argument("--steps", type=int, default=defaults.STEPS)
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    parser.add_argument("--weak", type=float, nargs="+", default=[defaults.WEAK_CHANGE])
    parser.add_argument("--learned", type=Path, help="folder that keeps what is learned")
    args = parser.parse_args()
    model = open_model(args.model)
    folder = args.learned or Path("output", "learned", Path(args.model).name)
    learned = LearnedFiles(model, folder, ships=args.model == UNET.name)
    print(f"{args.model}, {args.count} pictures from seed {args.first}, from traces, euler, {args.steps} steps")
    for name in args.attributes or model.attributes:
        measure(model, name, learned.readout(name), args)


if __name__ == "__main__":
    main()
