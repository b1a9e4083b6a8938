"""Print every table of benchmarks/ and draw its plots: ``python benchmarks/run.py``.

Each table is written to ``--output`` as NAME.txt, with the machine, the versions and the commit that it is of at its
head; plots lie beside it. A table that is there already is not made again, so that a run which was stopped goes on
where it stood. ``--quick`` makes every table of few pictures, to see that all of them run; ``--list`` names them.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from singular_edit.backends.find_comfyui import find_comfyui

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "safetensors", "numpy")
OUTPUT = "{output}"  # stands for the folder of the plots


class Table(NamedTuple):
    """A command that prints a table.

    Attributes:
        name: What its file is called.
        command: Script and arguments.
        quick: Arguments that make it of few pictures.
    """

    name: str
    command: tuple[str, ...]
    quick: tuple[str, ...]


# Directions that move h as docs/results/h_space.md compares them on both models, and of so little that all of it runs.
FEWER_NOISES = ("--samples", "96", "--steps", "300", "--count", "12")
QUICK_DIRECTIONS = ("--count", "2", "--samples", "8", "--steps", "5", "--attributes", "glasses")

TABLES = (
    Table("import_time", ("import_time.py",), ("--repeats", "1")),
    Table("demo_model", ("demo_model.py",), ("--count", "4", "--steps", "4")),
    Table("fuzz_files", ("fuzz.py", "files"), ("--count", "100")),
    Table("fuzz_coverage", ("fuzz.py", "coverage"), ("--count", "200")),
    Table("fuzz_nodes", ("fuzz.py", "nodes"), ("--count", "60")),
    Table("inversion", ("inversion.py",), ("--count", "2", "--steps", "10", "--guidance", "1")),
    Table("inversion_captions", ("inversion.py", "--captions"), ("--count", "2", "--steps", "10", "--guidance", "5")),
    Table("compatibility", ("compatibility.py",), ("--columns", "SD1.5")),
    Table("half_precision", ("half_precision.py",), ("--count", "1", "--families", "sd15", "--guidance", "5")),
    Table("inversion_edits", ("inversion_edits.py",), ("--count", "2", "--attributes", "glasses")),
    Table("unsolvable_steps", ("unsolvable_steps.py",), ("--count", "2", "--starts", "1")),
    Table("traced_round_trips", ("traced.py", "round_trips"), ("--count", "2", "--steps", "10", "--guidance", "5")),
    Table("traced_edits", ("traced.py", "edits"), ("--count", "2", "--attributes", "hat", "--guidance", "1.5")),
    Table("traced_variants", ("traced.py", "variants"), ("--count", "2", "--attributes", "hat", "--guidance", "1.5")),
    Table("carry_over", ("carry_over.py",), ("--count", "2", "--attributes", "glasses", "--ways", "readout")),
    Table(
        "carry_over_transformer",
        ("carry_over.py", "--model", "transformer"),
        ("--count", "2", "--attributes", "glasses", "--ways", "Latent SVD, own pair"),
    ),
    Table("latent_svd_properties", ("latent_svd.py", "properties", "--output", OUTPUT), ("--count", "2")),
    Table(
        "latent_svd_edits",
        ("latent_svd.py", "edits", "--output", OUTPUT),
        ("--count", "2", "--attributes", "glasses"),
    ),
    Table(
        "latent_svd_ablation",
        ("latent_svd.py", "ablation", "--output", OUTPUT),
        ("--count", "2", "--attributes", "glasses", "--variants", "default"),
    ),
    Table(
        "latent_svd_alignment",
        ("latent_svd.py", "alignment", "--first", "60000", "--attributes", "glasses"),
        ("--count", "2"),
    ),
    Table("latent_svd_speed", ("latent_svd_speed.py",), ()),
    Table("hspace_properties", ("hspace.py", "properties", *FEWER_NOISES), QUICK_DIRECTIONS),
    Table(
        "hspace_properties_transformer",
        ("hspace.py", "properties", "--model", "transformer", *FEWER_NOISES),
        QUICK_DIRECTIONS,
    ),
    Table("hspace_strengths", ("hspace.py", "strengths"), QUICK_DIRECTIONS),
    Table("hspace_schedule", ("hspace.py", "schedule"), ("--count", "2")),
    Table("hspace_edits", ("hspace.py", "edits"), ("--count", "2", "--attributes", "glasses")),
    Table("learning_sizes", ("learning_cost.py", "sizes"), ()),
    Table(
        "learning_quality",
        ("learning_cost.py", "quality"),
        ("--count", "2", "--samples", "16", "--attributes", "glasses"),
    ),
    Table(
        "learning_batches",
        ("learning_cost.py", "batches", "--count", "24"),
        ("--count", "2", "--batches", "16", "--attributes", "glasses"),
    ),
    Table("learning_start", ("learning_cost.py", "start"), ("--count", "2", "--attributes", "glasses")),
    Table(
        "samplers",
        ("samplers.py",),
        ("--count", "2", "--steps", "4", "--ends", "0.8", "--samplers", "uni_pc"),
    ),
    Table("retries", ("retries.py",), ("--count", "2", "--attributes", "smile")),
    Table("layers", ("layers.py",), ("--count", "2", "--blocks", "2", "--attributes", "glasses")),
    Table(
        "layers_moved",
        ("layers.py", "--method", "combined", "--samples", "96", "--steps", "300", "--attributes", "glasses", "smile"),
        (*QUICK_DIRECTIONS, "--blocks", "2"),
    ),
    Table(
        "saliency_window",
        ("saliency_window.py",),
        ("--count", "2", "--reach", "0.0625", "--attributes", "glasses"),
    ),
    Table("side_effects", ("side_effects.py", "traceless"), ("--cancels", "1")),
    Table("repeats", ("side_effects.py", "repeats"), ()),
    Table("slider", ("slider.py", "--ways", "shipped", "0.9", "1"), ("--count", "2", "--attributes", "glasses")),
    Table("slider_shapes", ("slider.py", "--shapes"), ("--count", "2")),
    Table("folders_hostile", ("folders.py", "hostile"), ("--pictures", "20", "--steps", "2")),
    Table("folders_kills", ("folders.py", "kills", "--pictures", "24"), ("--pictures", "8", "--kills", "2")),
    Table("folders_shards", ("folders.py", "shards", "--pictures", "24"), ("--pictures", "4", "--steps", "2")),
    Table("folders_ray", ("folders.py", "ray", "--pictures", "24"), ("--pictures", "8", "--steps", "2")),
    Table("pictures_per_hour", ("pictures_per_hour.py",), ("--sizes", "64", "--steps", "2", "--repeats", "1")),
    Table(
        "full_size",
        ("full_size.py",),
        ("--models", "sd15-diffusers", "--size", "8", "--steps", "0", "--repeats", "1", "--no-memory"),
    ),
)


def circumstances() -> str:
    """Return what a table is of: machine, versions and commit, a line each."""
    import torch

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        versions.append(f"{name} {metadata.version(name)}")
    return "\n".join(
        [
            f"machine   {processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {device}",
            f"versions  {', '.join(versions)}, ComfyUI {comfyui_version()}",
            f"commit    {commit()}",
        ]
    )


def comfyui_version() -> str:
    """Return the version of the ComfyUI that is found here."""
    path = find_comfyui()
    if path is None:
        return "not found"
    version = path / "comfyui_version.py"
    return version.read_text().split('"')[1] if version.exists() else "of unknown version"


def commit() -> str:
    """Return the commit of the pack, and whether files differ from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", "-C", str(HERE), *args], capture_output=True, text=True, check=False).stdout

    name = git("rev-parse", "--short", "HEAD").strip() or "none"
    return f"{name}, with changes" if git("status", "--porcelain", "--untracked-files=no").strip() else name


def make(table: Table, output: Path, *, quick: bool) -> bool:
    """Run a table's command, print what it prints, and write it to a file.

    Args:
        table: The table.
        output: The folder for the file and the plots.
        quick: Whether it is made of few pictures.

    Returns:
        Whether the command succeeded; the file is written only then.
    """
    command = [part.replace(OUTPUT, str(output)) for part in (*table.command, *(table.quick if quick else ()))]
    shown = "python benchmarks/" + " ".join(command)
    head = f"{shown}\n{circumstances()}\n"
    print(f"\n=== {table.name}\n{head}", flush=True)
    began = time.perf_counter()
    lines = []
    with subprocess.Popen(
        [sys.executable, str(HERE / command[0]), *command[1:]], stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    took = f"\n{time.perf_counter() - began:.0f} s\n"
    print(took, flush=True)
    if process.returncode == 0:
        (output / f"{table.name}.txt").write_text(head + "\n" + "".join(lines) + took)
    return process.returncode == 0


def main() -> None:
    """Make the tables that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [table.name for table in TABLES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="only these tables")
    parser.add_argument("--quick", action="store_true", help="few pictures, to see that everything runs")
    parser.add_argument("--list", action="store_true", help="name the tables and their commands")
    parser.add_argument("--output", type=Path, default=Path("output/benchmarks"), help="folder for tables and plots")
    args = parser.parse_args()
    chosen = [table for table in TABLES if table.name in args.only]
    if args.list:
        for table in chosen:
            print(f"{table.name:<24s}python benchmarks/{' '.join(table.command)}")
        return
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for table in chosen:
        if (args.output / f"{table.name}.txt").exists():
            print(f"{table.name}: there already, in {args.output}")
        elif not make(table, args.output, quick=args.quick):
            failed.append(table.name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
