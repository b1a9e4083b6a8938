"""What became of each picture: a file of JSON lines in the folder of the results.

source          the picture's name, from the folder of pictures on
results         names of its results, from their folder on; none where there is an error
strengths       of its edits, in the order of the results
size            of the results, [width, height]
seed            of what was drawn
seconds         that it took
round_trip_db   how exactly the inverted latent comes back
error           what is wrong with the picture, in a sentence; null where nothing is
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..core.errors import EditError, plain_text
from .folder import SETTINGS, Job
from .shares import Share
from .writing import write_whole

# What became of a picture.
Record = dict[str, Any]


class Manifest:
    """The lines of one share of the pictures.

    Args:
        folder: The folder of the results.
        share: The share.
        workplace: A folder on the same disk, for files that are not whole yet.
    """

    def __init__(self, folder: Path, share: Share, workplace: Path) -> None:
        self.folder = folder
        self.path = folder / f"manifest{share.file_suffix}.jsonl"
        self.workplace = workplace

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Return the jobs that are not done: that no share recorded as done, or whose results are not all there."""
        done: dict[str, tuple[str, ...]] = {}
        for path in sorted(self.folder.glob("manifest*.jsonl")):
            for record in _records(path):
                if record.get("error") is None:
                    done[record["source"]] = tuple(record["results"])
        return [
            job
            for job in jobs
            if done.get(job.name) != job.results or not all(_is_there(self.folder / result) for result in job.results)
        ]

    def forget(self, jobs: Iterable[Job]) -> None:
        """Leave out the lines of jobs that are done again, and one that a killed process left half written."""
        if not self.path.exists():
            return
        names = {job.name for job in jobs}
        kept = [record for record in _records(self.path) if record["source"] not in names]
        write_whole(self.path, "".join(map(_line, kept)).encode(), self.workplace)

    def begin(self, settings: dict[str, str]) -> None:
        """Write down, before the first results, what they depend on beside the pictures."""
        path = self.folder / SETTINGS
        # Other settings are those of a run that made nothing; check_settings let them pass.
        if _settings_in(path) != settings:
            write_whole(path, (json.dumps(settings, indent=1) + "\n").encode(), self.workplace)

    def add(self, record: Record) -> None:
        """Write down what became of a picture."""
        with self.path.open("a") as file:
            file.write(_line(record))


def _is_there(path: Path) -> bool:
    """Return whether there is a file that holds something."""
    return path.is_file() and path.stat().st_size > 0


def check_settings(folder: Path, settings: dict[str, str]) -> None:
    """Check that a run's settings are those of the results that are there.

    Args:
        folder: The folder of the results.
        settings: What the results depend on beside the pictures.

    Raises:
        EditError: The results that are there were made with other settings.
    """
    found = _settings_in(folder / SETTINGS)
    if found is None or not _has_results(folder):
        return
    for name in {**settings, **found}:
        before, now = found.get(name), settings.get(name)
        if before != now:
            raise EditError(
                f"'{plain_text(folder)}' holds results of other settings ({name} {plain_text(before)}, not "
                f"{plain_text(now)}); give the same ones, or another folder for the results."
            )


def _settings_in(path: Path) -> dict[str, str] | None:
    """Read a file of settings: None where there is none, and none of them where it is damaged."""
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError, RecursionError):
        return {}


def _has_results(folder: Path) -> bool:
    """Return whether any share recorded a result."""
    return any(record["results"] for path in folder.glob("manifest*.jsonl") for record in _records(path))


def _records(path: Path) -> Iterator[Record]:
    """Read the lines of a manifest; what is half written or damaged is left out."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and isinstance(record.get("source"), str) and _are_names(record.get("results")):
                yield record


def _are_names(results: Any) -> bool:
    return isinstance(results, list) and all(isinstance(name, str) for name in results)


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
