"""Where the commands of benchmarks/hspace.py get their directions and readouts: from files, or learned.

With ``--directions FOLDER`` a file ATTRIBUTE.h.safetensors (a direction that moves h) or ATTRIBUTE.readout.safetensors
is read where it is there, as ``singular-edit evaluate`` leaves them; one that is missing is learned and left there.
Without the option everything is learned.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from singular_edit.core import HDirection, load_hdirection
from singular_edit.core.hspace.learn_direction import METHODS
from singular_edit.core.layers import AUTO
from singular_edit.core.recipes.settings import LearnSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import ARCHITECTURES, UNET
from singular_edit.demo.evaluation import learning
from singular_edit.demo.evaluation.learned_files import LearnedFiles, kept

SHIPPED = LearnSettings.for_method("combined")


def readout(model: loader.DemoModel, attribute: str, args: argparse.Namespace) -> HDirection:
    """Return an attribute's readout: that of the files, or one learned at the shipped settings."""
    return LearnedFiles(model, args.directions, seed=args.seed).readout(attribute)


def moving_h(model: loader.DemoModel, attribute: str, args: argparse.Namespace) -> HDirection:
    """Return an attribute's direction that moves h: that of the files, or one learned as the command line says."""

    def learn() -> HDirection:
        settings = LearnSettings.for_method(args.method)
        training = replace(settings.training, steps=args.steps, batch=args.batch)
        settings = replace(
            settings, samples=args.samples, training=training, start_percent=args.start, layer=args.layer
        )
        recorded = learning.trajectories(model, attribute, settings, args.seed)
        return learning.h_direction(model, attribute, recorded, settings, seed=args.seed)

    return kept(LearnedFiles(model, args.directions).path(attribute, "h"), load_hdirection, learn)


def add_model_argument(command: argparse.ArgumentParser) -> None:
    """Add the option that chooses the embedded model."""
    command.add_argument("--model", choices=ARCHITECTURES, default=UNET.name)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what the functions of this module read of the command line."""
    add_model_argument(command)
    command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    command.add_argument(
        "--directions",
        type=Path,
        help="folder of the model's ATTRIBUTE.h.safetensors and ATTRIBUTE.readout.safetensors; what it lacks is added",
    )
    command.add_argument("--method", choices=METHODS, default=SHIPPED.method, help="of the direction that moves h")
    command.add_argument("--samples", type=int, default=SHIPPED.samples, help="its noises; 0 is as shipped")
    command.add_argument("--steps", type=int, default=SHIPPED.training.steps, help="its training steps")
    command.add_argument("--batch", type=int, default=SHIPPED.training.batch, help="pictures a training step looks at")
    command.add_argument("--start", type=float, default=SHIPPED.start_percent, help="progress at which prompts branch")
    command.add_argument("--layer", default=AUTO, help="where h of a transformer is moved: 'double_block:4'")
    command.add_argument("--seed", type=int, default=0)
