"""``benchmarks/run.py``: it names every benchmark, and writes under which circumstances a table was made."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(*args):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *args], capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_every_benchmark_has_a_table():
    _, listed = run("--list")
    scripts = {path.name for path in BENCHMARKS.glob("*.py") if "ArgumentParser" in path.read_text()}
    missing = [name for name in scripts - {"run.py"} if f"benchmarks/{name}" not in listed]
    imported_alone = [name for name in missing if "__main__" not in (BENCHMARKS / name).read_text()]
    assert missing == imported_alone


def test_a_table_says_what_it_is_of_and_is_not_made_twice(tmp_path):
    pytest.importorskip("diffusers")
    code, printed = run("--quick", "--only", "traced_round_trips", "--output", str(tmp_path))
    assert code == 0, printed
    table = (tmp_path / "traced_round_trips.txt").read_text()
    assert table.startswith("python benchmarks/traced.py round_trips --count 2")
    for word in ("machine   ", "versions  Python", "torch ", "commit    ", "guidance 5"):
        assert word in table
    assert "there already" in run("--quick", "--only", "traced_round_trips", "--output", str(tmp_path))[1]


def test_a_table_that_fails_is_not_written(tmp_path):
    code, printed = run("--only", "no_such_table", "--output", str(tmp_path))
    assert code != 0
    assert "traced_edits" in printed
