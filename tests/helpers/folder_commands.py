"""``singular-edit apply`` in few steps, and what it leaves in a folder."""

from __future__ import annotations

import json
from pathlib import Path

FEW = ["--steps", "3"]
STRENGTHS = ["--strength", "0", "1.5"]


def apply(source, target, *more):
    return ["apply", "hat", str(source), str(target), *STRENGTHS, *FEW, *more]


def results(folder: Path) -> dict[str, bytes]:
    """All files but the manifests, by their names."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("manifest")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def records(folder: Path) -> dict[str, dict]:
    """The manifests' lines by their pictures, each of which has one."""
    lines = [line for path in folder.glob("manifest*.jsonl") for line in path.read_text().splitlines()]
    found = {record["source"]: record for record in map(json.loads, lines)}
    assert len(found) == len(lines)
    return found
