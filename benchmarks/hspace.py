"""h-space on the embedded model, as numbers.

    python benchmarks/hspace.py properties    the paper's five properties (arXiv 2210.10960, section 5), a table a direction
    python benchmarks/hspace.py edits         each attribute at the shipped default, beside its baselines
    python benchmarks/hspace.py strengths     beyond strength 1: more of dh, or more of its effect
    python benchmarks/hspace.py schedule      the course of editing strength and quality deficiency that thresholds are set on

Directions are learned as ``singular-edit demo`` learns them, or read from its output with --directions. Pictures are
held-out renders without the attribute, inverted; *success* is the share in which the judge sees it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hspace_edits
import torch
from singular_edit.backends.perceptual import distance_named
from singular_edit.core import (
    EditWindow,
    HDirection,
    RandomDirection,
    combine_directions,
    load_hdirection,
    mean_direction,
    mean_over_steps,
    sample_asyrp,
    step_cosines,
)
from singular_edit.core.hspace.edit_schedule import edit_curves, record_rebuild
from singular_edit.core.hspace.properties import ShiftedInX, denoising_error, linearity, mean_pairwise_cosine, r_squared
from singular_edit.core.hspace.strength import bottleneck_edit
from singular_edit.core.recipes import defaults
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import SOURCE, Session, starting_noise
from singular_edit.demo.words import caption
from torch import Tensor

SEED = 50_000
STRENGTHS = (0.5, 1.0, 1.5, 2.0)  # and the same below 0
ERROR_SIGMA = 0.5  # where the model's denoising error judges quality


def edited_latents(
    s: Session,
    direction: HDirection,
    strength: float = defaults.H_STRENGTH,
    steps: int = defaults.STEPS,
    seed_in_x: int | None = None,
) -> Tensor:
    """The session's pictures edited along a direction: latents in model space. seed_in_x: by noise beside h-space instead."""
    if steps != s.steps:
        key = ("resampled", steps)
        if key not in s.codes:
            s.codes[key] = Session(s.model, s.faces, s.attribute, s.cfg, steps, s.has_attribute)
        s = s.codes[key]
    return edits.asyrp_latents(
        s, direction, strength, denoise=None if seed_in_x is None else ShiftedInX(s.denoiser(), seed_in_x)
    )


class Judge:
    """Scores of latents: the judge's logits, and shares."""

    def __init__(self, model: loader.DemoModel, attribute: str):
        self.model, self.index = model, faces.ATTRIBUTES.index(attribute)

    def logits(self, latents: Tensor) -> Tensor:
        return self.model.logits(self.model.decode(latents))[:, self.index].cpu()

    def success(self, latents: Tensor) -> float:
        return float((self.logits(latents) > 0).float().mean())

    def kept(self, latents: Tensor, drawn: faces.Faces) -> float:
        seen = self.model.judged(self.model.decode(latents)).cpu()
        others = [i for i in range(len(faces.ATTRIBUTES)) if i != self.index]
        return float((seen == drawn.attributes)[:, others].float().mean())


def learned_mean(model: loader.DemoModel, direction: HDirection, count: int, seed: int):
    """mean_t of a direction over fresh noises, under the prompt and window it was learned with."""
    sigmas = model.sigmas(defaults.STEPS)
    window = EditWindow(model.percent_to_sigma(defaults.LEARN_PERCENT), edit_from=direction.start)
    return mean_direction(
        model.denoiser(SOURCE),
        direction,
        starting_noise(model, count, seed, sigmas),
        sigmas,
        window,
        batch=16,
        device=model.device,
    )


def properties(
    model: loader.DemoModel,
    attribute: str,
    direction: HDirection,
    other: tuple[str, HDirection],
    args: argparse.Namespace,
) -> None:
    s, judge = Session(model, faces.sample(range(SEED, SEED + args.count)), attribute), Judge(model, attribute)
    row = lambda name, text: print(f"  {name:<17s}{text}", flush=True)
    print(
        f"\n{attribute}: {direction.info.get('method', direction.kind)}, {args.count} held-out faces without it, strength {defaults.H_STRENGTH:g}"
    )
    plain, own = edited_latents(s, direction, 0.0), edited_latents(s, direction)
    before, after = judge.success(plain), judge.success(own)

    mean = learned_mean(model, direction, args.samples_mean, args.seed + 1)
    flat, by_mean = mean_over_steps(mean), edited_latents(s, mean)
    row(
        "homogeneity",
        f"success {after:.2f} (unedited {before:.2f}); with the mean of {args.samples_mean} other faces' dh {judge.success(by_mean):.2f}; "
        f"cosine of the changes of different faces {mean_pairwise_cosine(own - plain):.2f}",
    )

    # An attribute that is not there cannot be taken away: strengths below 0 are measured on the same faces with it.
    has_attribute = Session(model, s.faces, attribute, has_attribute=True)
    ways = {"adding": (s, 1), "removing": (has_attribute, -1)}
    for way, (session, sign) in ways.items():
        strengths = torch.tensor([0.0, *(sign * strength for strength in STRENGTHS)])
        scores = torch.stack(
            [
                judge.logits(plain if session is s and strength == 0 else edited_latents(session, direction, strength))
                for strength in strengths.tolist()
            ]
        )
        row(
            "linearity" if session is s else "",
            f"{way}: Spearman {linearity(scores, strengths):.2f} (mean over faces), {linearity(scores.mean(dim=1, keepdim=True), strengths):.2f} (mean score), "
            f"R^2 of a line {r_squared(scores, strengths):.2f}; mean score "
            + ", ".join(
                f"{strength:+g}: {value:.1f}"
                for strength, value in zip(strengths.tolist(), scores.mean(dim=1).tolist())
            ),
        )

    name, second = other
    both = Session(model, s.faces.with_attributes(**{name: False}), attribute)
    together, parts = (
        edited_latents(both, combine_directions([(1.0, direction), (1.0, second)])),
        (edited_latents(both, direction), edited_latents(both, second)),
    )
    judges = (judge, Judge(model, name))
    row(
        "compositionality",
        f"with {name}: "
        + ", ".join(
            f"{label} {j.success(together):.2f} (alone {j.success(part):.2f})"
            for label, j, part in zip((attribute, name), judges, parts)
        ),
    )

    sigma, denoise = torch.tensor(ERROR_SIGMA, device=model.device), model.denoiser(SOURCE)
    error = lambda latents: float(denoising_error(denoise, latents, sigma).mean())
    swap = error(model.encode(edits.prompt_swap(s)))
    random, beside = (
        edited_latents(s, RandomDirection(direction, args.seed)),
        edited_latents(s, direction, seed_in_x=args.seed),
    )
    row(
        "robustness",
        f"denoising error {error(own):.3f}; unedited {error(plain):.3f}, prompt swap {swap:.3f}, random direction {error(random):.3f}, as much noise in x0 {error(beside):.3f}",
    )
    row(
        "",
        f"others kept {judge.kept(own, s.faces):.2f}; random direction {judge.kept(random, s.faces):.2f}, as much noise in x0 {judge.kept(beside, s.faces):.2f}",
    )

    cosines = step_cosines(mean)
    off = (cosines.sum() - len(cosines)) / max(len(cosines) * (len(cosines) - 1), 1)
    row(
        "consistency",
        f"cosine between steps: mean {off:.2f}, least {cosines.min():.2f}; success with dh each picture's own {after:.2f}, mean_t {judge.success(by_mean):.2f}, "
        f"one map for all steps {judge.success(edited_latents(s, flat)):.2f}",
    )
    row(
        "",
        "success at steps "
        + ", ".join(
            f"{steps}: {judge.success(own if steps == s.steps else edited_latents(s, direction, steps=steps)):.2f}"
            for steps in args.steps_compared
        ),
    )


def learned(model: loader.DemoModel, args: argparse.Namespace) -> dict[str, HDirection]:
    """A direction an attribute: from the files of args.directions, or learned anew."""
    directions = {}
    for attribute in args.attributes:
        if args.directions:
            directions[attribute] = load_hdirection(args.directions / f"{attribute}.h.safetensors")
        else:
            recorded = edits.trajectories(model, attribute, args.samples, args.seed)
            directions[attribute] = edits.h_direction(
                model, attribute, recorded, args.method, args.steps, seed=args.seed
            )
    return directions


def run_strengths(args: argparse.Namespace) -> None:
    model = loader.load()
    for attribute, direction in learned(model, args).items():
        s = Session(model, faces.sample(range(args.first_seed, args.first_seed + args.count)), attribute)
        window = EditWindow(model.percent_to_sigma(defaults.EDIT_PERCENT), edit_from=direction.start)
        sampled = lambda of_dh, amount: sample_asyrp(
            s.denoiser(), s.code, s.sigmas, bottleneck_edit(direction, of_dh, s.sigmas, window), window, amount=amount
        )
        print(f"{attribute:<34s}" + HEADER[34:])
        for strength in args.strengths:
            ways = {"learned": (1.0, 1.0)} if strength == 1 else {"dh": (strength, 1.0), "effect": (1.0, strength)}
            for name, way in ways.items():
                print(score(s, model.decode(sampled(*way))).row(f"{name} times {strength:g}"), flush=True)
        print()


def run_properties(args: argparse.Namespace) -> None:
    model = loader.load()
    directions = learned(model, args)
    names = list(directions)
    for i, name in enumerate(names):
        other = names[(i + 1) % len(names)]
        properties(model, name, directions[name], (other, directions[other]), args)


def run_schedule(args: argparse.Namespace) -> None:
    model = loader.load()
    x0, sigmas = model.encode(faces.render(faces.sample(range(SEED, SEED + args.count)))), model.sigmas(defaults.STEPS)
    traced = record_rebuild(model.denoiser(caption([]), cfg=defaults.EDIT_GUIDANCE), x0, sigmas)
    found = edit_curves(
        *traced,
        x0.cpu(),
        sigmas.cpu(),
        model.percent_to_sigma,
        lambda x: model.decode(x.to(model.device)).cpu(),
        distance_named("ms-ssim"),
    )
    print(f"{args.count} held-out renders under '{caption([])}', guidance {defaults.EDIT_GUIDANCE:g}; 1 - MS-SSIM")
    print("progress   sigma  dist(x, P_t)  editing strength  dist(x, x_t)")
    for values in zip(found.percents, sigmas.tolist(), found.predicted, found.strengths, found.noisy):
        print("{:8.3f}{:8.3f}{:14.4f}{:18.4f}{:14.4f}".format(*values))


def learning_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    command.add_argument(
        "--directions",
        type=Path,
        help="folder of ATTRIBUTE.h.safetensors, as singular-edit demo leaves them; learned anew without it",
    )
    command.add_argument("--method", default="combined")
    command.add_argument("--samples", type=int, default=128, help="noises that directions are learned from")
    command.add_argument("--steps", type=int, default=600, help="training steps")
    command.add_argument("--seed", type=int, default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    table, compared = commands.add_parser("properties"), commands.add_parser("strengths")
    for command in (table, compared):
        learning_arguments(command)
    table.add_argument("--samples-mean", type=int, default=32, help="noises that mean directions are taken over")
    table.add_argument("--steps-compared", type=int, nargs="+", default=[10, 25, 50])
    table.set_defaults(run=run_properties)
    compared.add_argument("--strengths", type=float, nargs="+", default=[1.0, 1.3, 1.6, 2.0, 2.5])
    compared.add_argument(
        "--first-seed", type=int, default=60_000, help="of the faces; other ones than defaults are reported on"
    )
    compared.set_defaults(run=run_strengths)
    when = commands.add_parser("schedule")
    when.set_defaults(run=run_schedule)
    shipped = commands.add_parser("edits")
    hspace_edits.arguments(shipped)
    for command, count in ((table, 48), (compared, 48), (when, 16), (shipped, 48)):
        command.add_argument("--count", type=int, default=count, help="held-out faces")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
