"""Modules of benchmarks/, which is no package, for tests of the same."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    """The module of this name."""
    if str(FOLDER) not in sys.path:
        # Last, because a name there may be that of another package.
        sys.path.append(str(FOLDER))
    return importlib.import_module(name)
