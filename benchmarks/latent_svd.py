"""Latent SVD measured on the embedded model:

    python benchmarks/latent_svd.py properties    the paper's three properties as tables and plots
    python benchmarks/latent_svd.py ablation      loss terms, k, T_x, delta and predictors, one at a time
    python benchmarks/latent_svd.py edits         each attribute at the shipped default, beside its baselines

Plots go to output/. ``--count`` is the number of held-out pictures an attribute is measured on, ``--first`` the seed of the first: what is
reported is of 50000 and up, defaults are chosen on 60000 and up.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import latent_svd_edits
import latent_svd_properties
from singular_edit.demo import faces, loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run, count in (
        ("properties", latent_svd_properties.main, 16),
        ("ablation", latent_svd_edits.ablation, 16),
        ("edits", latent_svd_edits.shipped, 48),
    ):
        command = commands.add_parser(name)
        command.add_argument("--count", type=int, default=count)
        command.add_argument("--first", type=int, default=50_000)
        command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
        command.add_argument("--output", type=Path, default=Path("output"))
        if name == "ablation":
            command.add_argument("--variants", nargs="+", default=[""], help="only rows that begin so")
        command.set_defaults(run=run)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    args.faces = faces.sample(range(args.first, args.first + args.count))
    args.run(loader.load(), args)


if __name__ == "__main__":
    main()
