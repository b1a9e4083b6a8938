"""What the shipped numbers of learning a readout were chosen by: commands of benchmarks/learning_cost.py.

All of them learn on the embedded model.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from singular_edit.core import EditWindow, Run, sample_endpoints
from singular_edit.core.fitting import EarlyStop, fit
from singular_edit.core.hspace import prediction_changes
from singular_edit.core.hspace.calibration import READOUT_UNIT, edited_pictures, measured_sigmas
from singular_edit.core.hspace.learn_readout import HELD_OUT, WEIGHT_DECAY, learn_readout
from singular_edit.core.hspace.prediction_changes import PredictionChanges, learned_steps, record_prediction_changes
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import READOUT, LearnSettings
from singular_edit.core.recipes.start import start_shares
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.evaluated import open_model
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session, starting_noise
from torch import Tensor
from torch.nn import functional as F

# Where the studies of a readout's parts begin, for every attribute alike.
LATEST_START = defaults.START_PERCENTS[-1]
START_NOISES = 32  # that run_start measures shares on, as many as learning on the embedded U-Net does
TEST_SEED = 1  # of the noises that held-out errors are computed on; the others are drawn from seed 0


def run_quality(args: argparse.Namespace) -> None:
    """Print the quality of edits by the number of noises, all else as shipped."""
    model = loader.load()
    print(f"{args.count} faces from seed {args.first_seed}; seconds on {torch.get_num_threads()} thread(s)")
    for name in args.attributes:
        s = Session(model, faces.sample(range(args.first_seed, args.first_seed + args.count)), name)
        print(f"{name:<34s}" + HEADER[34:] + f"{'steps':>7s}{'seconds':>9s}")
        for samples in args.samples:
            settings = replace(LearnSettings.for_method(READOUT), samples=samples)
            evaluations = learning.learning_plan(model, name, settings).cost.evaluations
            began = time.perf_counter()
            learned = learning.learned_readout(model, name, settings)
            seconds = time.perf_counter() - began
            scored = score(s, edits.asyrp(s, learned.direction))
            label = f"{samples} noises, {evaluations:,} evaluations"
            print(scored.row(label) + f"{len(learned.losses):7d}{seconds:9.1f}", flush=True)


def run_unit(args: argparse.Namespace) -> None:
    """Print the quality of edits by what the measured scale of a readout is multiplied by (READOUT_UNIT.times).

    Each readout is also measured where it lifts nothing (core/hspace/readout.py), at the same scales.
    """
    model = open_model(args.model)
    print(f"{args.count} faces from seed {args.first_seed}, traced")
    for name in args.attributes:
        s = Session(model, model.sample(range(args.first_seed, args.first_seed + args.count)), name, traced=True)
        print(f"{name:<34s}" + HEADER[34:])
        shipped = learning.readout(model, name)
        assert isinstance(shipped, Readout)
        for label, readout in (("", shipped), (", nothing lifted", shipped.with_peak(None))):
            for times in args.times:
                edited = edits.asyrp(s, readout.scaled(times / READOUT_UNIT.times))
                print(score(s, edited).row(f"scale times {times:g}{label}"), flush=True)


def run_batches(args: argparse.Namespace) -> None:
    """Print the quality of edits by the states that a training step looks at, all else as shipped."""
    model = open_model(args.model)
    print(f"{args.count} faces from seed {args.first_seed}, traced; scale: what the unit of strength multiplied by")
    for name in args.attributes:
        s = Session(model, model.sample(range(args.first_seed, args.first_seed + args.count)), name, traced=True)
        print(f"{name:<34s}" + HEADER[34:] + f"{'scale':>7s}{'steps':>7s}")
        for batch in args.batches:
            settings = LearnSettings.for_method(READOUT)
            settings = replace(settings, training=replace(settings.training, batch=batch))
            learned = learning.learned_readout(model, name, settings)
            scored = score(s, edits.asyrp(s, learned.direction))
            row = scored.row(f"{batch} states a training step")
            print(row + f"{learned.scale:7.2f}{len(learned.losses):7d}", flush=True)


def run_start(args: argparse.Namespace) -> None:
    """Print what share of its change the target prompt makes from each start, and the quality of edits from there."""
    model = loader.load()
    schedule = learning.schedule(model)
    print(
        f"{args.count} faces from seed {args.first_seed}; share: of the target prompt's change, {START_NOISES} noises"
    )
    for name in args.attributes:
        s = Session(model, faces.sample(range(args.first_seed, args.first_seed + args.count)), name, traced=True)
        both = learning.prompts(model, name, LearnSettings.for_method(READOUT).cfg)
        noise = starting_noise(model, START_NOISES, args.noise_seed, schedule.sigmas)
        print(f"{name:<34s}" + HEADER[34:])
        for start in start_shares(both, noise, schedule):
            settings = replace(LearnSettings.for_method(READOUT), start_percent=start.percent)
            edited = edits.asyrp(s, learning.readout(model, name, settings))
            print(score(s, edited).row(f"start {start.percent:g}, share {start.share:.2f}"), flush=True)


def run_start_noises(args: argparse.Namespace) -> None:
    """Print how far apart the shares from the latest start are that different noises give."""
    model = open_model(args.model)
    schedule = learning.schedule(model)
    run = Run(args.groups[0], model.device)
    print(f"share from {LATEST_START:g} on, {args.count} noises: mean; lowest to highest of groups")
    for name in args.attributes:
        both = learning.prompts(model, name, LearnSettings.for_method(READOUT).cfg)
        noise = starting_noise(model, args.count, args.noise_seed, schedule.sigmas)
        few = noise.split(args.groups[0])
        shares = torch.tensor([start_shares(both, part, schedule, run=run)[-1].share for part in few])
        cells = [f"{shares.mean():.2f}"]
        for size in args.groups:
            means = shares.unflatten(0, (-1, size // args.groups[0])).mean(1)
            cells.append(f"{size} noises {means.min():.2f} to {means.max():.2f}")
        print(f"{name:<10s}" + "; ".join(cells), flush=True)


def record(model: loader.DemoModel, name: str, count: int, seed: int = 0) -> PredictionChanges:
    """Record what an attribute's readout is learned from."""
    settings = LearnSettings.for_method(READOUT)
    schedule = learning.schedule(model)
    prompts = learning.prompts(model, name, settings.cfg)
    return record_prediction_changes(
        prompts.source,
        prompts.target,
        starting_noise(model, count, seed, schedule.sigmas),
        schedule.sigmas,
        branch_sigma=schedule.sigma_at(LATEST_START),
        end_sigma=schedule.sigma_at(settings.end_percent),
        seed=seed,
        run=Run(learning.BATCH, model.device),
    )


def fit_to_places(changes: PredictionChanges, places: int) -> Readout:
    """Fit a readout to some random places of each noise's bottleneck alone, by the shipped settings."""
    training = LearnSettings.for_method(READOUT).training
    generator = torch.Generator().manual_seed(training.seed)
    side = changes.h.shape[-1]
    factor = changes.change.shape[-1] // side
    rms = float(changes.change.float().square().mean().sqrt())
    order = torch.rand(int(changes.noise.max()) + 1, side * side, generator=generator).argsort(dim=1)
    seen = (order < places).float().view(-1, 1, side, side)[changes.noise]
    seen = F.interpolate(seen, scale_factor=factor)
    readout = Readout.fresh(
        changes.h.shape[1],
        changes.change.shape[1],
        factor,
        float(changes.h.float().std()),
        changes.sigmas,
        generator=generator,
        info={},
    )
    held_out = changes.noise % HELD_OUT == HELD_OUT - 1

    def error(rows: Tensor, dropout: torch.Generator | None) -> Tensor:
        read = readout.change(changes.h[rows], changes.sigma[rows], changes.change.shape[-2:], dropout)
        return (seen[rows] * (read - changes.change[rows].float() / rms)).square().mean() / seen[rows].mean()

    learned_rows = (~held_out).nonzero().flatten()

    def loss(step: int) -> Tensor:
        return error(learned_rows[torch.randint(len(learned_rows), (training.batch,), generator=generator)], generator)

    def held_out_loss() -> float:
        return float(error(held_out.nonzero().flatten(), None))

    trained = {name: tensor for name, tensor in readout.tensors.items() if name != "scale"}
    fit(trained, loss, training, stop=EarlyStop(held_out_loss), weight_decay=WEIGHT_DECAY)
    return readout.scaled(rms)


def relative_error(readout: Readout, changes: PredictionChanges) -> float:
    """Return the mean square error of a readout, relative to reading nothing."""
    change = changes.change.float()
    with torch.no_grad():
        read = readout.change(changes.h, changes.sigma, change.shape[-2:])
    return float((read - change).square().sum() / change.square().sum())


def first_noises(changes: PredictionChanges, count: int) -> PredictionChanges:
    """Return what was recorded of the first noises alone."""
    rows = changes.noise < count
    return PredictionChanges(
        changes.sigmas, changes.h[rows], changes.change[rows], changes.sigma[rows], changes.noise[rows]
    )


def run_places(args: argparse.Namespace) -> None:
    """Print the error on unseen noises by the number of noises and of places that each of them shows."""
    model = loader.load("cpu")
    print("error on noises not learned from, relative to reading nothing; places of each bottleneck that are learned")
    for name in args.attributes:
        recorded = record(model, name, max(args.samples))
        unseen = record(model, name, args.count, TEST_SEED)
        print(f"{name:<10s}" + "".join(f"{places:>4d} places" for places in args.places))
        for samples in args.samples:
            some = first_noises(recorded, samples)
            errors = [relative_error(fit_to_places(some, places), unseen) for places in args.places]
            print(f"{samples:4d} noises" + "".join(f"{error:11.3f}" for error in errors), flush=True)


def run_states(args: argparse.Namespace) -> None:
    """Print the error on unseen noises by the steps of a noise that are recorded, at equal evaluations."""
    model = loader.load("cpu")
    settings = LearnSettings.for_method(READOUT)
    print("error on noises not learned from, relative to reading nothing (noises); by recorded states of a noise")
    shipped = prediction_changes.STATES
    for name in args.attributes:
        prediction_changes.STATES = learning.schedule(model).sigmas.numel()  # every step of the unseen ones
        unseen = record(model, name, args.count, TEST_SEED)
        for states in args.states:
            prediction_changes.STATES = states
            cells = []
            for evaluations in args.evaluations:
                samples = noises_for(model, name, evaluations)
                readout, _ = learn_readout(record(model, name, samples), settings.training)
                cells.append(f"{relative_error(readout, unseen):.3f} ({samples})")
            print(f"{name:<8s} {states} states, {args.evaluations} evaluations: " + ", ".join(cells), flush=True)
    prediction_changes.STATES = shipped


def noises_for(model: loader.DemoModel, name: str, evaluations: int) -> int:
    """Return how many noises are recorded in so many evaluations, a multiple of 8."""

    def taken(samples: int) -> int:
        settings = replace(LearnSettings.for_method(READOUT), samples=samples, calibration_noises=0)
        return learning.learning_plan(model, name, settings).cost.evaluations

    return max(samples for samples in range(8, 1024, 8) if taken(samples) <= evaluations)


def run_calibration(args: argparse.Namespace) -> None:
    """Print the progress of one readout by noises and steps that it is measured on."""
    model = loader.load()
    settings = LearnSettings.for_method(READOUT)
    schedule = learning.schedule(model)
    branch_sigma = schedule.sigma_at(LATEST_START)
    end_sigma = schedule.sigma_at(settings.end_percent)
    noise = starting_noise(model, args.count, 0, schedule.sigmas)
    few = measured_sigmas(schedule.sigmas, *learned_steps(schedule.sigmas, branch_sigma, end_sigma))
    print("progress at scale 1; all noises, and groups of 16 and of 8 of them; evaluations of one round on 16 noises")
    for name in args.attributes:
        source, target, _ = learning.prompts(model, name, settings.cfg)
        readout, _ = learn_readout(record(model, name, 96), settings.training)
        window = EditWindow(end_sigma, edit_from=readout.start)
        for label, sigmas in (("all steps", schedule.sigmas), ("few steps", few)):
            run = Run(learning.BATCH, model.device)
            ends = sample_endpoints(source, target, noise, sigmas, branch_sigma=branch_sigma, run=run)
            way = (ends.target - ends.source).flatten(1)
            moved = edited_pictures(source, readout, 1.0, ends, window=window, run=run) - ends.source
            along = (moved.flatten(1) * way).sum(dim=1)
            length = way.square().sum(dim=1)
            groups = [
                " ".join(
                    f"{float(along[part].sum() / length[part].sum()):.2f}" for part in torch.arange(args.count).split(n)
                )
                for n in (args.count, 16, 8)
            ]
            print(f"{name:<8s} {label}  {' | '.join(groups)} | {16 * (len(ends.sigmas) - 1)}", flush=True)
