"""``singular-edit demo``: the pack's main job in about a minute.

Two pictures are inverted, one attribute is learned, all four are slid by both methods, and a contact sheet is left to
look at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from ..core import HDirection, SVDAttribute, load_hdirection
from ..core.recipes import defaults
from ..core.recipes.attributes import advised_strength, with_info
from ..core.recipes.inversion import INVERSION_METHODS
from ..core.recipes.learning_cost import LearningCost
from ..core.recipes.settings import READOUT, EditSettings, LearnSettings, PairSettings
from ..core.recipes.verdict import verdict_of
from ..core.samplers import Run
from .attributes import readout_path, svd_path
from .evaluation import edits, learning
from .evaluation.attribute_info import info_of
from .evaluation.contact_sheet import SheetRows, contact_sheet
from .evaluation.score import HEADER, round_trip, score
from .evaluation.session import Session
from .faces import ATTRIBUTES, sample
from .loader import DemoModel, load

LIVE = "glasses"  # learned while one watches; the others come from files
SEEDS = (50_015, 50_021)  # held-out faces whose hair is dark enough for a beard to show
PAIR_BATCH = 12  # noises that pairs are drawn from at once; a pair that does not show the attribute is refused


@dataclass(frozen=True)
class Effort:
    """How much the live attribute is learned from: less than the shipped settings, for a minute is short.

    Attributes:
        pairs: Pairs of codes that Latent SVD learns from.
        branch_steps: The steps where their prompts may branch.
        samples: Noises that the readout learns from.
        training_steps: Its training steps, at most.
    """

    pairs: int = 6
    branch_steps: tuple[int, ...] = (6, 10)
    samples: int = 128
    training_steps: int = 600


EFFORT = Effort()


def run(output: Path) -> None:
    """Run the demo.

    Args:
        output: The folder for the contact sheet, the table and the learned files.
    """
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    model, effort = load(), EFFORT
    readout_settings = _readout_settings(effort)
    total = (
        len(INVERSION_METHODS)
        + effort.pairs
        + _readout_cost(model, readout_settings).ticks
        + 2 * len(ATTRIBUTES) * len(defaults.SHEET_STRENGTHS)
    )
    with tqdm(total=total, unit="step", smoothing=0.05) as bar:
        lines = _round_trips(model, bar)
        attribute, readout = _learn(model, effort, readout_settings, bar)
        for one, kind in ((attribute, "svd"), (readout, "readout")):
            with_info(one, info_of(one, LIVE, model)).save(output / f"{LIVE}.{kind}.safetensors")
        rows, table = _slide(model, {LIVE: (attribute, readout)}, bar)
    contact_sheet(rows, defaults.SHEET_STRENGTHS, output / "contact_sheet.png")
    lines += ["", *table]
    (output / "table.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(
        f"\nDone in {time.perf_counter() - began:.0f} s. Look at {output / 'contact_sheet.png'}; "
        f"{LIVE} was learned just now and lies beside it as two files.\n"
        "Next: load a file from workflows/ in ComfyUI, or measure everything with: singular-edit evaluate"
    )


def _round_trips(model: DemoModel, bar: tqdm) -> list[str]:
    """Invert the faces by every method, and say how well each comes back."""
    s = Session(model, sample(SEEDS), LIVE)
    bar.set_description("invert")
    lines = [f"{len(SEEDS)} held-out faces, inverted and rebuilt by {s.steps} euler steps at guidance {s.cfg:g}:"]
    for name in INVERSION_METHODS:
        decibels, calls = round_trip(name, s.denoiser(), s.latents, s.sigmas)
        lines.append(f"  {name:<12s}{decibels:6.1f} dB   {calls:.2f} model calls a step")
        bar.update()
    return lines


def _readout_settings(effort: Effort) -> LearnSettings:
    shipped = LearnSettings.for_method(READOUT)
    training = replace(shipped.training, steps=effort.training_steps)
    return replace(shipped, samples=effort.samples, training=training)


def _readout_cost(model: DemoModel, settings: LearnSettings) -> LearningCost:
    return learning.learning_plan(model, LIVE, settings).cost


def _learn(model: DemoModel, effort: Effort, settings: LearnSettings, bar: tqdm) -> tuple[SVDAttribute, HDirection]:
    """Learn the live attribute by both methods."""
    bar.set_description(f"learn {LIVE}: Latent SVD")
    pair = PairSettings(branch_steps=effort.branch_steps, count=effort.pairs)
    attribute = learning.svd_attribute(model, LIVE, seed=0, pair=pair, batch=PAIR_BATCH)
    bar.update(effort.pairs)
    bar.set_description(f"learn {LIVE}: readout")
    cost = _readout_cost(model, settings)
    tqdm.write(f"{LIVE}: {cost.text()}")
    expected = bar.n + cost.ticks
    learned = learning.learned_readout(model, LIVE, settings, run=Run(learning.BATCH, model.device, bar.update))
    bar.update(expected - bar.n)  # training and measuring may end before what was counted
    return attribute, with_info(learned.direction, {"verdict": verdict_of(learned.progress)})


def _slide(
    model: DemoModel, learned: dict[str, tuple[SVDAttribute, HDirection]], bar: tqdm
) -> tuple[list[SheetRows], list[str]]:
    """Slide every attribute by both methods; the rows of the contact sheet and the lines of the table."""
    rows = []
    table = [f"edited at the shipped strength ({len(SEEDS)} faces)".ljust(34) + HEADER[34:]]
    for name in ATTRIBUTES:
        bar.set_description(f"slide {name}")
        attribute, readout = learned.get(name) or (
            SVDAttribute.load(svd_path(name)),
            load_hdirection(readout_path(name)),
        )
        s = Session(model, sample(SEEDS), name, traced=True)

        by_svd, by_readout = [], []
        for strength in defaults.SHEET_STRENGTHS:
            by_svd.append(edits.svd_apply(s, attribute, strength))
            bar.update()
            # At strength 0 both give the picture back.
            by_readout.append(edits.asyrp(s, readout, EditSettings(strength)) if strength else by_svd[-1])
            bar.update()
        rows += [SheetRows(f"{name}\nLatent SVD", s, by_svd), SheetRows(f"{name}\nreadout", s, by_readout)]
        svd_shown = by_svd[defaults.SHEET_STRENGTHS.index(defaults.THERE)]
        readout_shown = by_readout[defaults.SHEET_STRENGTHS.index(advised_strength(readout))]
        table.append(score(s, svd_shown).row(f"{name}, Latent SVD"))
        table.append(score(s, readout_shown).row(f"{name}, readout"))
    return rows, table
