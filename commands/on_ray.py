"""The same on the machines of a Ray cluster, by Ray Data: one worker a device, each with its own model.

Ray Data hands pictures out as workers ask for them, starts a lost worker anew and does its pictures again, and holds
back where results are not taken. Pictures and results lie where all machines see them. https://docs.ray.io
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import EditError
from .folder import Job
from .manifest import Record
from .task import Task

# Pieces that the pictures are handed out in, at most; a piece is what a lost worker does again.
PIECES = 4096


class Worker:
    """A process with a model.

    Args:
        task: The task.
        workplace: A folder on the disk of the results, for files that are not whole yet.
    """

    def __init__(self, task: Task, workplace: Path) -> None:
        self.do = task.start(workplace)

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        """Do one job, which comes and goes as JSON."""
        name, results = json.loads(row["job"])
        return {"record": json.dumps(self.do(Job(name, tuple(results))))}


def records_of(task: Task, jobs: list[Job], workplace: Path, workers: int | None) -> Iterator[Record]:
    """Do jobs on a Ray cluster: the one of RAY_ADDRESS, or one of this machine.

    Args:
        task: The task.
        jobs: The jobs.
        workplace: A folder on the disk of the results, for files that are not whole yet.
        workers: How many; None is one a GPU of the cluster, or one where there is none.

    Yields:
        What became of each picture, as they are done.

    Raises:
        EditError: Ray is not installed, or a worker cannot load the model or write a result.
    """
    try:
        import ray
        import ray.data
    except ImportError:
        raise EditError("--ray needs Ray Data, which is not installed; pip install 'singular-edit[ray]'.") from None
    if not ray.is_initialized():
        local = {} if os.environ.get("RAY_ADDRESS") else dict(include_dashboard=False)
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    count = workers or gpus or 1
    rows = [{"job": json.dumps([job.name, job.results])} for job in jobs]
    done = ray.data.from_items(rows, override_num_blocks=min(len(rows), PIECES)).map(
        Worker,
        fn_constructor_args=(task, workplace),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_gpus=1 if gpus else None,
        num_cpus=None if gpus else 1,
    )
    try:
        for row in done.iter_rows():
            yield json.loads(row["record"])
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, EditError):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            raise
        raise cause from error
