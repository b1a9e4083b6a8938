"""The command line: ``singular-edit apply``, ``invert``, ``learn``, ``demo`` and ``evaluate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what is wrong with its input is said in one sentence.

    Args:
        argv: Arguments after the program's name; those of the process if None.

    Returns:
        The exit status.
    """
    from .core.errors import EditError

    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except EditError as error:
        print(f"singular-edit: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    from .commands.arguments import add_commands
    from .demo.evaluation.run import EvaluationSettings

    parser = argparse.ArgumentParser(
        prog="singular-edit", description="Latent SVD and Asyrp, on an inversion that gives the picture back."
    )
    commands = parser.add_subparsers(required=True)
    add_commands(commands)

    demo = commands.add_parser("demo", help="invert, learn and edit on the embedded face model, in about a minute")
    demo.add_argument("--output", type=Path, default=Path("output"), help="folder for the pictures and the table")
    demo.set_defaults(run=_demo)

    shipped = EvaluationSettings()
    evaluate = commands.add_parser("evaluate", help="measure every edit and its baselines; resumable")
    evaluate.add_argument(
        "--output", type=Path, default=Path("output/evaluation"), help="folder for the table, pictures and files"
    )
    evaluate.add_argument(
        "--model",
        default=shipped.model,
        help="unet or transformer, the embedded models, or a folder with a model.py (see docs/results.md)",
    )
    evaluate.add_argument("--attributes", nargs="+", help="the model's attributes that are measured; all by default")
    evaluate.add_argument("--count", type=int, default=shipped.count, help="held-out faces an attribute")
    evaluate.add_argument(
        "--share",
        type=float,
        default=shipped.share,
        help="share of the shipped noises, training steps and pairs to learn from; 0.1 is a quick look",
    )
    evaluate.add_argument("--seed", type=int, default=shipped.seed, help="seed of everything that is drawn")
    evaluate.set_defaults(run=_evaluate)
    return parser


def _demo(args: argparse.Namespace) -> int:
    from .demo import showcase

    showcase.run(args.output)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from .demo.evaluation.run import EvaluationSettings, run

    run(args.output, args.attributes, EvaluationSettings(args.count, args.share, args.seed, args.model))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
