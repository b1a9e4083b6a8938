"""Measure h-space on an embedded model: the U-Net, or with ``--model transformer`` the transformer.

    python benchmarks/hspace.py properties    the paper's five properties (arXiv 2210.10960, section 5), by direction
    python benchmarks/hspace.py edits         each attribute at the shipped defaults, beside its baselines
    python benchmarks/hspace.py strengths     beyond the learned scale: more of dh, or more of its effect
    python benchmarks/hspace.py schedule      editing strength and quality deficiency, on which thresholds are set

Directions are read from what ``singular-edit evaluate`` leaves, with --directions, or learned as it learns them
(hspace_directions.py).
Pictures are held-out renders without the attribute, inverted; *success* is the share in which the judge sees it.
Recorded outputs are in benchmarks/results/hspace.txt.
"""

from __future__ import annotations

import argparse

import hspace_directions
import hspace_edits
import hspace_properties
from singular_edit.backends.perceptual import distance_named
from singular_edit.core import EditWindow, HDirection, sample_asyrp
from singular_edit.core.hspace.edit_schedule import edit_curves, record_rebuild
from singular_edit.core.hspace.strength import BoundEdit, bottleneck_edit
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.demo import loader
from singular_edit.demo.evaluation import learning
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

CHOOSING_FACES = 60_000  # the first seed of the faces that defaults are chosen on


def run_strengths(args: argparse.Namespace) -> None:
    """Print scores beyond the scale that was learned, with more of dh and with more of its effect."""
    model = loader.load(name=args.model)
    for name in args.attributes:
        direction = hspace_directions.moving_h(model, name, args)
        s = Session(model, model.sample(range(args.first_seed, args.first_seed + args.count)), name)
        print(f"{name:<34s}" + HEADER[34:])
        for strength in args.strengths:
            ways = {"learned": (1.0, 1.0)} if strength == 1 else {"dh": (strength, 1.0), "effect": (1.0, strength)}
            for label, (of_dh, of_effect) in ways.items():
                pictures = scaled_edit(s, direction, of_dh, of_effect)
                print(score(s, pictures).row(f"{label} times {strength:g}"), flush=True)
        print()


def scaled_edit(s: Session, direction: HDirection, of_dh: float, of_effect: float) -> Tensor:
    """Edit the session's pictures with multiples of dh and of its effect; pictures [B, 3, side, side]."""
    window = EditWindow(s.model.percent_to_sigma(EditSettings().edit_percent), edit_from=direction.start)
    bound = BoundEdit(bottleneck_edit(direction, of_dh, s.sigmas, window), of_effect)
    return s.model.decode(sample_asyrp(s.denoiser(layer=direction.layer), s.code, s.sigmas, bound, window))


def run_schedule(args: argparse.Namespace) -> None:
    """Print how near predictions and states come to the picture along the schedule."""
    model = loader.load(name=args.model)
    x0 = model.encode(model.render(model.sample(range(HELD_OUT, HELD_OUT + args.count))))
    schedule = learning.schedule(model)
    denoise = model.denoiser(model.source, cfg=defaults.EDIT_GUIDANCE)
    states, predictions = record_rebuild(denoise, x0, schedule.sigmas)

    def decode(x: Tensor) -> Tensor:
        return model.decode(x.to(model.device)).cpu()

    found = edit_curves(
        states,
        predictions,
        x0.cpu(),
        schedule.sigmas.cpu(),
        percent_to_sigma=schedule.percent_to_sigma,
        decode=decode,
        distance=distance_named("ms-ssim"),
    )
    print(f"{args.count} held-out renders under '{model.source}', guidance {defaults.EDIT_GUIDANCE:g}; 1 - MS-SSIM")
    print("progress   sigma  dist(x, P_t)  editing strength  dist(x, x_t)")
    sigmas = schedule.sigmas[:-1].tolist()
    for percent, sigma, predicted, strength, noisy in zip(
        found.percents, sigmas, found.predicted, found.strengths, found.noisy, strict=True
    ):
        print(f"{percent:8.3f}{sigma:8.3f}{predicted:14.4f}{strength:18.4f}{noisy:14.4f}")


def main() -> None:
    """Run the command that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    properties = commands.add_parser("properties")
    hspace_directions.add_arguments(properties)
    properties.add_argument("--samples-mean", type=int, default=32, help="noises that mean directions are taken over")
    properties.add_argument("--steps-compared", type=int, nargs="+", default=[10, 25, 50])
    properties.set_defaults(run=hspace_properties.run)

    strengths = commands.add_parser("strengths")
    hspace_directions.add_arguments(strengths)
    strengths.add_argument("--strengths", type=float, nargs="+", default=[1.0, 1.3, 1.6, 2.0, 2.5])
    strengths.add_argument(
        "--first-seed", type=int, default=CHOOSING_FACES, help="seed of the first face; not one that is reported"
    )
    strengths.set_defaults(run=run_strengths)

    schedule = commands.add_parser("schedule")
    hspace_directions.add_model_argument(schedule)
    schedule.set_defaults(run=run_schedule)

    shipped = commands.add_parser("edits")
    hspace_edits.add_arguments(shipped)

    for command, count in ((properties, 48), (strengths, 48), (schedule, 16), (shipped, 48)):
        command.add_argument("--count", type=int, default=count, help="held-out faces")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
