"""What was learned of a model's attributes, in a folder: learned when it is first asked for, read from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ...core import HDirection, SVDAttribute, load_hdirection
from ...core.hspace.trajectories import Trajectories
from ...core.recipes import defaults
from ...core.recipes.settings import READOUT, LearnSettings, PairSettings
from ..attributes import readout_path
from . import learning
from .evaluated import EvaluatedModel

# Seeds of pictures that are learned from in place of noise; those that edits are tried on are others.
LEARNED_FROM = range(70_000, 70_008)
SINGLE_PAIRS = 8  # attributes of one foreign pair; each is tried on its share of the pictures

Learned = TypeVar("Learned", SVDAttribute, HDirection)


@dataclass(frozen=True)
class LearnedFiles:
    """Attributes of a model, learned by the shipped settings.

    A file is ATTRIBUTE.KIND.safetensors: svd (the mean of several pairs), pictures (likewise, of pairs of pictures),
    pair0 and on (one pair each), readout, h (a direction that moves h) and difference (likewise, of method difference).

    Attributes:
        model: The model.
        folder: Where files are kept; None keeps none, so that everything is learned whenever it is asked for.
        share: Share of the shipped noises, training steps and pairs that is learned from; below 1 for a quick look.
        seed: Seed of everything that is drawn.
        ships: Whether readouts are those that come with the model.
    """

    model: EvaluatedModel
    folder: Path | None
    share: float = 1.0
    seed: int = 0
    ships: bool = False

    def of(self, number: int) -> int:
        """Return this share of a shipped number, 1 at least."""
        return max(1, round(self.share * number))

    @property
    def pairs(self) -> int:
        """Pairs that an SVD attribute is learned from."""
        return self.of(defaults.PAIRS)

    def learning(self, method: str) -> LearnSettings:
        """Return the share of a method's shipped settings."""
        shipped = LearnSettings.for_method(method).for_bottleneck(self.model.bottleneck)
        return replace(
            shipped,
            samples=self.of(shipped.samples),
            training=replace(shipped.training, steps=self.of(shipped.training.steps)),
            calibration_noises=self.of(shipped.calibration_noises),
        )

    def path(self, name: str, kind: str) -> Path | None:
        """Return the file of an attribute."""
        return None if self.folder is None else self.folder / f"{name}.{kind}.safetensors"

    def svd(self, name: str) -> SVDAttribute:
        """Return the mean of several pairs."""
        settings = PairSettings(count=self.pairs)
        return kept(
            self.path(name, "svd"),
            SVDAttribute.load,
            lambda: learning.svd_attribute(self.model, name, self.seed, settings),
        )

    def svd_of_pictures(self, name: str) -> SVDAttribute:
        """Return the mean of several pairs that begin at pictures."""
        settings = PairSettings(count=self.pairs)
        return kept(
            self.path(name, "pictures"),
            SVDAttribute.load,
            lambda: learning.svd_attribute(self.model, name, self.seed, settings, pictures=LEARNED_FROM),
        )

    def singles(self, name: str) -> list[SVDAttribute]:
        """Return attributes of one pair each."""
        count = min(SINGLE_PAIRS, self.pairs)
        learned = cache(lambda: learning.single_pairs(self.model, name, count, self.seed + 1))
        return [kept(self.path(name, f"pair{i}"), SVDAttribute.load, lambda i=i: learned()[i]) for i in range(count)]

    def readout(self, name: str) -> HDirection:
        """Return the readout."""
        if self.ships:
            return load_hdirection(readout_path(name))

        def learn() -> HDirection:
            return learning.readout(self.model, name, self._plan(name, READOUT, "readout"), seed=self.seed)

        return kept(self.path(name, READOUT), load_hdirection, learn)

    def directions(self, name: str) -> tuple[HDirection, HDirection]:
        """Return the direction that moves h, and that of method difference; both are of the same trajectories."""

        @cache
        def recorded() -> tuple[LearnSettings, Trajectories]:
            settings = self._plan(name, "combined", "learned dh")
            return settings, learning.trajectories(self.model, name, settings, self.seed)

        def learn(method: str) -> HDirection:
            settings, trajectories = recorded()
            settings = replace(settings, method=method)
            return learning.h_direction(self.model, name, trajectories, settings, seed=self.seed)

        difference = kept(self.path(name, "difference"), load_hdirection, lambda: learn("difference"))
        return kept(self.path(name, "h"), load_hdirection, lambda: learn("combined")), difference

    def _plan(self, name: str, method: str, label: str) -> LearnSettings:
        """Return the settings of a method with nothing left to choose, and say what learning takes."""
        plan = learning.learning_plan(self.model, name, self.learning(method))
        tqdm.write(f"{name}, {label}: {plan.cost.text()}")
        return plan.settings


def kept(path: Path | None, load: Callable[[Path], Learned], learn: Callable[[], Learned]) -> Learned:
    """Return what a file holds, or learn it and leave it there.

    Args:
        path: The file, which need not be there yet; None learns and keeps nothing.
        load: Reads the file.
        learn: Makes what the file is to hold.
    """
    if path is not None and path.exists():
        return load(path)
    learned = learn()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        learned.save(path)
    return learned
