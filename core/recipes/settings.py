"""How the recipes learn and edit: settings with their shipped defaults.

Percents are sampling progress, as ControlNet's are: 0 before the first step, 1 after the last.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..fitting import Training
from ..hspace.learn_direction import METHODS
from . import defaults

READOUT = "readout"
CLIP = "clip"
LEARN_METHODS = (READOUT, *METHODS, CLIP)


@dataclass(frozen=True)
class LearnSettings:
    """How a direction or a readout is learned.

    Attributes:
        method: One of LEARN_METHODS.
        samples: Noises to learn from.
        training: Its batch is the pictures that a training step looks at.
        start_percent: Progress at which the two prompts branch and the edit begins.
        end_percent: Progress at which learning ends.
        cfg: Guidance while learning. 1 learns the prompts' plain difference, which guidance later strengthens as it
            does a prompt.
        calibration_noises: Noises that the unit of strength is measured on.
    """

    method: str
    samples: int
    training: Training
    start_percent: float
    end_percent: float = 0.8
    cfg: float = 1.0
    calibration_noises: int = defaults.CALIBRATION_NOISES

    @classmethod
    def for_method(cls, method: str) -> LearnSettings:
        """Return the shipped settings of a method; change them with dataclasses.replace."""
        readout = method == READOUT
        return cls(
            method,
            samples=defaults.LEARN_SAMPLES,
            training=Training(
                steps=defaults.TRAINING_STEPS,
                learning_rate=defaults.LEARNING_RATE,
                batch=defaults.READOUT_TRAINING_BATCH if readout else defaults.TRAINING_BATCH,
            ),
            start_percent=defaults.LEARN_START_PERCENT,
            calibration_noises=defaults.READOUT_CALIBRATION_NOISES if readout else defaults.CALIBRATION_NOISES,
        )

    @property
    def measured(self) -> int:
        """Noises that the unit of strength is measured on, of those that there are; none for method clip."""
        return 0 if self.method == CLIP else min(self.calibration_noises, self.samples)


@dataclass(frozen=True)
class EditSettings:
    """How a picture is edited along a direction.

    Attributes:
        strength: 0 changes nothing, 1 is as learned. The default is above 1, so that pictures which respond weakly
            change too: python benchmarks/hspace.py strengths
        edit_percent: Progress until which the edit is made. It goes a little further than learning did: what was
            learned by then still holds.
        boost_percent: Progress from which fresh noise is drawn; 1 is off.
        eta: Amount of fresh noise in boosted steps, 0 to 1.
        symmetric: Whether the edit moves the direction to the noise too; a baseline.
    """

    strength: float = 1.5
    edit_percent: float = 0.9
    boost_percent: float = 1.0
    eta: float = 1.0
    symmetric: bool = False


@dataclass(frozen=True)
class PairSettings:
    """Where pairs of codes come from.

    Attributes:
        step: The step where the codes are taken, and where an attribute is applied: T_x of the paper.
        branch_steps: The steps where the two prompts may branch; each pair takes the latest that will do.
        delta: Steps that the target code goes on for.
        count: Pairs to learn from.
    """

    step: int = defaults.T_X_STEP
    branch_steps: tuple[int, ...] = defaults.BRANCH_STEPS
    delta: int = 0
    count: int = defaults.PAIRS
