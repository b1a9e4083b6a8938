"""``singular-edit evaluate``: every edit and its baselines on held-out faces, an attribute at a time, resumable.

What is learned and every finished row is written at once, so that a run which was stopped goes on where it stood.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ...core import EditError, RandomDirection
from ...core.recipes import defaults
from ...core.recipes.inversion import INVERSION_METHODS
from ...core.recipes.settings import EditSettings
from ..architectures import UNET
from . import edits
from .contact_sheet import SheetRows, contact_sheet
from .evaluated import EvaluatedModel, open_model
from .learned_files import LearnedFiles
from .score import HEADER, Score, round_trip, score
from .session import HELD_OUT, Session

ROUND_TRIP_FACES = 16
SHOWN = 2  # faces an attribute on the contact sheet
ROWS = 13


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured.

    Attributes:
        count: Held-out faces an attribute.
        share: Share of the shipped noises, training steps and pairs that is learned from; below 1 for a quick look.
        seed: Seed of everything that is drawn.
        model: Which model: the name of an embedded one, or a folder; see open_model.
    """

    count: int = 48
    share: float = 1.0
    seed: int = 0
    model: str = UNET.name

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.share <= 1:
            raise EditError(
                f"count is {self.count} and share is {self.share:g}; 1 or more and a number above 0, "
                "at most 1, are accepted."
            )


def run(
    output: Path,
    attributes: list[str] | None = None,
    settings: EvaluationSettings = EvaluationSettings(),
) -> None:
    """Measure edits of these attributes and leave a table, a contact sheet and the attribute files.

    Args:
        output: The folder for everything; what it holds of an earlier run with the same settings is not made again.
        attributes: Names of the model's attributes; all of them if None.
        settings: What is measured.

    Raises:
        EditError: The folder holds an evaluation with other settings, there is no such model, or it does not know an
            attribute.
    """
    began = time.perf_counter()
    model = open_model(settings.model)
    attributes = list(model.attributes) if attributes is None else attributes
    for name in attributes:
        if name not in model.attributes:
            raise EditError(f"attributes has '{name}'; this model knows {', '.join(model.attributes)}.")
    results = Results(output / "evaluation.json", settings)
    lines = [_setting(settings), *_round_trips(results, model), ""]
    print("\n".join(lines))
    rows: list[SheetRows] = []
    learned = LearnedFiles(model, output, settings.share, settings.seed)
    with tqdm(total=len(attributes) * (ROWS + 2), unit="row") as bar:
        for name in attributes:
            bar.set_description(name)
            table, shown = _attribute(results, learned, name, bar)
            lines += [*table, ""]
            rows += shown
            tqdm.write("\n".join([*table, ""]))
    contact_sheet(rows, defaults.SHEET_STRENGTHS, output / "contact_sheet.png")
    (output / "table.txt").write_text("\n".join(lines))
    print(
        f"{output / 'contact_sheet.png'} and {output / 'table.txt'} written after {time.perf_counter() - began:.0f} s"
    )


class Results:
    """Finished rows by attribute and label, kept in a file.

    Args:
        path: The JSON file.
        settings: What is measured; part of the file.

    Raises:
        EditError: The file is of other settings, or is not one of ours.
    """

    def __init__(self, path: Path, settings: EvaluationSettings) -> None:
        self.path = path
        self.settings = settings
        self.rows: dict[str, list[float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            return
        try:
            stored = json.loads(path.read_text())
            found = EvaluationSettings(**stored["settings"])
            self.rows = stored["rows"]
        except (ValueError, KeyError, TypeError):
            raise EditError(f"'{path}' is not an evaluation; delete it, or choose another --output.") from None
        if found != settings:
            raise EditError(
                f"'{path}' holds an evaluation of model {found.model} with count {found.count}, "
                f"share {found.share:g} and seed {found.seed}; give the same ones, delete it, or choose another "
                "--output."
            )

    def get(self, key: str, make: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
        """Return the numbers under a key, made and written where they are not there yet."""
        if key not in self.rows:
            self.rows[key] = list(make())
            whole = self.path.with_suffix(".tmp")
            whole.write_text(json.dumps({"settings": asdict(self.settings), "rows": self.rows}, indent=1))
            whole.replace(self.path)
        return tuple(self.rows[key])


def _setting(settings: EvaluationSettings) -> str:
    return (
        f"model {settings.model}, {settings.count} held-out pictures an attribute, drawn without it, inverted and "
        f"edited: euler, {defaults.STEPS} steps, guidance {defaults.EDIT_GUIDANCE:g}.\n"
        "success: the judge sees the attribute; others: share of the other attributes kept; PSNR: to the picture's own "
        "counterfactual.\n"
    )


def _round_trips(results: Results, model: EvaluatedModel) -> list[str]:
    """Return a line an inversion and guidance: how well held-out renders come back under their own captions."""
    count = min(ROUND_TRIP_FACES, results.settings.count)
    drawn = model.sample(range(HELD_OUT, HELD_OUT + count))
    latents = model.encode(model.render(drawn))
    sigmas = model.sigmas(defaults.STEPS)
    lines = []
    for cfg in (1.0, 5.0):
        denoise = model.captioned(drawn, cfg)
        for name in INVERSION_METHODS:
            measure = partial(round_trip, name, denoise, latents, sigmas)
            decibels, calls = results.get(f"round trip, {name}, {cfg:g}", measure)
            lines.append(
                f"round trip, guidance {cfg:g}, {name:<12s} {decibels:5.1f} dB latent PSNR at "
                f"{calls:.2f} model calls a step"
            )
    return lines


def _attribute(results: Results, learned: LearnedFiles, name: str, bar: tqdm) -> tuple[list[str], list[SheetRows]]:
    """Measure one attribute: the lines of its table, and its rows of the contact sheet."""
    model, settings = learned.model, results.settings
    s = Session(model, model.sample(range(HELD_OUT, HELD_OUT + settings.count)), name)
    on_trace = replace(s, traced=True, cache={})
    svd, singles, readout = learned.svd(name), learned.singles(name), learned.readout(name)
    direction, difference = learned.directions(name)
    bar.update()
    symmetric = replace(edits.there(direction), symmetric=True)
    random = RandomDirection.like(direction, settings.seed)
    ways: dict[str, Callable[[], Tensor]] = {
        "unedited": lambda: edits.unedited(s),
        "prompt swap from T": lambda: edits.prompt_swap(s),
        f"prompt swap from step {defaults.SWAP_STEP}": lambda: edits.prompt_swap(s, defaults.SWAP_STEP),
        "Latent SVD, own pair": lambda: edits.svd_own_pair(s),
        "Latent SVD, own pair, traced": lambda: edits.svd_own_pair(on_trace),
        "Latent SVD, one foreign pair": lambda: edits.svd_one_foreign_pair(s, singles),
        f"Latent SVD, mean of {learned.pairs} pairs": lambda: edits.svd_apply(s, svd),
        "Asyrp, readout": lambda: edits.asyrp(s, readout),
        "Asyrp, readout, traced": lambda: edits.asyrp(on_trace, readout),
        "Asyrp, learned dh": lambda: edits.asyrp(s, direction),
        "Asyrp, difference dh": lambda: edits.asyrp(s, difference),
        "Asyrp, learned dh, symmetric": lambda: edits.asyrp(s, direction, symmetric),
        "Asyrp, random dh": lambda: edits.asyrp(s, random),
    }
    table = [f"{name:<34s}" + HEADER[34:]]
    for label, edit in ways.items():

        def measure(edit: Callable[[], Tensor] = edit) -> tuple[float, ...]:
            return astuple(score(s, edit()))

        table.append(Score(*results.get(f"{name}, {label}", measure)).row(label))
        bar.update()
    few = Session(model, s.faces[:SHOWN], name, traced=True)
    by_svd = [edits.svd_apply(few, svd, strength) for strength in defaults.SHEET_STRENGTHS]
    by_readout = [edits.asyrp(few, readout, EditSettings(strength)) for strength in defaults.SHEET_STRENGTHS]
    bar.update()
    return table, [SheetRows(f"{name}\nLatent SVD", few, by_svd), SheetRows(f"{name}\nreadout", few, by_readout)]
