"""The command line: ``singular-edit apply``, ``invert``, ``learn``, ``demo`` and ``evaluate``."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; what is wrong with its input is said in one sentence.

    Args:
        argv: Arguments after the program's name; those of the process if None.

    Returns:
        The exit status.
    """
    from .commands.exit_status import STOPPED

    for stream in (sys.stdout, sys.stderr):
        # Names of files need not fit into what a console can show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(argv)
    except KeyboardInterrupt:
        # On a line of its own, below a progress bar.
        print("\nsingular-edit: stopped.", file=sys.stderr)
        return STOPPED


def _run(argv: Sequence[str] | None) -> int:
    from .commands.exit_status import NOT_ACCEPTED
    from .core.errors import EditError

    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
    except EditError as error:
        print(f"singular-edit: {error}", file=sys.stderr)
        return NOT_ACCEPTED
    except OSError as error:
        print(f"singular-edit: {_sentence(error)}", file=sys.stderr)
        return NOT_ACCEPTED
    return status


def _sentence(error: OSError) -> str:
    """Say which file the system refuses, and why."""
    from .core.errors import plain_text

    reason = plain_text(error.strerror or error, 300)
    if error.filename is None:
        return f"The system refuses a file or a connection ({reason})."
    return f"'{plain_text(error.filename, 300)}' cannot be read or written ({reason}); check the path and the disk."


def _parser() -> argparse.ArgumentParser:
    from .commands.arguments import add_commands, path_of
    from .commands.help import texts
    from .demo.evaluation.run import EvaluationSettings

    parser = argparse.ArgumentParser(
        prog="singular-edit",
        description="Edit your own pictures with attributes, such as a hat or a smile, or what two texts can say.",
        usage="%(prog)s COMMAND ...",
        epilog="singular-edit COMMAND --help says what a command takes, with an example.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, prog="singular-edit")
    add_commands(commands)

    demo = commands.add_parser(
        "demo",
        **texts("Invert, learn and edit on the embedded face model, in about a minute.", "", "demo --output output"),
    )
    demo.add_argument("--output", type=path_of, default=Path("output"), help="folder for the pictures and the table")
    demo.set_defaults(run=_demo)

    shipped = EvaluationSettings()
    evaluate = commands.add_parser(
        "evaluate",
        **texts(
            "Measure every edit and its baselines; a run that was stopped goes on where it stood.",
            "",
            "evaluate --attributes hat --count 8 --share 0.1",
        ),
    )
    evaluate.add_argument(
        "--output", type=path_of, default=Path("output/evaluation"), help="folder for the table, pictures and files"
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
    from .commands.folder import check_no_file
    from .demo import showcase

    check_no_file(args.output)
    showcase.run(args.output)
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    from .commands.folder import check_no_file
    from .demo.evaluation.run import EvaluationSettings, run

    check_no_file(args.output)
    run(args.output, args.attributes, EvaluationSettings(args.count, args.share, args.seed, args.model))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
