"""Attack the pack as a stranger would, and count what falls through: ``python benchmarks/fuzz.py``.

``files`` mutates files of every kind, loads them, edits with them, combines them and saves them again.
``nodes`` calls every node inside ComfyUI with generated inputs, in range and out of range, honest and broken, and looks
that everything else is as before.
``coverage`` mutates files guided by the lines that they reach, and loads them; it needs the package atheris.

The table says for each kind of attack

- right or a sentence: the result is finite, or an EditError says in one line of 300 characters what is accepted;
- raw exception: any other exception, which is listed below the table with one case that raises it;
- otherwise wrong: a result that is not finite or larger than any latent, a sentence that is long or names a path, an
  input or the state of the process that has changed, a file where none may be.

What is printed depends on --count and --seed alone. Recorded outputs are in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from fuzz_coverage import coverage
from fuzz_files import MUTATIONS, honest, use

OUTCOMES = ("right", "sentence", "raw exception", "otherwise wrong")
COUNTS = {"files": 10_000, "nodes": 3_000, "coverage": 20_000}
LISTED = 30
# Bytes over a file's size that reading and using it may take.
MEMORY = 64 * 2**20


class Tally:
    """Counts of what happened, by attack, and one case of each failure."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: dict[str, tuple[str, int]] = {}

    def attempt(self, attack: str, case: str, action: Callable[[], str]) -> None:
        """Make one attempt.

        Args:
            attack: The row of the table.
            case: What finds the attempt again.
            action: Returns "right" or a sentence; raises AssertionError for what is wrong.
        """
        try:
            outcome = "right" if action() == "right" else "sentence"
        except AssertionError as error:
            outcome = "otherwise wrong"
            self.fail(f"{attack}: {error}", case)
        except Exception as error:  # every one that is not a sentence is what is looked for
            outcome = "raw exception"
            places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
            self.fail(f"{attack}: {type(error).__name__}: {str(error)[:150]!r} at {' > '.join(places[-4:])}", case)
        self.counts[attack, outcome] += 1

    def fail(self, text: str, case: str) -> None:
        """Count a failure; the first one of each kind is printed at once."""
        if text not in self.failures:
            print(f"{text} ({case})", file=sys.stderr, flush=True)
        first, count = self.failures.get(text, (case, 0))
        self.failures[text] = (first, count + 1)

    def table(self) -> str:
        """Return the table, and the failures below it."""
        lines = [f"{'attack':<28}{'tries':>8}" + "".join(f"{name:>16}" for name in OUTCOMES)]
        attacks = sorted({attack for attack, _ in self.counts})
        for attack in [*attacks, "all"]:
            numbers = [
                sum(n for (one, what), n in self.counts.items() if what == name and attack in (one, "all"))
                for name in OUTCOMES
            ]
            lines.append(f"{attack:<28}{sum(numbers):>8}" + "".join(f"{number:>16}" for number in numbers))
        worst = sorted(self.failures.items(), key=lambda item: -item[1][1])[:LISTED]
        lines += [f"{count}x {text} (first: {case})" for text, (case, count) in worst]
        return "\n".join(lines)


def fuzz_files(count: int, seed: int) -> Tally:
    """Mutate, load and use files."""
    tally = Tally()
    attributes = honest()
    most = 0
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder)
        path = outer / "inner" / "file.safetensors"
        data = {}
        for name, attribute in attributes.items():
            attribute.save(path)
            data[name] = path.read_bytes()
            assert use(path, attributes) == "right", name
        for case in range(count):
            rng = random.Random(f"{seed} {case}")
            name = rng.choice(sorted(data))
            mutation = rng.choice(sorted(MUTATIONS))
            changed = MUTATIONS[mutation](data[name], rng)
            if rng.random() < 0.2:
                changed = MUTATIONS["flip_bits"](changed or b"\0", rng)
            path.write_bytes(changed)
            size = len(changed)
            del changed
            before = memory("VmRSS", reset=True)
            tally.attempt(mutation, f"{name}, case {case}", lambda: use(path, attributes))
            most = max(most, memory("VmHWM") - before - size)
        files = {one.relative_to(outer).as_posix() for one in outer.rglob("*")}
        outside = files - {"inner", "inner/file.safetensors", "inner/again.safetensors"}
        print(f"files left outside or beside: {sorted(outside) or 'none'}")
    print(f"memory over a file's size, at most: {most / 2**20:.0f} MB, editing with it included")
    if most > MEMORY:
        tally.fail("too much memory", f"{most} bytes")
    if outside:
        tally.fail(f"files outside: {sorted(outside)}", "any")
    return tally


def memory(what: str, *, reset: bool = False) -> int:
    """Return bytes of memory: "VmRSS" now, "VmHWM" at most since the last reset; 0 where Linux does not say it."""
    if not Path("/proc/self/clear_refs").exists():
        return 0
    if reset:
        # What was freed goes back to the system, or the next case would be given it again unseen.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return 1024 * int(line.split()[1])
    return 0


def fuzz_nodes(count: int, seed: int) -> Tally:
    """Call nodes inside ComfyUI."""
    from fuzz_nodes import Calls
    from pack_in_comfyui import light

    tally = Tally()
    with light():
        calls = Calls()
        for case in range(count):
            rng = random.Random(f"{seed} {case}")
            node = rng.choice(calls.names)
            tally.attempt(node, f"case {case}", functools.partial(calls.call, node, rng))
    return tally


def main() -> int:
    """Attack, and print the table; the status is 1 where anything fell through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=tuple(COUNTS), default="files")
    parser.add_argument("--count", type=int, help=f"attempts (default: {COUNTS})")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attempts (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    count = given.count or COUNTS[given.what]
    if given.what == "coverage":
        print(coverage(count, given.seed))
        return 0
    tally = (fuzz_files if given.what == "files" else fuzz_nodes)(count, given.seed)
    print(tally.table())
    return int(bool(tally.failures))


if __name__ == "__main__":
    sys.exit(main())
