"""Put ``singular-edit apply`` to the test on folders: ``python benchmarks/folders.py hostile|kills|shards|ray``.

    hostile     pictures of which one in ten is damaged, too large or no picture: what becomes of each
    kills       a run that is killed at random moments and started again, against one that was left alone
    shards      two shares, against one run
    ray         two workers of Ray, one of which is killed, against one run; needs the extra "ray"

Every command is a process of its own, as a user starts it. Results are compared byte for byte.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from singular_edit.backends.pipeline.pictures import pil_pictures
from singular_edit.demo.faces import render

FIRST_SEED = 50_000
STRENGTHS = ("0", "1.5")


def command(source: Path, target: Path, steps: int, *more: str) -> list[str]:
    """Return the command of an edit."""
    started = [sys.executable, "-m", "singular_edit.cli", "apply", "hat", str(source), str(target)]
    return [*started, "--strength", *STRENGTHS, "--steps", str(steps), *more]


def run(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command of an edit to its end."""
    return subprocess.run(command(*args), capture_output=True, text=True, check=False)  # type: ignore[arg-type]


def write_pictures(folder: Path, count: int) -> None:
    """Write faces as PNG."""
    folder.mkdir()
    for i in range(count):
        face(i).save(folder / f"{i:04d}.png")


def face(i: int) -> Image.Image:
    """Return a face."""
    return pil_pictures(render(FIRST_SEED + i))[0]


def results(folder: Path) -> dict[str, bytes]:
    """Read all files but the manifests."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("manifest")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def records(folder: Path) -> list[dict[str, object]]:
    """Read the manifests."""
    return [json.loads(line) for path in folder.glob("manifest*.jsonl") for line in path.read_text().splitlines()]


def _kinds() -> list[tuple[str, Callable[[Image.Image], bytes]]]:
    """Return the forms in which good pictures come: an ending, and what writes one."""

    def saved(name: str, change: Callable[[Image.Image], Image.Image] = lambda p: p, **more: object):
        def write(picture: Image.Image) -> bytes:
            buffer = io.BytesIO()
            change(picture).save(buffer, name, **more)
            return buffer.getvalue()

        return write

    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        ("png", saved("PNG")),
        ("jpg", saved("JPEG", lambda p: p.rotate(90), exif=turned)),
        ("alpha.png", saved("PNG", lambda p: p.convert("RGBA"))),
        ("deep.png", saved("PNG", lambda p: Image.fromarray(np.asarray(p.convert("L")).astype(np.uint16) * 257))),
        ("press.jpg", saved("JPEG", lambda p: p.convert("CMYK"))),
        ("grey.jpg", saved("JPEG", lambda p: p.convert("L"))),
        ("odd.webp", saved("WEBP", lambda p: p.resize((101, 77)))),
        ("large.jpg", saved("JPEG", lambda p: p.resize((3000, 2000)))),
        ("gif", saved("GIF", lambda p: p.convert("P"))),
        ("bmp", saved("BMP")),
    ]


def _hostile() -> list[tuple[str, Callable[[Image.Image], bytes]]]:
    """Return files that are no whole picture: an ending, and what writes one."""
    good = dict(_kinds())

    def huge(picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        Image.new("1", (20000, 20000)).save(buffer, "PNG")
        return buffer.getvalue()

    def moving(picture: Image.Image) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "GIF", save_all=True, append_images=[picture.rotate(90)])
        return buffer.getvalue()

    def noise(picture: Image.Image) -> bytes:
        return random.Random(0).randbytes(5000)

    def corrupt(picture: Image.Image) -> bytes:
        data = bytearray(good["png"](picture))
        data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
        return bytes(data)

    return [
        ("short.jpg", lambda picture: good["jpg"](picture)[:600]),
        ("short.png", lambda picture: good["png"](picture)[:300]),
        ("text.jpg", lambda picture: b"This is no picture.\n"),
        ("empty.png", lambda picture: b""),
        ("huge.png", huge),
        ("moving.gif", moving),
        ("noise.webp", noise),
        ("corrupt.png", corrupt),
        ("strip.png", lambda picture: good["png"](picture.resize((4, 400)))),
        ("page.tif", lambda picture: b"II*\x00" + bytes(40)),
    ]


def hostile(folder: Path, args: argparse.Namespace) -> None:
    """Print what became of good and hostile pictures."""
    source, target = folder / "in", folder / "out"
    source.mkdir()
    kinds, bad = _kinds(), _hostile()
    expected = set()
    for i in range(args.pictures):
        is_bad = i % 10 == 9
        ending, write = bad[i // 10 % len(bad)] if is_bad else kinds[i % len(kinds)]
        (source / f"{i:04d}.{ending}").write_bytes(write(face(i)))
        if is_bad:
            expected.add(f"{i:04d}.{ending}")
    began = time.perf_counter()
    done = run(source, target, args.steps)
    found = records(target)
    named = {record["source"] for record in found if record["error"]}
    right = sum(all((target / str(name)).exists() for name in record["results"]) for record in found) - len(named)
    print(f"{args.pictures} pictures, {len(expected)} of them hostile, {args.steps} steps, 2 strengths")
    print(f"right {right}, named in the manifest {len(named)}, the hostile ones: {named == expected}")
    print(f"exit status {done.returncode}, traceback: {'Traceback' in done.stdout + done.stderr}")
    lowest = min(record["round_trip_db"] for record in found if not record["error"])
    print(f"lowest round trip {lowest} dB, {time.perf_counter() - began:.0f} s")
    for record in sorted(found, key=lambda record: str(record["source"])):
        if record["error"] and int(str(record["source"])[:4]) < 100:
            print(f"  {record['error']}")


def kills(folder: Path, args: argparse.Namespace) -> None:
    """Print whether a run that was killed makes what one makes that was left alone."""
    source, whole, target = folder / "in", folder / "whole", folder / "out"
    write_pictures(source, args.pictures)
    began = time.perf_counter()
    run(source, whole, args.steps)
    took = time.perf_counter() - began
    chance = random.Random(args.seed)
    for _ in range(args.kills):
        process = subprocess.Popen(command(source, target, args.steps), stderr=subprocess.DEVNULL)
        # Loading takes a part of it, and each run leaves less to do.
        time.sleep(chance.uniform(0.2, 0.6) * took)
        process.kill()
        process.wait()
        print(f"killed with {len(results(target))} files there, exit status {process.returncode}")
    _print_same(run(source, target, args.steps), whole, target, args.pictures)


def shards(folder: Path, args: argparse.Namespace) -> None:
    """Print whether two shares make what one run makes."""
    source, whole, target = folder / "in", folder / "whole", folder / "out"
    write_pictures(source, args.pictures)
    run(source, whole, args.steps)
    for share in ("1/2", "2/2"):
        done = run(source, target, args.steps, "--shard", share)
        print(done.stdout.splitlines()[0])
    _print_same(done, whole, target, args.pictures)


def ray(folder: Path, args: argparse.Namespace) -> None:
    """Print whether two workers of Ray make what one run makes, though one of them is killed."""
    source, whole, target = folder / "in", folder / "whole", folder / "out"
    write_pictures(source, args.pictures)
    run(source, whole, args.steps)
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    process = subprocess.Popen(
        command(source, target, args.steps, "--ray", "--workers", "2"),
        env={**os.environ, "OMP_NUM_THREADS": threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while process.poll() is None and len(results(target)) < args.pictures // 2:
        time.sleep(0.1)
    for pid in workers_below(process.pid)[:1]:
        os.kill(pid, signal.SIGKILL)
        print(f"one worker killed with {len(results(target))} files there")
    printed = process.communicate()[0]
    _print_same(subprocess.CompletedProcess([], process.returncode, printed, ""), whole, target, args.pictures)


def workers_below(root: int) -> list[int]:
    """Return the processes of Ray's actors that a process started, by Linux's /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if not (path / "cmdline").read_bytes().startswith(b"ray::Map"):
                continue
            above = int(path.name)
            while above not in (0, 1, root):
                above = int(Path(f"/proc/{above}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if above == root:
            found.append(int(path.name))
    return found


def _print_same(done: subprocess.CompletedProcess[str], whole: Path, target: Path, count: int) -> None:
    """Print how the results of two folders compare."""
    print(done.stdout.splitlines()[-1].split(". ")[0] if done.stdout else "")
    expected, found = results(whole), results(target)
    sources = [record["source"] for record in records(target)]
    print(f"{count} pictures: {len(expected)} files, byte for byte the same: {found == expected}")
    print(f"lines of the manifests {len(sources)}, of different pictures {len(set(sources))}")


TABLES = dict(hostile=hostile, kills=kills, shards=shards, ray=ray)


def main() -> None:
    """Print the table that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        TABLES[args.table](Path(folder), args)


if __name__ == "__main__":
    main()
