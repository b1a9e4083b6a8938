"""Measure how evenly a strength slides, on an embedded model or one that you bring.

    python benchmarks/slider.py [--model transformer]    progress, evenness and harm of readouts and own pairs
    python benchmarks/slider.py --fade                   the same of finished pictures that are mixed
    python benchmarks/slider.py --scale                  the same of the bare scale, as files without a response slide
    python benchmarks/slider.py --strip FOLDER           also writes a strip of pictures of each row

Eleven strengths, evenly from -1 to 2, for each picture from its trace. Printed are

    r          Pearson's correlation of strength and progress, mean over pictures and lowest. Progress is the share of
               the way from the unedited picture to the prompt swap's,
               <edited - unedited, swap - unedited> / |swap - unedited|^2
    deficit    how much shorter the direct way is than the way over a strength between,
               (d_ij + d_jk - d_ik) / (d_ij + d_jk), the largest over all i < j < k, mean over pictures; 0 is straight
    spread     standard deviation of the ten distances from one strength to the next, over their mean; mean over
               pictures
    0          the largest difference of a picture at strength 0 from the stock sampler's

and in the rows below, at each strength: mean progress, the share of pictures in which the judge sees the attribute, the
share of other attributes that it sees unchanged, and PSNR to the nearest true edited picture. Where the last two fall,
harm begins.

Distances are root mean squares over pixels. Readouts are those that ship with the model; where none ship they are
learned at the shipped settings. One that carries no response slides to the shipped scale.
``--first`` is the seed of the first face: what is reported is of 50000 and up, defaults are chosen on 60000 and up. The
recorded output is in benchmarks/results/slider.txt.
"""

from __future__ import annotations

import argparse
from itertools import combinations, pairwise
from pathlib import Path

import torch
from singular_edit.core import HDirection, load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.recipes.slide import Slide
from singular_edit.core.response import Response
from singular_edit.demo.architectures import UNET
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import EvaluatedModel, open_model
from singular_edit.demo.evaluation.score import others, psnr
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

STRENGTHS = torch.linspace(-1, 2, 11)
STRIP_FACES = 4


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


def readout_of(model: EvaluatedModel, name: str, args: argparse.Namespace) -> HDirection:
    """Return the readout that ships, or one that is learned or was learned before in --directions."""
    kept = Path(args.directions) / f"{args.model}_{name}.safetensors" if args.directions else None
    for path in (kept, readout_path(name) if args.model == UNET.name else None):
        if path is not None and path.exists():
            shipped = load_hdirection(path)
            response = shipped.response or Response((EditSettings().strength,), (1.0,))
            return shipped.with_response(response)
    learned = edits.readout(model, name)
    if kept is not None:
        learned.save(kept)
    return learned


def bare(slide: Slide) -> Slide:
    """Return a slide whose strengths are scales."""
    return Slide(slide.sample, None)


def print_row(
    s: Session, label: str, slide: Slide, ends: tuple[Tensor, Tensor], truth: Tensor, *, fade: bool = False
) -> Tensor:
    """Print how evenly and how far strengths slide.

    Args:
        s: The pictures.
        label: What is printed before the numbers.
        slide: What gives pictures.
        ends: Unedited pictures and those of the prompt swap, [B, 3, side, side] each.
        truth: True edited pictures, [K, B, 3, side, side].
        fade: Whether finished pictures are mixed.

    Returns:
        The pictures, [strengths, B, 3, side, side].
    """
    unedited, swap = ends
    pictures = torch.stack([slide.at(strength, fade=fade).clamp(0, 1) for strength in STRENGTHS.tolist()])
    made = progress(pictures, unedited, swap)
    r = correlation(made)
    d = distances(pictures)
    off = float((slide.at(0.0) - unedited).abs().max())
    row = f"{r.mean():8.3f} {r.min():7.3f} {deficit(d).mean():8.3f} {spread(d).mean():7.3f} {off:8g}"
    print(f"{label:<30s} {row}", flush=True)
    seen = torch.stack([s.model.judged(edited).cpu() for edited in pictures])
    kept = (seen == s.faces.attributes)[..., others(s)]
    closest = torch.stack([psnr(truth, edited.cpu()).amax(0) for edited in pictures])
    for name, values in (
        ("progress", made.mean(1).tolist()),
        ("success", seen[..., s.model.attributes.index(s.attribute)].float().mean(1).tolist()),
        ("others", kept.float().mean((1, 2)).tolist()),
        ("PSNR", closest.mean(1).tolist()),
    ):
        print(f"    {name:<26s} " + " ".join(f"{value:5.2f}" for value in values), flush=True)
    return pictures


def write_strip(path: Path, pictures: Tensor) -> None:
    """Write pictures, one row a face and one column a strength."""
    from PIL import Image

    shown = pictures[:, :STRIP_FACES].permute(1, 3, 0, 4, 2).clamp(0, 1)
    rows = (shown.flatten(0, 1).flatten(1, 2) * 255).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rows.cpu().numpy()).save(path)


def main() -> None:
    """Print the rows of each attribute and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=UNET.name, help="an embedded model, or a folder as evaluate takes it")
    parser.add_argument("--attributes", nargs="+", help="all, if left out")
    parser.add_argument("--count", type=int, default=32, help="faces")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first face")
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    parser.add_argument("--directions", help="folder where learned readouts are kept")
    parser.add_argument("--fade", action="store_true", help="mix finished pictures")
    parser.add_argument("--scale", action="store_true", help="slide the bare scale")
    parser.add_argument("--strip", type=Path, help="folder for strips of pictures")
    args = parser.parse_args()
    model = open_model(args.model)
    print(f"{args.model}, {args.count} faces from seed {args.first}, guidance {args.guidance:g}; strengths -1 to 2")
    print("    " + " " * 27 + " ".join(f"{strength:5.1f}" for strength in STRENGTHS.tolist()) + "\n")
    print(f"{'':<30s} {'r, mean':>8s} {'lowest':>7s} {'deficit':>8s} {'spread':>7s} {'0':>8s}")
    for name in args.attributes or model.attributes:
        faces = model.sample(range(args.first, args.first + args.count))
        s = Session(model, faces, name, cfg=args.guidance, traced=True)
        slides = {
            "readout": edits.asyrp_slide(s, readout_of(model, name, args)),
            "Latent SVD, own pair": edits.svd_own_pair_slide(s),
        }
        ends = (edits.unedited(s), edits.prompt_swap(s))
        truth = model.counterfactuals(s.faces, name)
        for label, slide in slides.items():
            slide = bare(slide) if args.scale else slide
            pictures = print_row(s, f"{name}, {label}", slide, ends, truth, fade=args.fade)
            if args.strip:
                write_strip(args.strip / f"{args.model}_{name}_{label.split(',')[0]}.png", pictures)


if __name__ == "__main__":
    main()
