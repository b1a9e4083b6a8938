"""Time an edited step, and a whole edit, on networks of full size with random weights.

    python benchmarks/full_size.py --models sd15-comfyui --steps 0 --threads 1
    python benchmarks/full_size.py --models sd15-comfyui --size 16 --repeats 5 --whole-size 16 --no-memory --threads 1
    python benchmarks/full_size.py --models sd15-diffusers --size 32 --steps 0 --no-memory --threads 1
    python benchmarks/full_size.py --models sdxl-comfyui --size 16 --steps 0 --repeats 1 --threads 1

Every number is a ratio to the stock sampler's, on the same network in the same run. Steps are timed one after the
other in turn (stock, outside of the window, readout, dh, dh in two calls, stock, ...), and medians are compared. Whole
runs take turns step by step.
Memory is the peak of one step: of allocated memory on a GPU; on the CPU of the process's resident memory, which a
thread reads every 2 ms while the allocator returns what is freed at once, in a pass of its own.
ComfyUI is needed for the models that name it. Recorded outputs are in benchmarks/results/full_size.txt.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from full_size_networks import CHANNELS, FACTOR, comfyui_model, conditioning, diffusers_unet, sd_alphas
from singular_edit.backends.diffusers import DiffusersDenoiser, normal_sigmas, percent_to_sigma
from singular_edit.core import EditWindow, Readout, sample_asyrp, sample_euler
from singular_edit.core.denoiser import Denoiser
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.strength import BoundEdit, bind_edit
from torch import Tensor

MODELS = ("sd15-comfyui", "sd15-diffusers", "sdxl-comfyui")
SCHEDULE_STEPS = 50
TIMED_STEP = 15  # of 50; inside the window
WINDOW = 0.5
CFG = 5.0
M_MMAP_THRESHOLD = -3  # glibc's mallopt: larger blocks go back to the system as soon as they are freed
SMALL_BLOCK = 65536
READ_EVERY = 0.002


class TwoCalls:
    """A denoiser that makes its two predictions in two whole calls."""

    flow = False

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.guidance = denoise.guidance

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: Any = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser."""
        return self.denoise(x, sigma, h_edit)


class Bench(NamedTuple):
    """What is measured.

    Attributes:
        network: "sd15" or "sdxl".
        device: Where it runs.
        repeats: Timed rounds of the single steps.
        memory: Whether peaks of memory are measured.
    """

    network: str
    device: torch.device
    repeats: int
    memory: bool

    def edits(self, size: int, sigmas: Tensor) -> dict[str, BoundEdit]:
        """Return a readout and a learned map of random numbers, bound at strength 1."""
        generator = torch.Generator().manual_seed(0)
        factor = FACTOR[self.network]
        readout = Readout.fresh(CHANNELS, 4, factor, 1.0, sigmas[:-1].cpu(), generator=generator, info={})
        readout.tensors["out.weight"].normal_(0, 0.01, generator=generator)
        side = size // factor
        table = TableDirection(
            sigmas[:-1].cpu(), {"table": 0.1 * torch.randn(1, CHANNELS, side, side, generator=generator)}
        )
        window = EditWindow()
        return {
            name: bind_edit(direction, 1.0, sigmas, window) for name, direction in (("readout", readout), ("dh", table))
        }


def step_alternatives(bench: Bench, denoise: Denoiser, size: int) -> dict[str, Callable[[], Tensor]]:
    """Return one step of each kind."""
    sigmas = normal_sigmas(sd_alphas(), SCHEDULE_STEPS)[TIMED_STEP : TIMED_STEP + 2].to(bench.device)
    x = _state(bench, size, sigmas[0])
    edits = bench.edits(size, sigmas)
    two_calls = TwoCalls(denoise)
    closed = EditWindow(edit_until=1e9)
    return {
        "stock": lambda: sample_euler(denoise, x, sigmas),
        "outside of the window": lambda: sample_asyrp(denoise, x, sigmas, edits["dh"], closed),
        "readout": lambda: sample_asyrp(denoise, x, sigmas, edits["readout"]),
        "dh": lambda: sample_asyrp(denoise, x, sigmas, edits["dh"]),
        "dh, two calls": lambda: sample_asyrp(two_calls, x, sigmas, edits["dh"]),
    }


def whole_runs(bench: Bench, denoise: Denoiser, size: int, steps: int) -> dict[str, float]:
    """Return the seconds of whole runs, edited in the first half of the way. The runs take turns step by step."""
    sigmas = normal_sigmas(sd_alphas(), steps).to(bench.device)
    edits = {"stock": BoundEdit(), **bench.edits(size, sigmas)}
    window = EditWindow(percent_to_sigma(sd_alphas(), WINDOW))
    states = dict.fromkeys(edits, _state(bench, size, sigmas[0]))
    seconds = dict.fromkeys(edits, 0.0)
    for i in range(steps):
        for name, edit in edits.items():

            def step(name: str = name, edit: BoundEdit = edit, part: Tensor = sigmas[i : i + 2]) -> Tensor:
                states[name] = sample_asyrp(denoise, states[name], part, edit, window)
                return states[name]

            seconds[name] += timed(bench, step)
    return seconds


def _state(bench: Bench, size: int, sigma: Tensor) -> Tensor:
    start = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(1))
    return start.to(bench.device) * sigma


def timed(bench: Bench, work: Callable[[], Tensor]) -> float:
    """Return the seconds that the work takes."""
    if bench.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = work()
    if bench.device.type == "cuda":
        torch.cuda.synchronize()
    if not bool(torch.isfinite(result).all()):
        raise RuntimeError("the network's answer is not finite")
    return time.perf_counter() - began


def medians(bench: Bench, alternatives: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each alternative; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(repeats):
        for name, work in alternatives.items():
            taken[name].append(timed(bench, work))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def peak_memory(bench: Bench, work: Callable[[], Tensor]) -> tuple[int, int]:
    """Return the bytes in use before the work, and at its peak."""
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return before, torch.cuda.max_memory_allocated()
    before = peak = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(READ_EVERY):
            peak = max(peak, _resident())

    thread = threading.Thread(target=watch)
    thread.start()
    work()
    done.set()
    thread.join()
    return before, peak


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def report(bench: Bench, denoise: Denoiser, label: str, args: argparse.Namespace) -> None:
    """Print every ratio of one network and one guidance."""
    alternatives = step_alternatives(bench, denoise, args.size)
    alternatives["stock"]()  # warm up
    seconds = medians(bench, alternatives, bench.repeats)
    print(f"{label}, one step at {args.size}x{args.size}: stock {seconds['stock']:.2f} s, {bench.repeats} rounds")
    for name, taken in seconds.items():
        if name != "stock":
            print(f"    {name:<26s}{taken / seconds['stock']:6.3f}", flush=True)
    if args.steps and denoise.guidance != 1:
        size = args.whole_size
        whole = whole_runs(bench, denoise, size, args.steps)
        print(f"{label}, {args.steps} steps at {size}x{size}, window {WINDOW}: stock {whole['stock']:.0f} s, 1 round")
        for name in ("dh", "readout"):
            print(f"    {name:<26s}{whole[name] / whole['stock']:6.3f}", flush=True)
    if bench.memory:
        if bench.device.type == "cpu":
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, SMALL_BLOCK)
        for name in ("stock", "readout", "dh", "dh, two calls"):
            before, peak = peak_memory(bench, alternatives[name])
            if name == "stock":
                stock = (before, peak)
                own_mib = (peak - before) / 2**20
                print(f"{label}, peak memory: stock {peak / 2**20:.0f} MiB, {own_mib:.0f} of them the step's own")
                continue
            own = (peak - before) / (stock[1] - stock[0])
            print(f"    {name:<26s}{peak / stock[1]:6.3f}    of the step's own {own:6.3f}", flush=True)


def run_comfyui(name: str, args: argparse.Namespace) -> None:
    """Measure a network through ComfyUI's classes and its sampling session."""
    from singular_edit.backends.find_comfyui import find_comfyui

    path = find_comfyui()
    if path is None:
        raise SystemExit("no ComfyUI found: set COMFYUI_PATH")
    sys.path.insert(0, str(path))
    import comfy.cli_args

    comfy.cli_args.args.cpu = args.device == "cpu"
    from comfyui_version import __version__
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    network = name.split("-")[0]
    bench = Bench(network, torch.device(args.device), args.repeats, args.memory)
    dtype = getattr(torch, args.dtype) if args.dtype else {"sd15": torch.float32, "sdxl": torch.bfloat16}[network]
    model = comfyui_model(network, dtype)
    for cfg in (CFG, 1.0):
        label = f"{name} {__version__}, {str(dtype).removeprefix('torch.')}, " + ("guided" if cfg > 1 else "unguided")

        def algorithm(wrapped: Any, extra_args: Any, _: Tensor, sigmas: Tensor, label: str = label) -> None:
            report(bench, ComfyDenoiser(wrapped, extra_args), label, args)

        prompts = Prompts(conditioning(network, 1), conditioning(network, 2), cfg)
        empty = torch.zeros(1, 4, args.size, args.size)
        run_in_session(model, prompts, empty, torch.tensor([14.6, 0.0]), algorithm)


def run_diffusers(name: str, args: argparse.Namespace) -> None:
    """Measure a network through diffusers' class."""
    import diffusers

    bench = Bench("sd15", torch.device(args.device), args.repeats, args.memory)
    dtype = getattr(torch, args.dtype or "float32")
    unet = diffusers_unet().to(bench.device, dtype)
    context, negative = (conditioning("sd15", seed)[0][0].to(bench.device, dtype) for seed in (1, 2))
    for cfg in (CFG, 1.0):
        denoise = DiffusersDenoiser(unet, context, negative, cfg, alphas_cumprod=sd_alphas())
        # guidance is what the denoiser says of itself.
        denoise.guidance = cfg
        label = f"{name} {diffusers.__version__}, {str(dtype).removeprefix('torch.')}, "
        report(bench, denoise, label + ("guided" if cfg > 1 else "unguided"), args)


@torch.inference_mode()
def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--size", type=int, default=64, help="side of the latent in single steps")
    parser.add_argument("--steps", type=int, default=SCHEDULE_STEPS, help="of a whole run; 0 leaves it out")
    parser.add_argument("--whole-size", type=int, default=32, help="side of the latent in a whole run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="", help="float32 for sd15 and bfloat16 for sdxl if it is not given")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    machine = (
        torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()} CPU, {args.threads} threads"
    )
    print(f"torch {torch.__version__}, {machine}; ratios to the stock sampler's step; batch 1, guidance {CFG:g} or 1")
    print(f"window {WINDOW}; python {platform.python_version()}\n", flush=True)
    for name in args.models:
        (run_comfyui if name.endswith("comfyui") else run_diffusers)(name, args)
        gc.collect()
        print(flush=True)


if __name__ == "__main__":
    main()
