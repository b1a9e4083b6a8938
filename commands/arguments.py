"""What the commands on pictures take on the command line."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.recipes.defaults import EDIT_GUIDANCE, STEPS
from ..core.recipes.inversion import INVERSION_METHODS, TRACED
from ..core.recipes.settings import EFFORTS
from ..demo.faces import ATTRIBUTES
from .help import texts
from .reading import MAX_PIXELS

if TYPE_CHECKING:
    from .models import ModelChoice
    from .task import Task

SIZE = re.compile(r"([1-9]\d{0,5})(?:x([1-9]\d{0,5}))?")


def add_commands(commands: Any) -> None:
    """Add apply, invert and learn to the command line's parsers."""
    apply = commands.add_parser(
        "apply",
        **texts(
            "Edit a picture, or all of a folder, with attributes; what is done already is not done again.",
            "ATTRIBUTE [ATTRIBUTE ...] IN OUT",
            "apply hat pictures/ out/ --strength 0 0.5 1 --sheet",
        ),
    )
    shipped = ", ".join(ATTRIBUTES)
    apply.add_argument(
        "attributes",
        nargs="+",
        metavar="ATTRIBUTE",
        help=f"file of an attribute, or {shipped}, which the embedded unet has; FILE=0.5 gives it a weight",
    )
    _add_folders(apply)
    strength = "strengths, a picture each; without it there is one picture, at the strength that the file advises"
    apply.add_argument("--strength", nargs="+", type=_strength, default=(), metavar="NUMBER", help=strength)
    apply.add_argument("--mask", type=_path, help="white where pictures may change; or a folder of such")
    apply.add_argument("--sheet", action="store_true", help="one more picture, with all strengths and their labels")
    own = "add the change alone to each picture, at its own size, in place of the model's drawing; one drawing more"
    apply.add_argument("--on-original", action="store_true", help=own)
    _add_inversion(apply, "what the pictures show; as the first attribute's file says by default")
    apply.set_defaults(run=_apply)

    invert = commands.add_parser(
        "invert",
        **texts(
            "Find the noise from which a model draws pictures, and draw them again; what is done is not done again.",
            "IN OUT",
            'invert pictures/ noise/ --prompt "a face"',
        ),
    )
    _add_folders(invert)
    method = "traced is exact for edits of this pack, fixed_point also for other samplers; ddim is quick and drifts"
    invert.add_argument("--method", choices=INVERSION_METHODS, default=TRACED, help=method)
    _add_inversion(invert, "what the pictures show; nothing by default")
    invert.set_defaults(run=_invert)

    learn = commands.add_parser(
        "learn",
        **texts(
            "Learn an attribute from two texts, as a file that apply and ComfyUI's nodes take.",
            "SOURCE TARGET",
            'learn "a face" "a face with a hat" --name hat',
        ),
    )
    learn.add_argument("source", metavar="SOURCE", help="what pictures show without it: 'a face'")
    learn.add_argument("target", metavar="TARGET", help="the same words with it: 'a face with a hat'")
    learn.add_argument("--output", type=_path, help="the file; NAME.safetensors by default")
    learn.add_argument("--name", default="", help="what it is called; TARGET by default")
    learn.add_argument(
        "--method", help="readout, svd, combined, ...; see docs/library.md. readout by default, svd for pictures"
    )
    effort = "how many pictures it learns from; more take longer, and keep stray changes out better"
    learn.add_argument("--effort", choices=tuple(EFFORTS), default="good", help=effort)
    pictures = "a folder of pictures, or one, that show SOURCE, to learn from by method svd in place of random ones"
    learn.add_argument("--pictures", type=_path, help=pictures)
    _add_model(learn)
    learn.set_defaults(run=_learn)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", type=_path, metavar="IN", help="folder of pictures, or one picture")
    parser.add_argument("output", type=_path, metavar="OUT", help="folder of the results")


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add what all three commands take."""
    model = "unet or transformer, the embedded models; a folder of diffusers; a .safetensors checkpoint"
    parser.add_argument("--model", default="unet", help=model)
    parser.add_argument("--config", type=_path, help="for a checkpoint: a folder of diffusers of its family")
    parser.add_argument("--device", help="torch's name of a device; this process's GPU by default")
    precision = "float32, float16 or bfloat16, for models that are not embedded; what fits the device by default"
    parser.add_argument("--precision", help=precision)
    parser.add_argument("--steps", type=int, default=STEPS, help="sampling steps")
    parser.add_argument("--size", type=_size, help="longest side in pixels, or WIDTHxHEIGHT; the model's by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is drawn")


def _add_inversion(parser: argparse.ArgumentParser, prompt: str) -> None:
    """Add what the commands on folders take."""
    parser.add_argument("--prompt", help=prompt)
    guidance = "how strictly the prompt is followed, 1 to 2; more is stronger and coarser"
    parser.add_argument("--guidance", type=float, default=EDIT_GUIDANCE, help=guidance)
    parser.add_argument("--format", help="png, jpg, webp or tiff; as each picture is by default")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="pixels of the largest picture that is read")
    parser.add_argument("--shard", help="one share of the pictures, such as 1/4; or RANK and WORLD_SIZE say it")
    parser.add_argument("--ray", action="store_true", help="on the machines of a Ray cluster")
    parser.add_argument("--workers", type=int, help="with --ray: how many; one a GPU by default")
    _add_model(parser)


def path_of(text: str) -> Path:
    """Return a path of the command line.

    Args:
        text: What was typed.

    Returns:
        The path.

    Raises:
        ArgumentTypeError: Nothing was, which would mean the folder that one is in.
    """
    if not text:
        raise argparse.ArgumentTypeError("'' is no path; a file or a folder is accepted")
    return Path(text)


def _path(text: str) -> Path:
    """Return a path that means the same in every process, wherever it works."""
    return path_of(text).absolute()


def _strength(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        # A file or a folder behind the numbers is taken for one more of them.
        raise argparse.ArgumentTypeError(
            f"'{text[:40]}' is no number; ATTRIBUTE, IN and OUT stand before --strength"
        ) from None


def _size(text: str) -> int | tuple[int, int]:
    match = SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text[:40]}' is no size; 768 or 640x512 is accepted")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _model(args: argparse.Namespace) -> ModelChoice:
    from .models import ModelChoice

    choice = ModelChoice(args.model, args.config, args.device, args.precision)
    return choice if choice.is_embedded else replace(choice, name=str(Path(args.model).absolute()))


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return what every task on a folder is made of."""
    return dict(
        source=args.input,
        target=args.output,
        model=_model(args),
        prompt=args.prompt,
        steps=args.steps,
        guidance=args.guidance,
        size=args.size,
        seed=args.seed,
        format=args.format,
        max_pixels=args.max_pixels,
    )


def _run(task: Task, args: argparse.Namespace) -> int:
    from ..core.errors import EditError
    from .run import run
    from .shares import share_of

    if args.ray and args.shard:
        raise EditError("--ray and --shard are both given; one of them is accepted: Ray shares pictures out itself.")
    if args.workers is not None and (not args.ray or args.workers < 1):
        raise EditError(f"workers is {args.workers}; 1 or more, together with --ray, are accepted.")
    return run(task, share_of("1/1" if args.ray else args.shard, os.environ), args.workers if args.ray else 0)


def _apply(args: argparse.Namespace) -> int:
    from .apply import Apply, WeightedFile, check_attributes

    attributes = tuple(map(WeightedFile.of, args.attributes))
    check_attributes(attributes)
    # Two strengths of one name would be one file.
    strengths = {f"{strength:g}": strength for strength in args.strength}
    return _run(
        Apply(
            attributes=attributes,
            strengths=tuple(strengths.values()),
            mask=args.mask,
            sheet=args.sheet,
            on_original=args.on_original,
            **_settings(args),
        ),
        args,
    )


def _invert(args: argparse.Namespace) -> int:
    from .invert import Invert

    return _run(Invert(method=args.method, **_settings(args)), args)


def _learn(args: argparse.Namespace) -> int:
    from .learn import Learn

    return Learn(
        args.source,
        args.target,
        output=args.output,
        name=args.name,
        method=args.method,
        effort=args.effort,
        steps=args.steps,
        size=args.size,
        seed=args.seed,
        pictures=args.pictures,
        model=_model(args),
    ).run()
