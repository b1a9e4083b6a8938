"""A coverage-guided attack on what reads files: libFuzzer keeps each mutated file that reaches new lines of the pack.

It needs the package atheris (``pip install atheris``), which there is for Linux. ``fuzz.py coverage`` runs this file in
a process of its own, because libFuzzer ends it.
"""

from __future__ import annotations

import logging
import random
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

LONGEST_FILE = 2**21
# How often an honest file is mutated by what knows its format; otherwise libFuzzer mutates what it has kept.
KNOWING_SHARE = 0.5


def coverage(count: int, seed: int) -> str:
    """Run this file, and return what is printed of it.

    Args:
        count: Files to try.
        seed: Of the mutations.

    Returns:
        One line.

    Raises:
        SystemExit: A file gave an exception other than an EditError, which is printed with its trace; or there is no
            atheris.
    """
    if find_spec("atheris") is None:
        raise SystemExit("coverage needs the package atheris; pip install atheris.")
    command = [sys.executable, __file__, str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    if done.returncode or not reached:
        raise SystemExit(done.stderr[-4000:])
    places, _, files = reached[-1]
    return (
        f"{count} files, guided by coverage: {places} places of the code reached (by the honest files alone "
        f"{reached[0][0]}), {files} files kept that each reach something new, no exception but sentences"
    )


def main(count: str, seed: str) -> None:
    """Try files until libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["singular_edit"]):
        from singular_edit.core import EditError
        from singular_edit.core.recipes.attributes import describe, load_attribute
    from fuzz_files import MUTATIONS, honest

    logging.disable()
    folder = Path(tempfile.mkdtemp())
    corpus = folder / "corpus"
    for name, attribute in honest().items():
        attribute.save(corpus / name)
    files = [path.read_bytes() for path in sorted(corpus.iterdir())]
    path = folder / "file.safetensors"

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < KNOWING_SHARE:
            return MUTATIONS[rng.choice(sorted(MUTATIONS))](rng.choice(files), rng)[:longest]
        mutated: bytes = atheris.Mutate(data, longest)
        return mutated

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        try:
            describe(load_attribute(path))
        except EditError:
            return

    options = [f"-runs={count}", f"-seed={int(seed) + 1}", f"-max_len={LONGEST_FILE}", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], attempt, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
