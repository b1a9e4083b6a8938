"""Measure Latent SVD on the embedded models.

    python benchmarks/latent_svd.py properties    the paper's three properties, as tables and plots; of the U-Net
    python benchmarks/latent_svd.py ablation      loss terms, rank, T_x, delta and predictors, one change at a time
    python benchmarks/latent_svd.py edits         each attribute at the shipped defaults, beside its baselines
    python benchmarks/latent_svd.py alignment     one foreign pair, moved to where the other picture wants it

The last three take ``--model transformer`` too. Plots go to output/. ``--count`` is the number of held-out pictures an
attribute is measured on, ``--first`` the seed of the first one: what is reported is of 50000 and up, defaults are
chosen on 60000 and up. Recorded outputs are in benchmarks/results/latent_svd.txt.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import latent_svd_alignment
import latent_svd_edits
import latent_svd_properties
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import ARCHITECTURES, UNET
from singular_edit.demo.evaluation.session import HELD_OUT

COMMANDS = {
    "properties": (latent_svd_properties.run, 16),
    "ablation": (latent_svd_edits.run_ablation, 16),
    "edits": (latent_svd_edits.run_edits, 48),
    "alignment": (latent_svd_alignment.run, 24),
}


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, (run, count) in COMMANDS.items():
        command = commands.add_parser(name)
        command.add_argument("--count", type=int, default=count, help="held-out faces an attribute")
        command.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first face")
        command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
        command.add_argument("--output", type=Path, default=Path("output"), help="folder for the plots")
        if name != "properties":
            command.add_argument("--model", choices=ARCHITECTURES, default=UNET.name)
        if name == "ablation":
            command.add_argument("--variants", nargs="+", default=[""], help="only rows that begin so")
        command.set_defaults(run=run)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    drawn = faces.sample(range(args.first, args.first + args.count))
    args.run(loader.load(name=getattr(args, "model", UNET.name)), drawn, args)


if __name__ == "__main__":
    main()
