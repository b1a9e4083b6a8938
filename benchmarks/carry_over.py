"""Measure the shipped defaults on an embedded model or on yours.

    python benchmarks/carry_over.py [--model transformer] [--steps 10 25 50] [--guidance 1.5 5] [--count 200]
    python benchmarks/carry_over.py --on-original    the change of each edit added to the picture itself

Every edit starts from the picture's trace. Printed are success / others / PSNR in dB for each way of editing, number of
steps and guidance, as docs/results.md defines them. What is learned is learned by the shipped settings and kept in
``--learned``, so that the next run finds it there; readouts of the embedded U-Net are those that ship. Directions that
move h, which take long to learn, and means of pictures in place of noise are measured where ``--ways`` names them.

``--first`` is the seed of the first picture: what is reported is of 50000 and up, defaults are chosen on 60000 and up.
The recorded output is in benchmarks/results/carry_over.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import astuple, replace
from operator import mul
from pathlib import Path

from singular_edit.core.latent_svd.pair_notes import notes
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import READOUT
from singular_edit.demo.architectures import UNET
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.evaluated import open_model
from singular_edit.demo.evaluation.learned_files import LEARNED_FROM, LearnedFiles
from singular_edit.demo.evaluation.score import HEADER, Score, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session

PICTURES_AT_ONCE = 40  # a batch of a session

DIRECTION = "direction that moves h"
OWN_PAIR = "Latent SVD, own pair"
MEAN_PAIR = f"Latent SVD, mean of {defaults.PAIRS} pairs"
MEAN_OF_PICTURES = f"Latent SVD, mean of {len(LEARNED_FROM)} pictures"
ONE_PAIR = "Latent SVD, one foreign pair"
SHIPPED = ("unedited", "prompt swap from T", "prompt swap later", READOUT, OWN_PAIR, MEAN_PAIR, ONE_PAIR)
WAYS = (*SHIPPED, MEAN_OF_PICTURES, DIRECTION)


def edit_of(way: str, learned: LearnedFiles, name: str, end: float) -> edits.Edit:
    """Return a way of editing by its label; in h-space it edits until the progress ``end``."""
    if way in (READOUT, DIRECTION):
        direction = learned.readout(name) if way == READOUT else learned.directions(name)[0]
        settings = replace(edits.there(direction), edit_percent=end)
        return lambda s: edits.asyrp(s, direction, settings)
    if way in (MEAN_PAIR, MEAN_OF_PICTURES):
        mean = learned.svd(name) if way == MEAN_PAIR else learned.svd_of_pictures(name)
        print(f"{name}: {'; '.join(notes(mean.info))}", flush=True)
        return lambda s: edits.svd_apply(s, mean)
    if way == ONE_PAIR:
        singles = learned.singles(name)
        return lambda s: edits.svd_one_foreign_pair(s, singles)
    return {
        "unedited": edits.unedited,
        "prompt swap from T": edits.prompt_swap,
        "prompt swap later": lambda s: edits.prompt_swap(
            s, learning.schedule(s.model, s.steps).step_at(defaults.SWAP_PERCENT)
        ),
        OWN_PAIR: edits.svd_own_pair,
    }[way]


def mean_score(scores: list[tuple[Score, int]]) -> Score:
    """Return the score of several batches of pictures together; with each comes how many pictures it is of."""
    counts = [pictures for _, pictures in scores]
    columns = zip(*(astuple(one) for one, _ in scores), strict=True)
    return Score(*(sum(map(mul, column, counts)) / sum(counts) for column in columns))


def measure(ways: dict[str, edits.Edit], seeds: range, make_session: Callable[[range], Session]) -> dict[str, Score]:
    """Score every way on the same pictures, a batch of them at a time."""
    scores: dict[str, list[tuple[Score, int]]] = {way: [] for way in ways}
    for i in range(0, len(seeds), PICTURES_AT_ONCE):
        batch = seeds[i : i + PICTURES_AT_ONCE]
        s = make_session(batch)
        for way, edit in ways.items():
            scores[way].append((score(s, edit(s)), len(batch)))
    return {way: mean_score(of_way) for way, of_way in scores.items()}


def main() -> None:
    """Print the scores of each attribute as they come, and a compact table of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=UNET.name, help="an embedded model, or a folder as evaluate takes it")
    parser.add_argument("--attributes", nargs="+", help="all, if left out")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=SHIPPED)
    parser.add_argument("--steps", type=int, nargs="+", default=[defaults.STEPS])
    parser.add_argument("--guidance", type=float, nargs="+", default=[defaults.EDIT_GUIDANCE])
    parser.add_argument("--count", type=int, default=48, help="pictures an attribute")
    parser.add_argument(
        "--end", type=float, default=defaults.END_PERCENT, help="progress at which edits in h-space end"
    )
    parser.add_argument("--on-original", action="store_true", help="score the picture with the edit's change on it")
    parser.add_argument("--first", type=int, default=HELD_OUT, help="seed of the first picture")
    parser.add_argument("--learned", type=Path, help="folder for what is learned; output/learned/MODEL, if left out")
    args = parser.parse_args()
    model = open_model(args.model)
    names = args.attributes or list(model.attributes)
    folder = args.learned or Path("output", "learned", Path(args.model).name)
    learned = LearnedFiles(model, folder, ships=args.model == UNET.name)
    print(f"{args.model}, {args.count} pictures from seed {args.first}, from traces, euler\n")
    rows: dict[tuple[int, float], dict[str, dict[str, Score]]] = {}
    for name in names:
        ways = {way: edit_of(way, learned, name, args.end) for way in args.ways}
        if args.on_original:
            ways = {way: edits.with_change_on_original(edit) for way, edit in ways.items()}
        for steps in args.steps:
            for cfg in args.guidance:

                def session(seeds: range, name: str = name, cfg: float = cfg, steps: int = steps) -> Session:
                    return Session(model, model.sample(seeds), name, cfg=cfg, steps=steps, traced=True)

                found = measure(ways, range(args.first, args.first + args.count), session)
                rows.setdefault((steps, cfg), {})[name] = found
                print(f"{f'{name}, {steps} steps, guidance {cfg:g}':<34s}{HEADER[34:]}")
                print("\n".join(one.row(way) for way, one in found.items()) + "\n", flush=True)
    for (steps, cfg), table in rows.items():
        print(f"{f'{steps} steps, guidance {cfg:g}':<34s}" + "".join(f"{name:>17s}" for name in table))
        for way in args.ways:
            cells = [f"{one[way].success:.2f}/{one[way].kept:.2f}/{one[way].psnr:.1f}" for one in table.values()]
            print(f"{way:<34s}" + "".join(f"{cell:>17s}" for cell in cells))
        print()


if __name__ == "__main__":
    main()
