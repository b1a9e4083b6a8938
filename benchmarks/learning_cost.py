"""Measure what learning a readout takes, and what the shipped numbers of it were chosen by.

    python benchmarks/learning_cost.py sizes          evaluations, memory and seconds, by size of the model
    python benchmarks/learning_cost.py quality        quality on faces 60000 and up, by number of noises
    python benchmarks/learning_cost.py batches        quality, by the states that a training step looks at
    python benchmarks/learning_cost.py places         what a place of the bottleneck teaches, against a noise
    python benchmarks/learning_cost.py states         recorded states of a noise, at equal evaluations
    python benchmarks/learning_cost.py start          where learning begins: shares of the change, and quality
    python benchmarks/learning_cost.py start_noises   how far apart the shares are that a few noises give
    python benchmarks/learning_cost.py unit           quality, by what a readout's measured scale is multiplied by
    python benchmarks/learning_cost.py calibration    progress by noises and steps that it is measured on

The embedded model is learned in earnest. SD 1.5 and SDXL are stand-ins of their shapes, which run the recipe's own code
and count how often they are called. One evaluation is one picture under one prompt. Recorded outputs are in
benchmarks/results/learning_cost.txt.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import learning_studies
import torch
from singular_edit.backends.diffusers import normal_sigmas, percent_to_sigma
from singular_edit.core import PromptDenoisers, Run, Schedule
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.hspace import learn_from_prompts
from singular_edit.core.recipes.learning_cost import LearningCost, learning_cost, plan_learning
from singular_edit.core.recipes.settings import READOUT, LearnSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import learning
from singular_edit.demo.networks import alphas_cumprod
from torch import Tensor
from torch.nn import functional as F

CHOOSING_FACES = 60_000  # the first seed of the faces that defaults are chosen on
EMBEDDED = "embedded"
# Training steps of a stand-in: few, because what it learns tells nothing.
STAND_IN_STEPS = 50


class Size(NamedTuple):
    """Shapes of a model: latent (C, H, W) and bottleneck (Ch, h, w)."""

    latent: tuple[int, int, int]
    bottleneck: tuple[int, int, int]


SIZES = {
    "SD 1.5, 512 px": Size((4, 64, 64), (1280, 8, 8)),
    "SDXL, 1024 px": Size((4, 128, 128), (1280, 32, 32)),
}


class StandIn:
    """A model of given shapes whose change under the target prompt can be read off its bottleneck; it counts rows."""

    def __init__(self, size: Size, rise: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(0)
        channels, *self.places = size.bottleneck
        self.weight = torch.randn(channels, size.latent[0], 1, 1, generator=generator)
        self.rise = rise
        self.evaluations = 0

    def __call__(self, x: Tensor, sigma: Tensor, h_edit=None) -> Tensor:
        """Predict x0."""
        self.evaluations += len(x)
        scaled = x / (1 + sigma**2) ** 0.5
        seen = F.adaptive_avg_pool2d(scaled, tuple(self.places))
        if h_edit is not None:
            h_edit(F.conv2d(seen, self.weight))
        change = F.interpolate(seen.tanh(), size=x.shape[-2:])
        return x / (1 + sigma**2) + self.rise * change


class Measured(NamedTuple):
    """What one learning took: the cost that was said before, evaluations, bytes of host memory, seconds, steps."""

    cost: LearningCost
    evaluations: int
    host_bytes: int
    seconds: float
    training_steps: int


def learn_stand_in(name: str) -> Measured:
    """Learn a readout of a stand-in at the shipped settings, in a process of its own."""
    size = SIZES[name]
    schedule = demo_schedule()
    source, target = StandIn(size), StandIn(size, rise=0.2)
    noise = starting_noises(size, 1, schedule)
    shipped = LearnSettings.for_method(READOUT)
    settings = replace(shipped, training=replace(shipped.training, steps=STAND_IN_STEPS))
    before = peak_bytes()
    began = time.perf_counter()
    plan = plan_learning(source, settings, schedule, noise, 1)
    noise = starting_noises(size, plan.settings.samples, schedule)
    learned = learn_from_prompts(PromptDenoisers(source, target), noise, schedule, plan.settings, run=Run(1))
    return Measured(
        plan.cost,
        source.evaluations + target.evaluations,
        peak_bytes() - before,
        time.perf_counter() - began,
        len(learned.losses),
    )


def learn_embedded(name: str) -> Measured:
    """Learn a readout of the embedded model at the shipped settings, in a process of its own."""
    model = loader.load("cpu")
    counted = [0]
    whole = model.unet.forward

    def forward(x: Tensor, *args, **options):
        counted[0] += len(x)
        return whole(x, *args, **options)

    model.unet.forward = forward
    before = peak_bytes()
    began = time.perf_counter()
    plan = learning.learning_plan(model, "glasses", LearnSettings.for_method(READOUT))
    learned = learning.learned_readout(model, "glasses", plan.settings)
    seconds = time.perf_counter() - began
    return Measured(plan.cost, counted[0], peak_bytes() - before, seconds, len(learned.losses))


def demo_schedule() -> Schedule:
    """Return SD 1.x's own schedule, 25 steps, which is the embedded model's too."""
    alphas = alphas_cumprod()

    def to_sigma(percent: float) -> float:
        return percent_to_sigma(alphas, percent)

    return Schedule(normal_sigmas(alphas, defaults.STEPS), to_sigma)


def starting_noises(size: Size, count: int, schedule: Schedule) -> Tensor:
    """Draw starting noises of a size."""
    drawn = torch.randn(count, *size.latent, generator=torch.Generator().manual_seed(0))
    return drawn * torch.sqrt(1 + schedule.sigmas[0] ** 2)


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_sizes(args: argparse.Namespace) -> None:
    """Print evaluations, memory and seconds by size, and what other methods are said to take."""
    print("learning a readout at the shipped settings; said before / found")
    print(f"{'':<16s} {'noises':>7s} {'evaluations':>15s} {'host MB':>13s} {'training steps':>15s} {'seconds':>8s}")
    for name in (EMBEDDED, *SIZES):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as own_process:
            m = own_process.submit(learn_embedded if name == EMBEDDED else learn_stand_in, name).result()
        said = m.cost
        print(
            f"{name:<16s} {said.samples:7d} {said.evaluations:7,d}/{m.evaluations:7,d} "
            f"{said.host_bytes / 1e6:6.0f}/{m.host_bytes / 1e6:6.0f} {m.training_steps:15d} {m.seconds:8.1f}",
            flush=True,
        )
    print(
        f"{torch.get_num_threads()} thread(s). A stand-in takes next to no time, so its seconds are those of "
        f"{STAND_IN_STEPS} training steps.\nWhat other methods take at the shipped settings, as said before:"
    )
    schedule = demo_schedule()
    for name, size in SIZES.items():
        cost = learning_cost(LearnSettings.for_method("combined"), schedule, size.latent, size.bottleneck)
        print(f"{name}, combined: {cost.text()}")


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    sizes = commands.add_parser("sizes")
    sizes.set_defaults(run=run_sizes)

    quality = commands.add_parser("quality")
    quality.add_argument("--samples", type=int, nargs="+", default=[128, 256, 512])
    quality.set_defaults(run=learning_studies.run_quality)

    batches = commands.add_parser("batches")
    batches.add_argument("--model", default="transformer", help="the name of an embedded model, or a folder")
    batches.add_argument("--batches", type=int, nargs="+", default=[4, 16])
    batches.set_defaults(run=learning_studies.run_batches)

    unit = commands.add_parser("unit")
    unit.add_argument("--model", default="unet", help="the name of an embedded model, or a folder")
    unit.add_argument("--times", type=float, nargs="+", default=[1.1, 1.3, 1.5, 1.7])
    unit.set_defaults(run=learning_studies.run_unit)

    start = commands.add_parser("start")
    start.add_argument("--noise-seed", type=int, default=0, help="of the noises that shares are measured on")
    start.set_defaults(run=learning_studies.run_start)
    for command in (quality, batches, start, unit):
        command.add_argument("--count", type=int, default=48, help="faces")
        command.add_argument("--first-seed", type=int, default=CHOOSING_FACES, help="seed of the first face")

    places = commands.add_parser("places")
    places.add_argument("--samples", type=int, nargs="+", default=[48, 96, 192, 384])
    places.add_argument("--places", type=int, nargs="+", default=[4, 8, 16])
    places.add_argument("--count", type=int, default=64, help="unseen noises")
    places.set_defaults(run=learning_studies.run_places)

    states = commands.add_parser("states")
    states.add_argument("--states", type=int, nargs="+", default=[1, 2, 3, 5])
    states.add_argument("--evaluations", type=int, nargs="+", default=[700, 1400, 2200])
    states.add_argument("--count", type=int, default=32, help="unseen noises")
    states.set_defaults(run=learning_studies.run_states)

    calibration = commands.add_parser("calibration")
    calibration.add_argument("--count", type=int, default=32, help="noises")
    calibration.set_defaults(run=learning_studies.run_calibration)

    start_noises = commands.add_parser("start_noises")
    start_noises.add_argument("--model", default="unet", help="the name of an embedded model, or a folder")
    start_noises.add_argument("--count", type=int, default=96, help="noises")
    start_noises.add_argument("--groups", type=int, nargs="+", default=[8, 16, 32], help="multiples of the first")
    start_noises.add_argument("--noise-seed", type=int, default=7)
    start_noises.set_defaults(run=learning_studies.run_start_noises)

    for command in (quality, batches, start, start_noises, unit, places, states, calibration):
        command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
