"""Measure how evenly a strength slides, on an embedded model or one that you bring.

    python benchmarks/slider.py [--model transformer]    readouts and own pairs, as shipped
    python benchmarks/slider.py --ways shipped 0.9 1     several ways to slide, beside each other:

        shipped     each strength is sampled at its scale
        0.9         fade at this sampling progress: runs without the edit and with it at the full scale are mixed
                    there, and the model finishes the mixture; at 1 finished pictures are mixed
        scale       strengths are the bare scale, as of files without a response

    python benchmarks/slider.py --strip FOLDER           also writes the pictures of each row at SHOWN, a face a line
    python benchmarks/slider.py --shapes                 true pictures alone: what evenness says of shapes that change

Eleven strengths, evenly from -1 to 2, for each picture from its trace, and five from 0 to 1. Printed are

    r          Pearson's correlation of strength and progress, mean over pictures and lowest. Progress is the share of
               the way from the unedited picture to the prompt swap's,
               <edited - unedited, swap - unedited> / |swap - unedited|^2
    r, true    the same of the way to the true edited picture, the one nearest to the picture at strength 1
    deficit    how much shorter the direct way is than the way over a strength between,
               (d_ij + d_jk - d_ik) / (d_ij + d_jk), the largest over all i < j < k, mean over pictures; 0 is straight
    spread     standard deviation of the distances from one strength to the next, over their mean; mean over pictures
    0          the largest difference of a picture at strength 0 from the stock sampler's

Both r, deficit and spread once more of the five strengths from 0 to 1; and in the rows below, at each of the eleven:
mean progress, the share of pictures in which the judge sees the attribute, the share of other attributes that it sees
unchanged, and PSNR to the nearest true edited picture. Where the last two fall, harm begins.

Distances are root mean squares over pixels. Readouts are those that ship with the model; where none ship they are
learned at the shipped settings. One that carries no response slides to the shipped scale.
``--first`` is the seed of the first face: what is reported is of 50000 and up, defaults are chosen on 60000 and up. The
recorded output is in benchmarks/results/slider.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations, pairwise, product
from pathlib import Path

import torch
from singular_edit.core import HDirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.slide import Slide
from singular_edit.core.response import Response
from singular_edit.demo import faces
from singular_edit.demo.architectures import UNET
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import open_model
from singular_edit.demo.evaluation.learned_files import LearnedFiles
from singular_edit.demo.evaluation.score import nearest, others, psnr
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

STRENGTHS = torch.linspace(-1, 2, 11)
WITHIN = torch.linspace(0, 1, 5)
SHOWN = (-1.0, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0)
STRIP_FACES = 4
HEADER = "      r lowest r, true lowest deficit spread    0   0 to 1: r, r true, deficit, spread"
SHAPES = ("width", "height", "eye_size", "yaw")  # what of a face changes its shape

At = Callable[[float], Tensor]  # strength -> pictures, [B, 3, side, side]


def progress(pictures: Tensor, unedited: Tensor, end: Tensor) -> Tensor:
    """Return each picture's share of the way from the unedited one to another, [strengths, B]."""
    way = (end - unedited).flatten(1)
    return ((pictures - unedited).flatten(2) * way).sum(2) / way.square().sum(1)


def correlation(strengths: Tensor, values: Tensor) -> Tensor:
    """Return Pearson's correlation of strengths and values [strengths, B], [B]."""
    x = strengths - strengths.mean()
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


def evenness(strengths: Tensor, pictures: Tensor, unedited: Tensor, *ends: Tensor) -> list[Tensor]:
    """Return r of the way to each end, then deficit and spread, of pictures [strengths, B, 3, side, side]; [B] each."""
    d = distances(pictures)
    return [*(correlation(strengths, progress(pictures, unedited, end)) for end in ends), deficit(d), spread(d)]


def readout_of(learned: LearnedFiles, name: str) -> HDirection:
    """Return a readout; one without a response slides to the shipped scale."""
    readout = learned.readout(name)
    return readout.with_response(readout.response or Response((defaults.FULL_SCALE,), (1.0,)))


def way_of(name: str, slide: Slide) -> At:
    """Return what makes pictures by one of --ways, each once."""
    if name == "scale":
        return Slide(slide.sample, None).at
    return cache(partial(slide.at, fade=0.0 if name == "shipped" else float(name)))


def print_row(s: Session, label: str, at: At, ends: tuple[Tensor, Tensor], truth: Tensor) -> None:
    """Print how evenly and how far strengths slide.

    Args:
        s: The pictures.
        label: What is printed before the numbers.
        at: What gives pictures.
        ends: Unedited pictures and those of the prompt swap, [B, 3, side, side] each.
        truth: True edited pictures, [K, B, 3, side, side].
    """
    unedited, swap = ends
    pictures = torch.stack([at(strength).clamp(0, 1) for strength in STRENGTHS.tolist()])
    within = torch.stack([at(strength).clamp(0, 1) for strength in WITHIN.tolist()])
    true = nearest(truth, within[-1].cpu()).to(unedited)
    r, r_true, bends, steps = evenness(STRENGTHS, pictures, *ends, true)
    off = float((at(0.0) - unedited).abs().max())
    row = f"{r.mean():7.3f} {r.min():6.3f} {r_true.mean():7.3f} {r_true.min():6.3f}"
    row += f" {bends.mean():7.3f} {steps.mean():6.3f} {off:4g}"
    inside = " ".join(f"{value.mean():6.3f}" for value in evenness(WITHIN, within, *ends, true))
    print(f"{label:<38s} {row}   {inside}", flush=True)
    seen = torch.stack([s.model.judged(edited).cpu() for edited in pictures])
    kept = (seen == s.faces.attributes)[..., others(s)]
    closest = torch.stack([psnr(truth, edited.cpu()).amax(0) for edited in pictures])
    for name, values in (
        ("progress", progress(pictures, unedited, swap).mean(1).tolist()),
        ("success", seen[..., s.model.attributes.index(s.attribute)].float().mean(1).tolist()),
        ("others", kept.float().mean((1, 2)).tolist()),
        ("PSNR", closest.mean(1).tolist()),
    ):
        print(f"    {name:<26s} " + " ".join(f"{value:5.2f}" for value in values), flush=True)


def write_strip(path: Path, pictures: Tensor) -> None:
    """Write pictures, one row a face and one column a strength."""
    from PIL import Image

    shown = pictures[:, :STRIP_FACES].permute(1, 3, 0, 4, 2).clamp(0, 1)
    rows = (shown.flatten(0, 1).flatten(1, 2) * 255).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows.cpu().numpy()).save(path)


def print_shapes(count: int, first: int) -> None:
    """Print r, deficit and spread of true pictures in which one measure of the face grows evenly."""
    drawn = faces.sample(range(first, first + count))
    for name in SHAPES:
        pictures = torch.stack([faces.render(drawn.with_free(name, float(u))) for u in torch.linspace(0, 1, 11)])
        values = evenness(STRENGTHS, pictures, pictures[0], pictures[-1])  # r to the last of them
        print(f"{name:<38s} " + " ".join(f"{value.mean():7.3f}" for value in values))


def main() -> None:
    """Print the rows of each attribute and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=UNET.name, help="an embedded model, or a folder as evaluate takes it")
    parser.add_argument("--attributes", nargs="+", help="all, if left out")
    parser.add_argument("--count", type=int, default=32, help="faces")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first face")
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    parser.add_argument("--learned", type=Path, help="folder where this model's learned readouts are kept")
    parser.add_argument("--ways", nargs="+", default=["shipped"], help="shipped, scale, or where it fades")
    parser.add_argument("--strip", type=Path, help="folder for strips of pictures")
    parser.add_argument("--shapes", action="store_true", help="true pictures alone")
    args = parser.parse_args()
    if args.shapes:
        print_shapes(args.count, args.first)
        return
    model = open_model(args.model)
    learned = LearnedFiles(model, args.learned, ships=args.model == UNET.name)
    print(f"{args.model}, {args.count} faces from seed {args.first}, guidance {args.guidance:g}; strengths -1 to 2")
    print("    " + " " * 27 + " ".join(f"{strength:5.1f}" for strength in STRENGTHS.tolist()) + "\n")
    print(f"{'':<38s} {HEADER}")
    for name in args.attributes or model.attributes:
        drawn = model.sample(range(args.first, args.first + args.count))
        s = Session(model, drawn, name, cfg=args.guidance, traced=True)
        ends = (edits.unedited(s), edits.prompt_swap(s))
        truth = model.counterfactuals(s.faces, name)
        slides = {
            "readout": edits.asyrp_slide(s, readout_of(learned, name)),
            "Latent SVD, own pair": edits.svd_own_pair_slide(s),
        }
        for (label, slide), way in product(slides.items(), args.ways):
            at = way_of(way, slide)
            print_row(s, f"{name}, {label}, {way}", at, ends, truth)
            if args.strip:
                pictures = torch.stack([at(strength) for strength in SHOWN])
                write_strip(args.strip / f"{args.model}_{name}_{label.split(',')[0]}_{way}.png", pictures)


if __name__ == "__main__":
    main()
