"""What the commands on many pictures have in common: settings, and how one picture is done."""

from __future__ import annotations

import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..backends.pipeline.arguments import check_steps
from ..core.errors import EditError, plain_text
from ..core.inversion.report import InversionReport
from ..core.recipes.defaults import EDIT_GUIDANCE, STEPS
from .folder import Job
from .manifest import Record
from .models import ModelChoice
from .reading import MAX_PIXELS, Picture, read_picture
from .writing import ending_of, write_whole

if TYPE_CHECKING:
    from ..backends.pipeline.attached import AttachedPipeline
    from ..backends.pipeline.pictures import Size

# Seldom is more than 20 asked for anywhere; far above this, what a model predicts overflows.
LARGEST_GUIDANCE = 100
# Bytes of one name that disks take.
LONGEST_NAME = 255


class Made(NamedTuple):
    """What was made of a picture.

    Attributes:
        files: The bytes of its results.
        facts: What its line of the manifest says of them.
    """

    files: list[bytes]
    facts: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """What is done to each picture of a folder. It can be sent to other processes.

    Attributes:
        source: The folder of pictures, or one picture.
        target: The folder of the results.
        model: The model.
        prompt: What the pictures show; None takes what the task knows of it.
        steps: Sampling steps.
        guidance: How strictly the prompt is followed.
        size: Longest side in pixels, or (width, height); None takes the model's own.
        seed: Every picture draws by this seed and by its own bytes.
        format: Ending of the results' files; None takes each picture's own.
        max_pixels: Pixels that a picture may have.
    """

    source: Path
    target: Path
    model: ModelChoice = field(default_factory=ModelChoice)
    prompt: str | None = None
    steps: int = STEPS
    guidance: float = EDIT_GUIDANCE
    size: Size = None
    seed: int = 0
    format: str | None = None
    max_pixels: int = MAX_PIXELS

    def check(self) -> None:
        """Check the settings without loading the model.

        Raises:
            EditError: One is not accepted.
        """
        self.model.check()
        check_steps(self.steps)
        ending_of("", self.format)
        if self.max_pixels < 1:
            raise EditError(f"max-pixels is {self.max_pixels}; 1 or more are accepted.")
        # NaN is in no range.
        if not abs(self.guidance) <= LARGEST_GUIDANCE:
            raise EditError(
                f"guidance is {self.guidance:g}; a number up to {LARGEST_GUIDANCE}, usually from 1 to 2, is accepted."
            )

    @abstractmethod
    def results(self, picture: PurePosixPath, called: str) -> tuple[str, ...]:
        """Name the files that are made of a picture.

        Args:
            picture: The picture's name, from its folder on.
            called: What the files are called like, in the same folder.
        """

    @abstractmethod
    def maker(self, edit: AttachedPipeline) -> Callable[[Job, Picture], Made]:
        """Return what makes the results of a picture, which raises an EditError for one that it does not accept."""

    def settings(self) -> dict[str, str]:
        """Return what the results depend on beside the pictures, as texts."""
        return dict(
            model=Path(self.model.name).name,
            precision=str(self.model.precision),
            prompt=str(self.prompt),
            steps=str(self.steps),
            guidance=f"{self.guidance:g}",
            size=str(self.size),
            seed=str(self.seed),
            format=str(self.format),
        )

    def start(self, workplace: Path) -> Callable[[Job], Record]:
        """Load the model.

        Args:
            workplace: A folder on the disk of the results, for files that are not whole yet.

        Returns:
            What does a job, and says what became of it.

        Raises:
            EditError: The model cannot be loaded, or does not fit the task.
        """
        from ..backends.pipeline.attached import attach

        make = self.maker(attach(self.model.open()))

        def do(job: Job) -> Record:
            began = time.perf_counter()
            record: Record = dict(source=job.name, results=[], error=None)
            folder = self.source if self.source.is_dir() else self.source.parent
            try:
                _check_names(job)
                made = make(job, read_picture(folder / job.name, self.max_pixels))
            except EditError as error:
                return {**record, "error": str(error)}
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                return {**record, "error": "The device's memory does not suffice for it; a smaller --size may do."}
            for name, data in zip(job.results, made.files, strict=True):
                write_whole(self.target / name, data, workplace)
            took = round(time.perf_counter() - began, 3)
            return {**record, "results": list(job.results), **made.facts, "seconds": took}

        return do


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory ran out; on a CPU and on Apple's GPUs torch says so in its text alone."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in said or "can't allocate memory" in said


def _check_names(job: Job) -> None:
    """Raise an EditError for results whose names no disk takes, before anything is computed for them."""
    longest = max(len(os.fsencode(PurePosixPath(name).name)) for name in job.results)
    if longest > LONGEST_NAME:
        raise EditError(
            f"'{plain_text(job.name)}' has a name of {longest} bytes with what is appended to it; {LONGEST_NAME} are "
            "accepted."
        )


def decibels(report: InversionReport, name: str) -> float | None:
    """Return how exactly one picture's latent came back, for a manifest.

    Args:
        report: Of its inversion.
        name: The picture's name, for the error.

    Returns:
        The number, which JSON can hold; None where it was not measured.

    Raises:
        EditError: It is no number, so that nothing made of the picture is of use.
    """
    if report.round_trip is None:
        return None
    value = float(report.round_trip[0])
    if not value > -math.inf:
        raise EditError(
            f"'{plain_text(name)}' does not come back by a finite number of decibels; a lower --guidance, or "
            "--precision float32, may do."
        )
    return round(value, 1)
