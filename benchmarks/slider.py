"""Measure how evenly a strength slides, on the embedded model.

    python benchmarks/slider.py    progress, evenness and harm of readouts and of each picture's own Latent SVD pair

Eleven strengths, evenly from -1 to 2, for each picture from its trace. Printed are

    r          Pearson's correlation of strength and progress, mean over pictures and lowest. Progress is the share of
               the way from the unedited picture to the prompt swap's,
               <edited - unedited, swap - unedited> / |swap - unedited|^2
    deficit    how much shorter the direct way is than the way over a strength between,
               (d_ij + d_jk - d_ik) / (d_ij + d_jk), the largest over all i < j < k, mean over pictures; 0 is straight
    spread     standard deviation of the ten distances from one strength to the next, over their mean; mean over
               pictures

Distances are root mean squares over pixels. Readouts are those that ship with the embedded model. ``--first`` is the
seed of the first face: what is reported is of 50000 and up, defaults are chosen on 60000 and up. The recorded output
is in benchmarks/results/slider.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations, pairwise

import torch
from singular_edit.core import load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

STRENGTHS = torch.linspace(-1, 2, 11)


def progress(pictures: Tensor, unedited: Tensor, swap: Tensor) -> Tensor:
    """Return each picture's share of the way to the prompt swap, [strengths, B]."""
    way = (swap - unedited).flatten(1)
    return ((pictures - unedited).flatten(2) * way).sum(2) / way.square().sum(1)


def correlation(values: Tensor) -> Tensor:
    """Return Pearson's correlation of the strengths and values [strengths, B], [B]."""
    x = STRENGTHS - STRENGTHS.mean()
    y = values - values.mean(0)
    return (x[:, None] * y).sum(0) / (x.norm() * y.norm(dim=0)).clamp(min=1e-12)


def distances(pictures: Tensor) -> Tensor:
    """Return the distance of every two strengths, [strengths, strengths, B]."""
    return (pictures[:, None] - pictures[None]).square().mean((-3, -2, -1)).sqrt()


def deficit(d: Tensor) -> Tensor:
    """Return the largest triangle deficit of distances [strengths, strengths, B], [B]."""
    ways = [(d[i, j] + d[j, k], d[i, k]) for i, j, k in combinations(range(len(d)), 3)]
    return torch.stack([(around - direct) / around.clamp(min=1e-9) for around, direct in ways]).amax(0)


def spread(d: Tensor) -> Tensor:
    """Return the coefficient of variation of the distances between neighbours, [B]."""
    steps = torch.stack([d[i, j] for i, j in pairwise(range(len(d)))])
    return steps.std(0) / steps.mean(0).clamp(min=1e-9)


def main() -> None:
    """Print one row an attribute and method, and the mean progress at each strength."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    parser.add_argument("--count", type=int, default=32, help="faces")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first face")
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    args = parser.parse_args()
    model = loader.load()
    print(f"{args.count} faces from seed {args.first}, guidance {args.guidance:g}; eleven strengths from -1 to 2\n")
    print(f"{'':<30s} {'r, mean':>8s} {'lowest':>7s} {'deficit':>8s} {'spread':>7s}  mean progress at each strength")
    for name in args.attributes:
        s = Session(
            model, faces.sample(range(args.first, args.first + args.count)), name, cfg=args.guidance, traced=True
        )
        readout = load_hdirection(readout_path(name))
        ways: dict[str, Callable[[float], Tensor]] = {
            "readout": lambda strength, s=s, d=readout: edits.asyrp(s, d, EditSettings(strength)),
            "Latent SVD, own pair": lambda strength, s=s: edits.svd_own_pair(s, strength),
        }
        unedited, swap = edits.unedited(s), edits.prompt_swap(s)
        for label, edit in ways.items():
            pictures = torch.stack([edit(strength) for strength in STRENGTHS.tolist()])
            made = progress(pictures, unedited, swap)
            r = correlation(made)
            d = distances(pictures)
            row = f"{r.mean():8.3f} {r.min():7.3f} {deficit(d).mean():8.3f} {spread(d).mean():7.3f}"
            print(f"{f'{name}, {label}':<30s} {row}  " + " ".join(f"{v:.2f}" for v in made.mean(1)), flush=True)


if __name__ == "__main__":
    main()
