"""Run every node beside what else is wired in ComfyUI, and write docs/compatibility.md.

    python benchmarks/compatibility.py --comfyui COMFYUI_0.3.64 COMFYUI_NEWER --write docs/compatibility.md

Rows are what the pack does, columns are families and neighbours: small random models of ComfyUI's own classes, on the
CPU. A cell is "yes" where the row ran and its outcome is right (compatibility_rows.py says by what an artist sees), or
the sentence with which the pack refuses. Anything else is a failure, and the command ends with 1. Each ComfyUI runs in
a process of its own, once more with --use-split-cross-attention, which is read as ComfyUI is imported. A column that is
in --output already is not run again, unless --columns names it.
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


def run_cells(result: Path, columns: list[str], flags: list[str]) -> None:
    """Run columns in this process's ComfyUI.

    Args:
        result: A JSON file, written anew after each column, which holds the outcome of each row of each column.
        columns: Names of the columns.
        flags: Options of ComfyUI's command line, set before it is imported.
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

    table = _read(result)
    for name in columns:
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
        result.write_text(json.dumps(table, indent=1))


def _read(result: Path) -> dict[str, dict[str, str]]:
    """Return the columns that were run before."""
    found: dict[str, dict[str, str]] = json.loads(result.read_text()) if result.exists() else {}
    return found


def of_comfyui(path: Path, columns: list[str], output: Path) -> dict[str, dict[str, str]]:
    """Run a ComfyUI's columns that are missing in the output, or that are asked for, and return all of them."""
    from compatibility_columns import COLUMNS

    table = run_process(path, list(COLUMNS), columns, output)
    for name, cells in run_process(path, list(SPLIT_COLUMNS), columns, output, SPLIT).items():
        table[f"{name}, {SPLIT}"] = cells
    return table


def run_process(
    path: Path, names: list[str], columns: list[str], output: Path, flag: str = ""
) -> dict[str, dict[str, str]]:
    """Run columns in a process whose ComfyUI is at path.

    Args:
        path: The ComfyUI.
        names: The columns of the table.
        columns: Those to run anew; if there are none, those that the output lacks.
        output: Folder of the outcomes.
        flag: An option of ComfyUI's command line.
    """
    result = output / f"compatibility-{version_of(path)}{flag}.json"
    wanted = [name for name in names if name in columns] if columns else [n for n in names if n not in _read(result)]
    if wanted:
        flags = [flag.removeprefix("--")] if flag else []
        command = [sys.executable, __file__, "--cells", str(result), "--columns", *wanted, "--flags", *flags]
        environment = {**os.environ, "COMFYUI_PATH": str(path)}
        done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{path}:\n{done.stderr[-3000:]}")
    found = _read(result)
    return {name: found[name] for name in names if name in found}


def version_of(path: Path) -> str:
    """Return the version of a ComfyUI."""
    return (path / "comfyui_version.py").read_text().split('"')[1]


def all_columns() -> list[str]:
    """Return the names of the columns that a whole table has."""
    from compatibility_columns import COLUMNS

    return [*COLUMNS, *(f"{name}, {SPLIT}" for name in SPLIT_COLUMNS)]


def page(tables: dict[str, dict[str, dict[str, str]]], folders: str) -> str:
    """Return the page; columns that were not run are named below their table.

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
        missing = [name for name in all_columns() if name not in table]
        if missing:
            lines.append(f"\nNot run for this table: {'; '.join(missing)}.")
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
    parser.add_argument("--columns", nargs="*", default=[], help="run only these columns, and anew")
    parser.add_argument("--output", type=Path, default=Path("output/compatibility"), help="folder of the outcomes")
    parser.add_argument("--write", type=Path, help="the page to write")
    parser.add_argument("--cells", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--flags", nargs="*", default=[], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cells is not None:
        run_cells(args.cells, args.columns, [f"--{flag}" for flag in args.flags])
        return
    from singular_edit.backends.find_comfyui import find_comfyui

    folders = [path.expanduser() for path in args.comfyui] or [find_comfyui()]
    if None in folders:
        raise SystemExit("no ComfyUI found: set COMFYUI_PATH")
    args.output.mkdir(parents=True, exist_ok=True)
    tables = {version_of(path): of_comfyui(path, args.columns, args.output) for path in folders}
    text = page(tables, " ".join(f"ComfyUI-{version}" for version in tables))
    print(text)
    if args.write is not None:
        args.write.write_text(text)
    failures = [cell for table in tables.values() for cells in table.values() for cell in cells.values()]
    if any(cell.startswith(FAIL) for cell in failures):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
