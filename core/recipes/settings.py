"""How the recipes learn and edit: settings with their shipped defaults.

Percents are sampling progress, as ControlNet's are: 0 before the first step, 1 after the last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..errors import EditError
from ..fitting import Training
from ..hspace.learn_direction import METHODS
from ..latent_svd.prompt_pairs import MIN_EVIDENCE_SHARE, pair_calls
from ..layers import AUTO
from ..samplers import Schedule
from . import defaults
from .picture_codes import code_batches
from .retries import retries_of
from .start import AUTOMATIC_START

READOUT = "readout"
CLIP = "clip"
AUTOMATIC = 0  # as a number of noises: as many as are needed
LEARN_METHODS = (READOUT, *METHODS, CLIP)
# What the number of noises, or of pairs, is multiplied by: less learns faster, more keeps stray changes out better.
EFFORTS = {"quick": 0.25, "good": 1.0, "best": 2.0}


@dataclass(frozen=True)
class LearnSettings:
    """How a direction or a readout is learned.

    Attributes:
        method: One of LEARN_METHODS.
        samples: Noises to learn from; AUTOMATIC, as shipped, chooses by the size of the bottleneck (for_bottleneck).
        training: Its steps are the most that are made: a readout's training ends early. Its batch is the pictures that
            a training step looks at.
        start_percent: Progress at which the two prompts branch and the edit begins; AUTOMATIC_START, as shipped,
            measures it (start.py).
        end_percent: Progress at which learning ends.
        cfg: Guidance while learning. 1 learns the prompts' plain difference, which guidance later strengthens as it
            does a prompt.
        calibration_noises: Noises that the unit of strength is measured on.
        effort: What an AUTOMATIC number of noises is multiplied by; see EFFORTS.
        layer: Where h is that is learned from, by its name in core.layers. AUTO, as shipped, is a U-Net's middle block
            and a transformer's block at defaults.BLOCK_DEPTH. It is bound where a denoiser is made.
    """

    method: str
    samples: int
    training: Training
    start_percent: float = AUTOMATIC_START
    end_percent: float = defaults.END_PERCENT
    cfg: float = 1.0
    calibration_noises: int = defaults.CALIBRATION_NOISES
    effort: float = 1.0
    layer: str = AUTO

    @classmethod
    def for_method(cls, method: str) -> LearnSettings:
        """Return the shipped settings of a method; change them with dataclasses.replace."""
        readout = method == READOUT
        return cls(
            method,
            samples=AUTOMATIC,
            training=Training(
                steps=defaults.TRAINING_STEPS,
                learning_rate=defaults.LEARNING_RATE,
                batch=defaults.READOUT_TRAINING_BATCH if readout else defaults.TRAINING_BATCH,
            ),
            calibration_noises=defaults.READOUT_CALIBRATION_NOISES if readout else defaults.CALIBRATION_NOISES,
        )

    def for_bottleneck(self, shape: tuple[int, ...]) -> LearnSettings:
        """Choose the number of noises where it is AUTOMATIC.

        Each place of the bottleneck teaches a readout, so that a larger one needs fewer noises. Other methods learn
        whole pictures and take as many of any size.

        Args:
            shape: Of one picture's bottleneck, (Ch, h, w); read for a readout only.

        Returns:
            Settings whose ``samples`` is 1 or more; these ones, where it is so already.
        """
        if self.samples != AUTOMATIC:
            return self
        samples = readout_samples(shape[-2] * shape[-1]) if self.method == READOUT else defaults.LEARN_SAMPLES
        return replace(self, samples=max(1, round(self.effort * samples)))

    @property
    def measures_start(self) -> bool:
        """Whether it is measured where the prompts branch; any negative start_percent says so."""
        return self.start_percent < 0

    @property
    def starts(self) -> tuple[float, ...]:
        """The progress at which the prompts may branch: one, or those that a measurement chooses from."""
        return defaults.START_PERCENTS if self.measures_start else (self.start_percent,)

    @property
    def measured(self) -> int:
        """Noises that the unit of strength is measured on, of those that there are; none for method clip."""
        if self.method == CLIP:
            return 0
        return self.calibration_noises if self.samples == AUTOMATIC else min(self.calibration_noises, self.samples)


def pair_count(effort: float) -> int:
    """Return how many pairs an SVD attribute is learned from, so many times the shipped number."""
    return max(1, round(effort * defaults.PAIRS))


def readout_samples(places: int) -> int:
    """Return how many noises a readout learns from.

    Args:
        places: Places of the bottleneck, h * w.

    Returns:
        READOUT_SAMPLES for READOUT_PLACES places or fewer; a larger bottleneck has more places to learn from in each
        noise, and takes fewer, down to READOUT_MIN_SAMPLES.
    """
    ratio = max(1.0, places / defaults.READOUT_PLACES)
    samples = defaults.READOUT_SAMPLES * math.pow(ratio, -defaults.READOUT_EXPONENT)
    return max(defaults.READOUT_MIN_SAMPLES, round(samples))


@dataclass(frozen=True)
class EditSettings:
    """How a picture is edited along a direction.

    Attributes:
        strength: 0 changes nothing, 1 is as learned. The default is above 1, so that pictures which respond weakly
            change too: python benchmarks/hspace.py strengths
        edit_percent: Progress until which the edit is made.
        boost_percent: Progress from which fresh noise is drawn; 1 is off.
        eta: Amount of fresh noise in boosted steps, 0 to 1.
        symmetric: Whether the edit moves the direction to the noise too; a baseline.
        absolute: Whether strength says how much of the attribute the picture has in the end, and not how much is
            added; see slide.py. Read where the direction has a response, and so fade.
        fade: The sampling progress at which runs without and with the edit are mixed, which makes steps of the strength
            more even on each picture: 1 mixes finished pictures, 0 none.
        retries: How often a picture that the direction changes too little is edited again, more strongly; see
            retries.py. Read where the direction's response says what it usually changes.
    """

    strength: float = defaults.THERE
    edit_percent: float = defaults.END_PERCENT
    boost_percent: float = 1.0
    eta: float = 1.0
    symmetric: bool = False
    absolute: bool = False
    fade: float = 0.0
    retries: int = len(defaults.RETRY_FACTORS)

    def slide_options(self, mask: Tensor | None = None) -> dict[str, Any]:
        """Return what Slide.at takes beside the strength, where a picture may change inside of a mask alone."""
        retries = retries_of(self.retries, self.edit_percent, mask)
        return {"absolute": self.absolute, "fade": self.fade, "retries": retries}


@dataclass(frozen=True)
class PairSettings:
    """Where pairs of codes come from.

    Attributes:
        step: The step where the codes are taken, and where an attribute is applied: T_x of the paper.
        branch_steps: The steps where the two prompts may branch; each pair takes the latest that will do.
        delta: Steps that the target code goes on for.
        count: Pairs to learn from.
        evidence_steps: The steps at whose noise levels pictures are asked whether they show the attribute;
            empty for those at defaults.EVIDENCE_PERCENTS of the steps.
        evidence_noises: With how many noises they are asked; 0 goes by the size of the change of the codes.
        min_evidence_share: Share of the most evidence that a branch step adds that later ones must still add.
    """

    step: int = defaults.T_X_STEP
    branch_steps: tuple[int, ...] = defaults.BRANCH_STEPS
    delta: int = 0
    count: int = defaults.PAIRS
    evidence_steps: tuple[int, ...] = ()
    evidence_noises: int = defaults.EVIDENCE_NOISES
    min_evidence_share: float = MIN_EVIDENCE_SHARE

    def __post_init__(self) -> None:
        """Check the count of pairs.

        Raises:
            EditError: There is none.
        """
        if self.count < 1:
            raise EditError(f"count is {self.count}; 1 or more pairs are accepted.")

    @property
    def drawn(self) -> int:
        """How many starts there are at most to have ``count`` pairs that show the attribute."""
        return self.count * (defaults.SPARE_PAIRS if self.evidence_noises else 1)

    def pictures_left_out(self, count: int) -> str | None:
        """Return in a sentence how many of so many pictures are learned from; None where all are."""
        if count <= self.drawn:
            return None
        return f"It is learned from the first {self.drawn} of {count} pictures; a higher effort learns from more."

    def asked_steps(self, steps: int) -> tuple[int, ...]:
        """Return evidence_steps, on a schedule of so many steps."""
        spread = (min(round(percent * steps), steps - 1) for percent in defaults.EVIDENCE_PERCENTS)
        return self.evidence_steps or tuple(sorted(set(spread)))

    def evidence_calls(self, steps: int) -> int:
        """Return how many model calls it takes to ask one batch of pictures, on a schedule of so many steps."""
        return 2 * self.evidence_noises * len(self.asked_steps(steps))

    def calls(self, steps: int) -> int:
        """Return how many model calls one batch of pairs takes, on a schedule of so many steps."""
        return pair_calls(self.step, self.branch_steps, self.delta, self.evidence_calls(steps))

    def all_calls(self, steps: int, batch: int, pictures: int = 0) -> int:
        """Return how many model calls learning from pairs takes at most.

        Args:
            steps: Sampling steps.
            batch: Pairs that are sampled at once.
            pictures: How many pictures are inverted for it; 0 learns from noise.
        """
        if pictures:
            pairs = (steps + self.calls(steps)) * code_batches(pictures, self.drawn, batch)
        else:
            pairs = self.calls(steps) * -(-self.drawn // batch)
        if not self.evidence_noises or self.count < defaults.LEFT_OUT_PAIRS:
            return pairs
        tried = steps - self.step + self.evidence_calls(steps)
        return pairs + tried * -(-self.count // batch)

    @classmethod
    def for_schedule(cls, schedule: Schedule, effort: float = 1.0) -> PairSettings:
        """Return the shipped settings at the same sampling progress of any schedule.

        Args:
            schedule: The schedule that pairs are sampled on, of 3 steps or more.
            effort: What the number of pairs is multiplied by.
        """
        last = len(schedule.sigmas) - 2
        step = min(max(2, schedule.step_at(defaults.T_X_PERCENT)), last)
        branch_steps = sorted({min(schedule.step_at(percent), step - 1) for percent in defaults.BRANCH_PERCENTS})
        asked = sorted({min(schedule.step_at(percent), last) for percent in defaults.EVIDENCE_PERCENTS})
        return cls(step, tuple(branch_steps), count=pair_count(effort), evidence_steps=tuple(asked))
