"""Run every node beside what else is wired in ComfyUI, and write docs/compatibility.md.

    python benchmarks/compatibility.py --comfyui COMFYUI_0.3.64 COMFYUI_NEWER --write docs/compatibility.md

Rows are what the pack does, columns are families and neighbours: small random models of ComfyUI's own classes, on the
CPU. A cell is "yes" where the row ran and its outcome is right (compatibility_rows.py says by what an artist sees), or
the sentence with which the pack refuses. Anything else is a failure, and the command ends with 1. Each ComfyUI runs in
a process of its own, once more with --use-split-cross-attention, which is read as ComfyUI is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FAIL = "FAIL"
YES = "yes"
SPLIT = "--use-split-cross-attention"
SPLIT_COLUMNS = ("SD1.5", "Flux")

INTRODUCTION = """# Compatibility

What runs beside what, in a real ComfyUI. This page is written by a command, which runs every cell:

```sh
python benchmarks/compatibility.py --comfyui {folders} --write docs/compatibility.md
```

**yes**: it ran, and what you would notice is right. Strength 0 is bit for bit the stock picture, strength 1 is another
one, all numbers are finite, an inverted picture comes back (or the report says that it does not), and the next stock
picture is bit for bit what it was. **no**: the pack refuses in one sentence, which is below the table.

The models are small and random, of ComfyUI's own classes of each family, on the CPU: the table says that nothing
breaks, not how well an edit looks. A neighbour without a family's name stands beside SD1.5.
"""
NOT_RUN = """
## Not run

- **A GPU, and so --lowvram itself and the dynamic VRAM of newer ComfyUI.** Both need one; on a CPU ComfyUI loads every
  model whole. What --lowvram does to weights, to cast each at its use, is forced in one column. That one checkpoint
  sampled as v-prediction and then plainly is right is another column; the report of Latent Invert prints the ends of
  the schedule.
- **TorchCompileModel with its own backend (inductor)**, which takes minutes to compile: the column compiles by the
  backend *eager*, which traces the network alike and compiles nothing.
- **IP-Adapter itself**, a pack of its own: the column replaces attention in every block as it does.
"""


def run_cells(columns: list[str], flags: list[str]) -> dict[str, dict[str, str]]:
    """Run the cells of this process's ComfyUI.

    Args:
        columns: Names of the columns; none means all.
        flags: Options of ComfyUI's command line, set before it is imported.

    Returns:
        For each column the outcome of each row.
    """
    import torch
    from singular_edit.backends.find_comfyui import find_comfyui

    comfyui = find_comfyui()
    assert comfyui is not None, "set COMFYUI_PATH"
    sys.path.insert(0, str(comfyui))
    sys.argv[1:] = flags
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import folder_paths

    folder_paths.models_dir = tempfile.mkdtemp()
    folder_paths.set_temp_directory(tempfile.mkdtemp())
    from compatibility_columns import COLUMNS
    from compatibility_rows import ROWS, outcome

    table: dict[str, dict[str, str]] = {}
    for name in columns or COLUMNS:
        cells = table[name] = {}
        with torch.inference_mode():
            bench = COLUMNS[name]()
            before = bench.sample()
            for row, check in ROWS.items():
                try:
                    cells[row] = outcome(check, bench, before)
                except Exception as failure:  # whatever falls through is what is looked for
                    line = (str(failure).splitlines() or [""])[0]
                    cells[row] = f"{FAIL}: {type(failure).__name__}: {line}"
    return table


def of_comfyui(path: Path, columns: list[str]) -> dict[str, dict[str, str]]:
    """Run the cells of a ComfyUI in processes of their own."""
    table = cells_of_process(path, columns, [])
    split = [name for name in SPLIT_COLUMNS if not columns or name in columns]
    for name, cells in (cells_of_process(path, split, [SPLIT]) if split else {}).items():
        table[f"{name}, {SPLIT}"] = cells
    return table


def cells_of_process(path: Path, columns: list[str], flags: list[str]) -> dict[str, dict[str, str]]:
    """Run cells in a process whose ComfyUI is at path."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "cells.json"
        names = [flag.removeprefix("--") for flag in flags]
        command = [sys.executable, __file__, "--cells", str(result), "--columns", *columns, "--flags", *names]
        environment = {**os.environ, "COMFYUI_PATH": str(path)}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{path}:\n{done.stderr[-3000:]}")
        found: dict[str, dict[str, str]] = json.loads(result.read_text())
        return found


def version_of(path: Path) -> str:
    """Return the version of a ComfyUI."""
    return (path / "comfyui_version.py").read_text().split('"')[1]


def page(tables: dict[str, dict[str, dict[str, str]]], folders: str) -> str:
    """Return the page.

    Args:
        tables: For each version of ComfyUI, for each column, the outcome of each row.
        folders: What the command was given.
    """
    sentences: list[str] = []
    lines = [INTRODUCTION.format(folders=folders)]
    for version, table in tables.items():
        rows = list(next(iter(table.values())))
        lines += [f"\n## ComfyUI {version}\n", f"| | {' | '.join(rows)} |", "|---" * (len(rows) + 1) + "|"]
        for column, cells in table.items():
            shown = [_shown(cells[row], sentences) for row in rows]
            lines.append(f"| {column} | {' | '.join(shown)} |")
    lines.append("\n## Sentences\n")
    lines += [f"{i}. {sentence}" for i, sentence in enumerate(sentences, 1)]
    return "\n".join(lines) + "\n" + NOT_RUN


def _shown(outcome: str, sentences: list[str]) -> str:
    if outcome == YES:
        return YES
    if outcome not in sentences:
        sentences.append(outcome)
    return f"{'FAILS' if outcome.startswith(FAIL) else 'no'} ({sentences.index(outcome) + 1})"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, nargs="+", default=[], help="folders of ComfyUI; else the one found")
    parser.add_argument("--columns", nargs="*", default=[], help="only these columns")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--cells", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--flags", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cells is not None:
        args.cells.write_text(json.dumps(run_cells(args.columns, [f"--{flag}" for flag in args.flags])))
        return
    from singular_edit.backends.find_comfyui import find_comfyui

    folders = [path.expanduser() for path in args.comfyui] or [find_comfyui()]
    if None in folders:
        raise SystemExit("no ComfyUI found: set COMFYUI_PATH")
    tables = {version_of(path): of_comfyui(path, args.columns) for path in folders}
    text = page(tables, " ".join(f"ComfyUI-{version}" for version in tables))
    print(text)
    if args.write is not None:
        args.write.write_text(text)
    failures = [cell for table in tables.values() for cells in table.values() for cell in cells.values()]
    if any(cell.startswith(FAIL) for cell in failures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
