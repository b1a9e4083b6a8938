"""Do a task to each picture of a folder, and go on where a run was stopped."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from ..core.errors import plain_text
from .exit_status import NOT_ACCEPTED, STOPPED
from .folder import Job, check_folders, pictures_in, plan
from .manifest import Manifest, Record, check_settings
from .shares import Share
from .task import Task

# Where files are that are not whole yet, in the folder of the results.
UNFINISHED = ".unfinished"


def run(task: Task, share: Share, workers: int | None = None) -> int:
    """Do a task to the pictures of one share that were not done yet.

    Args:
        task: The task.
        share: The share.
        workers: 0 is this process alone; None and other numbers are so many workers of Ray, None one a GPU.

    Returns:
        The exit status: 0, or NOT_ACCEPTED where a picture was passed over, or STOPPED.

    Raises:
        EditError: A setting or a folder is not accepted, or a result cannot be written.
    """
    task.check()
    check_folders(task.source, task.target)
    names = pictures_in(task.source, task.target)
    jobs = [job for job in plan(names, task.results) if share.holds(job.name)]
    workplace = task.target / UNFINISHED / f"share{share.file_suffix}"
    shutil.rmtree(workplace, ignore_errors=True)
    settings = task.settings()
    check_settings(task.target, settings)
    manifest = Manifest(task.target, share, workplace)
    missing = manifest.missing(jobs)
    manifest.forget(missing)
    if share.count > 1:
        print(f"share {share.index} of {share.count}: {len(jobs)} of {len(names)} pictures")
    records: Iterator[Record] = iter(())
    if missing and workers == 0:
        do = task.start(workplace)
        manifest.begin(settings)
        records = map(do, missing)
    elif missing:
        from .on_ray import records_of

        manifest.begin(settings)
        records = records_of(task, missing, workplace, workers)
    done = passed = 0
    began = time.perf_counter()
    try:
        for record in _shown(records, jobs, len(missing)):
            manifest.add(record)
            done += 1
            passed += record["error"] is not None
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        return STOPPED
    _tidy(workplace)
    minutes = max(time.perf_counter() - began, 1e-9) / 60
    print(
        f"{done - passed} pictures done, {passed} passed over, {len(jobs) - len(missing)} done before; "
        f"{done / minutes:.1f} a minute. {manifest.path} says what became of each."
    )
    return NOT_ACCEPTED if passed else 0


def _shown(records: Iterator[Record], jobs: list[Job], missing: int) -> Iterator[Record]:
    """Show how far a run is, how fast it is, and how exactly the last picture came back."""
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    began = time.perf_counter()
    with tqdm(total=len(jobs), initial=len(jobs) - missing, bar_format=layout, smoothing=0.05) as bar:
        for count, record in enumerate(records, 1):
            yield record
            rate = f"{60 * count / (time.perf_counter() - began):.1f} pictures/min"
            if record["error"] is not None:
                bar.write(f"singular-edit: passed over: {plain_text(record['error'], 300)}", file=sys.stderr)
            elif record["round_trip_db"] is not None:
                rate += f", {record['round_trip_db']:.1f} dB"
            bar.set_postfix_str(rate, refresh=False)
            bar.update()


def _tidy(workplace: Path) -> None:
    """Remove a folder of unfinished files, and the one that it is in where no other share needs it."""
    shutil.rmtree(workplace, ignore_errors=True)
    with suppress(OSError):
        workplace.parent.rmdir()
