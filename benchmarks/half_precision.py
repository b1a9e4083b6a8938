"""Check what fixed_point reports of models in half precision: ``python benchmarks/half_precision.py``.

Small random models of five families (ComfyUI's own classes, on the CPU) invert random latents in float32, float16 and
bfloat16, at several guidances and qualities, by euler and by heun. Each state that an inversion leaves is then stepped
once more in a sampling session of its own, which gives the residual that the step really has. The table says for each
family and precision

- off by: the largest factor between the residual that the report names and the real one, of all steps;
- residual: the largest real residual, and in brackets the largest of an unsolved step as a multiple of what the report
  says that the precision reaches at worst; steps that float32 does not solve either are left out of it;
- calls/step: model calls of the inversions;
- way back: the largest relative error of the picture that comes back from a stock step in float32, and that of ddim;
- unsaid: inversions whose picture comes back worse than by ddim although the report names no unsolved step.

A recorded output is in benchmarks/results/half_precision.txt.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

import torch
from singular_edit.backends.find_comfyui import find_comfyui
from singular_edit.core import QUALITIES, Denoiser, ddim_inversion, fixed_point_inversion, sample
from singular_edit.core.inversion import fixed_point
from singular_edit.core.samplers import sampler_named
from small_models import conditioning, latent, tiny
from torch import Tensor

FAMILIES = ("sd15", "sd2_v", "sdxl", "sd3", "flux")
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)
SIZE = (8, 8)
# A residual this small is the rounding of float64, of which no ratio is taken.
SMALLEST = 1e-12


class Setting(NamedTuple):
    """How a latent is inverted, and which one."""

    quality: str
    sampler: str
    cfg: float
    seed: int


@dataclass
class Row:
    """What the inversions of one family and precision came to.

    Attributes:
        unsolvable: The steps that the first precision, float32, left unsolved, by setting.
    """

    unsolvable: dict[Setting, set[int]]
    count: int = 0
    off_by: float = 1.0
    residual: float = 0.0
    beyond: float = 0.0
    calls: list[float] = field(default_factory=list)
    way_back: float = 0.0
    ddim: float = 0.0
    unsaid: int = 0

    def text(self) -> str:
        """Return the row's numbers."""
        calls = sum(self.calls) / len(self.calls)
        return (
            f"{self.count:10d}{self.off_by:9.2f}{self.residual:11.1e} ({self.beyond:4.2f}){calls:12.1f}"
            f"{self.way_back:11.1e}{self.ddim:9.1e}{self.unsaid:8d}"
        )


def relative(x: Tensor, wanted: Tensor) -> float:
    """Return the largest relative distance of a sample."""
    off = (x.double() - wanted.double()).flatten(1).norm(dim=1)
    return float((off / wanted.double().flatten(1).norm(dim=1)).max())


def real_residuals(denoise: Denoiser, states: dict[int, Tensor], sigmas: Tensor, sampler: str) -> list[float]:
    """Step each state of an inversion once, and return how far the step misses the next state."""
    residuals = []
    method = sampler_named(sampler)
    levels = sigmas.double()

    def single(x: Tensor, sigma: Tensor, h_edit: Any = None) -> Tensor:
        return denoise(x.float(), sigma.float()).double()

    for i in range(len(sigmas) - 1):
        slope, _ = method.slope(single, states[i], levels, i, None)
        residuals.append(relative(states[i] + (levels[i + 1] - levels[i]) * slope, states[i + 1]))
    return residuals


def check(row: Row, model: Any, family: str, setting: Setting) -> None:
    """Invert once, and add what came of it to the row."""
    from comfy_extras.nodes_custom_sampler import BasicScheduler
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    quality, sampler, cfg, seed = setting
    sigmas = BasicScheduler().get_sigmas(model, "normal", 6, 1.0)[0]
    states: dict[int, Tensor] = {}

    def invert(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> Any:
        states[len(schedule) - 1] = x.double()

        def keep(i: int, state: Tensor) -> None:
            states[i] = state.double()

        denoise = ComfyDenoiser(wrapped, extra_args)
        code, report = fixed_point_inversion(
            denoise, x, schedule, QUALITIES[quality], sampler=sampler, measured=True, callback=keep
        )
        return x, code, report, ddim_inversion(denoise, x, schedule)[0]

    def way_back(wrapped: Any, extra_args: dict[str, Any], _: Tensor, schedule: Tensor) -> Any:
        denoise = ComfyDenoiser(wrapped, extra_args)
        residuals = real_residuals(denoise, states, schedule, sampler)
        return residuals, sample(denoise, code, schedule, sampler), sample(denoise, explicit, schedule, "euler")

    prompts = Prompts(conditioning(family, 2 * seed), conditioning(family, 2 * seed + 1), cfg)
    picture = latent(family, SIZE, seed)["samples"][:1]
    x, code, report, explicit = run_in_session(model, prompts, picture, sigmas, invert)
    real, rebuilt, drifted = run_in_session(model, prompts, picture, sigmas, way_back)
    for said, found in zip(report.residuals, real, strict=True):
        low, high = sorted((max(said, SMALLEST), max(found, SMALLEST)))
        row.off_by = max(row.off_by, high / low)
    row.count += 1
    row.residual = max(row.residual, *real)
    unsolvable = row.unsolvable.setdefault(setting, set(report.capped))
    for i in set(report.capped) - unsolvable:
        row.beyond = max(row.beyond, real[i] / report.reach)
    row.calls.append(report.calls / report.steps)
    errors = relative(rebuilt, x), relative(drifted, x)
    row.way_back = max(row.way_back, errors[0])
    row.ddim = max(row.ddim, errors[1])
    row.unsaid += errors[0] > errors[1] and "not solved" not in report.text()


def main() -> None:
    """Print a row for each family and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2, help="random latents for each setting")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES, metavar="NAME")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 5.0])
    parser.add_argument("--patience", type=int, default=fixed_point.ROUNDING_PATIENCE, help="where rounding is reached")
    args = parser.parse_args()
    fixed_point.ROUNDING_PATIENCE = args.patience
    comfyui = find_comfyui()
    if comfyui is None:
        raise SystemExit("no ComfyUI found: set COMFYUI_PATH")
    sys.path.insert(0, str(comfyui))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    print(f"{'':22s}inversions   off by   residual        calls/step   way back     ddim  unsaid")
    total = 0
    settings = [*product(QUALITIES, ["euler"]), ("good", "heun")]
    with torch.inference_mode():
        for family, dtype in product(args.families, PRECISIONS):
            model = tiny(family, dtype=dtype)
            if dtype == PRECISIONS[0]:
                unsolvable: dict[Setting, set[int]] = {}
            row = Row(unsolvable)
            for (quality, sampler), cfg, seed in product(settings, args.guidance, range(args.count)):
                check(row, model, family, Setting(quality, sampler, cfg, seed))
            total += row.count
            print(f"{family:8s}{str(dtype).removeprefix('torch.'):14s}{row.text()}", flush=True)
    print(f"\n{total} inversions")


if __name__ == "__main__":
    main()
