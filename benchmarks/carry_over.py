"""Measure the shipped defaults on an embedded model or on yours.

    python benchmarks/carry_over.py [--model transformer] [--steps 10 25 50] [--guidance 1.5 5] [--count 200]

Every edit starts from the picture's trace. Printed are success / others / PSNR in dB for each way of editing, number of
steps and guidance, as docs/results.md defines them. What is learned is learned by the shipped settings and kept in
``--learned``, so that the next run finds it there; readouts of the embedded U-Net are those that ship.

``--first`` is the seed of the first picture: what is reported is of 50000 and up, defaults are chosen on 60000 and up.
The recorded output is in benchmarks/results/carry_over.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import astuple
from operator import mul
from pathlib import Path

from singular_edit.core import HDirection, SVDAttribute, load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.demo.architectures import UNET
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.evaluated import EvaluatedModel, open_model
from singular_edit.demo.evaluation.score import HEADER, Score, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

SINGLE_PAIRS = 8
PICTURES_AT_ONCE = 40  # a batch of a session

READOUT = "readout"
OWN_PAIR = "Latent SVD, own pair"
MEAN_PAIR = f"Latent SVD, mean of {defaults.PAIRS} pairs"
ONE_PAIR = "Latent SVD, one foreign pair"
WAYS = ("unedited", "prompt swap from T", "prompt swap later", READOUT, OWN_PAIR, MEAN_PAIR, ONE_PAIR)

Edit = Callable[[Session], Tensor]


class LearnedFiles:
    """What was learned of a model's attributes, in a folder, and is learned when it is first asked for.

    Args:
        model: The model.
        folder: Where files are kept.
        ships: Whether readouts come with the model.
    """

    def __init__(self, model: EvaluatedModel, folder: Path, *, ships: bool) -> None:
        self._model = model
        self._folder = folder
        self._ships = ships
        folder.mkdir(parents=True, exist_ok=True)

    def readout(self, name: str) -> HDirection:
        """Return the readout of an attribute."""
        path = readout_path(name) if self._ships else self._folder / f"{name}.readout.safetensors"
        if not path.exists():
            edits.readout(self._model, name).save(path)
        return load_hdirection(path)

    def mean_pair(self, name: str) -> SVDAttribute:
        """Return the attribute of many pairs."""
        path = self._folder / f"{name}.pairs.safetensors"
        if not path.exists():
            edits.svd_attribute(self._model, name, 0, PairSettings(count=defaults.PAIRS)).save(path)
        return SVDAttribute.load(path)

    def single_pairs(self, name: str) -> list[SVDAttribute]:
        """Return attributes of one pair each."""
        paths = [self._folder / f"{name}.pair{i}.safetensors" for i in range(SINGLE_PAIRS)]
        if not all(path.exists() for path in paths):
            for path, attribute in zip(paths, edits.single_pairs(self._model, name, SINGLE_PAIRS, 1), strict=True):
                attribute.save(path)
        return [SVDAttribute.load(path) for path in paths]


def edit_of(way: str, learned: LearnedFiles, name: str) -> Edit:
    """Return a way of editing by its label."""
    if way == READOUT:
        readout = learned.readout(name)
        return lambda s: edits.asyrp(s, readout)
    if way == MEAN_PAIR:
        mean = learned.mean_pair(name)
        return lambda s: edits.svd_apply(s, mean)
    if way == ONE_PAIR:
        singles = learned.single_pairs(name)
        return lambda s: edits.svd_one_foreign_pair(s, singles)
    return {
        "unedited": edits.unedited,
        "prompt swap from T": edits.prompt_swap,
        "prompt swap later": lambda s: edits.prompt_swap(
            s, edits.schedule(s.model, s.steps).step_at(defaults.SWAP_PERCENT)
        ),
        OWN_PAIR: edits.svd_own_pair,
    }[way]


def mean_score(scores: list[tuple[Score, int]]) -> Score:
    """Return the score of several batches of pictures together; with each comes how many pictures it is of."""
    counts = [pictures for _, pictures in scores]
    columns = zip(*(astuple(one) for one, _ in scores), strict=True)
    return Score(*(sum(map(mul, column, counts)) / sum(counts) for column in columns))


def measure(ways: dict[str, Edit], seeds: range, make_session: Callable[[range], Session]) -> dict[str, Score]:
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
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, nargs="+", default=[defaults.STEPS])
    parser.add_argument("--guidance", type=float, nargs="+", default=[defaults.EDIT_GUIDANCE])
    parser.add_argument("--count", type=int, default=48, help="pictures an attribute")
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
        ways = {way: edit_of(way, learned, name) for way in args.ways}
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
