"""Measure how evenly a strength slides, on an embedded model or one that you bring.

    python benchmarks/slider.py [--model transformer]    readouts and own pairs, as shipped
    python benchmarks/slider.py --ways shipped fade 0.8  several ways to slide, beside each other:

        shipped     each strength is sampled at its scale
        fade        finished pictures are mixed
        scale       strengths are the bare scale, as of files without a response
        0.8         states are mixed at this sampling progress, x0 + s (x1 - x0) of the runs without the edit and with
                    it at the full scale, and the model finishes the mixture without the edit

    python benchmarks/slider.py --strip FOLDER           also writes the pictures of each row at SHOWN, a face a line
    python benchmarks/slider.py --shapes                 true pictures alone: what evenness says of shapes that change

Eleven strengths, evenly from -1 to 2, for each picture from its trace, and five from 0 to 1. Printed are

    r          Pearson's correlation of strength and progress, mean over pictures and lowest. Progress is the share of
               the way from the unedited picture to the prompt swap's,
               <edited - unedited, swap - unedited> / |swap - unedited|^2
    deficit    how much shorter the direct way is than the way over a strength between,
               (d_ij + d_jk - d_ik) / (d_ij + d_jk), the largest over all i < j < k, mean over pictures; 0 is straight
    spread     standard deviation of the distances from one strength to the next, over their mean; mean over pictures
    0          the largest difference of a picture at strength 0 from the stock sampler's

r, deficit and spread once more of the five strengths from 0 to 1; and in the rows below, at each of the eleven: mean
progress, the share of pictures in which the judge sees the attribute, the share of other attributes that it sees
unchanged, and PSNR to the nearest true edited picture. Where the last two fall, harm begins.

Distances are root mean squares over pixels. Readouts are those that ship with the model; where none ship they are
learned at the shipped settings. One that carries no response slides to the shipped scale.
``--first`` is the seed of the first face: what is reported is of 50000 and up, defaults are chosen on 60000 and up. The
recorded output is in benchmarks/results/slider.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from singular_edit.core import HDirection, load_hdirection, sample_euler
from singular_edit.core.recipes import defaults, hspace
from singular_edit.core.recipes.attributes import guidance_factor
from singular_edit.core.recipes.settings import EditSettings, PairSettings
from singular_edit.core.recipes.slide import Slide
from singular_edit.core.response import Response
from singular_edit.core.samplers import Schedule
from singular_edit.demo import faces
from singular_edit.demo.architectures import UNET
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import EvaluatedModel, open_model
from singular_edit.demo.evaluation.score import others, psnr
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

STRENGTHS = torch.linspace(-1, 2, 11)
WITHIN = torch.linspace(0, 1, 5)
SHOWN = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0)
STRIP_FACES = 4
SHAPES = ("width", "height", "eye_size", "yaw")  # what of a face changes its shape

At = Callable[[float], Tensor]  # strength -> pictures, [B, 3, side, side]


class Method(NamedTuple):
    """An edit whose strength slides.

    Attributes:
        slide: Pictures by strength, as shipped.
        state: (scale, step) -> the state there, [B, *latent_shape].
        full: The scale at which the attribute is there.
    """

    slide: Slide
    state: Callable[[float, int], Tensor]
    full: float


def progress(pictures: Tensor, unedited: Tensor, swap: Tensor) -> Tensor:
    """Return each picture's share of the way to the prompt swap, [strengths, B]."""
    way = (swap - unedited).flatten(1)
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


def evenness(strengths: Tensor, pictures: Tensor, unedited: Tensor, swap: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return r, deficit and spread of pictures [strengths, B, 3, side, side], [B] each."""
    d = distances(pictures)
    return correlation(strengths, progress(pictures, unedited, swap)), deficit(d), spread(d)


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


def readout_method(s: Session, readout: HDirection) -> Method:
    """Return the edit with a readout."""
    assert readout.response is not None
    plain, factor = readout.with_response(None), guidance_factor(readout, s.cfg)

    def state(scale: float, step: int) -> Tensor:
        so_far = Schedule(s.sigmas[: step + 1], s.model.percent_to_sigma)
        return hspace.edit(s.denoiser(), s.code, so_far, plain, EditSettings(factor * scale))

    return Method(edits.asyrp_slide(s, readout), state, readout.response.full)


def own_pair_method(s: Session) -> Method:
    """Return the edit with each picture's own pair of Latent SVD."""
    edited, response = edits.svd_own_pair_codes(s)
    first = PairSettings().step

    def state(scale: float, step: int) -> Tensor:
        if step < first:
            raise SystemExit(f"Latent SVD edits at step {first}; states are mixed there or later.")
        return sample_euler(s.denoiser(), edited(scale), s.sigmas[first : step + 1])

    assert response is not None
    return Method(edits.svd_own_pair_slide(s), state, response.full)


def way_of(name: str, method: Method, s: Session) -> At:
    """Return what makes pictures by one of --ways."""
    if name == "shipped":
        return method.slide.at
    if name == "fade":
        return lambda strength: method.slide.at(strength, fade=True)
    if name == "scale":
        return Slide(method.slide.sample, None).at
    step = edits.schedule(s.model, s.steps).step_at(float(name))
    plain, full = (method.state(scale, step) for scale in (0.0, method.full))

    def mixed(strength: float) -> Tensor:
        if strength in (0, 1):
            return method.slide.at(strength)
        return s.finish(plain + strength * (full - plain), step)

    return mixed


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
    r, bends, steps = evenness(STRENGTHS, pictures, *ends)
    off = float((at(0.0) - unedited).abs().max())
    row = f"{r.mean():8.3f} {r.min():7.3f} {bends.mean():8.3f} {steps.mean():7.3f} {off:8g}"
    inside = " ".join(f"{value.mean():7.3f}" for value in evenness(WITHIN, within, *ends))
    print(f"{label:<38s} {row} {inside}", flush=True)
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
        values = evenness(STRENGTHS, pictures, pictures[0], pictures[-1])
        print(f"{name:<38s} " + " ".join(f"{value.mean():7.3f}" for value in values))


def main() -> None:
    """Print the rows of each attribute and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=UNET.name, help="an embedded model, or a folder as evaluate takes it")
    parser.add_argument("--attributes", nargs="+", help="all, if left out")
    parser.add_argument("--count", type=int, default=32, help="faces")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first face")
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    parser.add_argument("--directions", help="folder where learned readouts are kept")
    parser.add_argument("--ways", nargs="+", default=["shipped"], help="shipped, fade, scale, or a sampling progress")
    parser.add_argument("--strip", type=Path, help="folder for strips of pictures")
    parser.add_argument("--shapes", action="store_true", help="true pictures alone")
    args = parser.parse_args()
    if args.shapes:
        print_shapes(args.count, args.first)
        return
    model = open_model(args.model)
    print(f"{args.model}, {args.count} faces from seed {args.first}, guidance {args.guidance:g}; strengths -1 to 2")
    print("    " + " " * 27 + " ".join(f"{strength:5.1f}" for strength in STRENGTHS.tolist()) + "\n")
    header = f"{'':<38s} {'r, mean':>8s} {'lowest':>7s} {'deficit':>8s} {'spread':>7s} {'0':>8s}"
    print(header + "   0 to 1:  r, deficit, spread")
    for name in args.attributes or model.attributes:
        drawn = model.sample(range(args.first, args.first + args.count))
        s = Session(model, drawn, name, cfg=args.guidance, traced=True)
        ends = (edits.unedited(s), edits.prompt_swap(s))
        truth = model.counterfactuals(s.faces, name)
        methods = {
            "readout": readout_method(s, readout_of(model, name, args)),
            "Latent SVD, own pair": own_pair_method(s),
        }
        for (label, method), way in ((item, way) for item in methods.items() for way in args.ways):
            at = way_of(way, method, s)
            print_row(s, f"{name}, {label}, {way}", at, ends, truth)
            if args.strip:
                pictures = torch.stack([at(strength) for strength in SHOWN])
                write_strip(args.strip / f"{args.model}_{name}_{label.split(',')[0]}_{way}.png", pictures)


if __name__ == "__main__":
    main()
