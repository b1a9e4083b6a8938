"""Measure the paper's five properties of h-space (arXiv 2210.10960, section 5) on the embedded model.

They are homogeneity, linearity, compositionality, robustness and consistency across steps, of directions that move h.
This is the command ``properties`` of benchmarks/hspace.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hspace_edits import random_like, success
from singular_edit.core import (
    EditWindow,
    HDirection,
    combine_directions,
    load_hdirection,
    mean_direction,
    mean_over_steps,
    step_cosines,
)
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.learn_direction import METHODS
from singular_edit.core.hspace.properties import ShiftedInX, denoising_error, linearity, mean_pairwise_cosine, r_squared
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings, LearnSettings
from singular_edit.core.samplers import Run
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import score
from singular_edit.demo.evaluation.session import HELD_OUT, SOURCE, Session, starting_noise
from singular_edit.demo.evaluation.tables import logits
from torch import Tensor

STRENGTHS = (0.5, 1.0, 1.5, 2.0)  # and the same below 0
ERROR_SIGMA = 0.5  # where the model's denoising error judges quality
MEAN_BATCH = 16
SHIPPED = LearnSettings.for_method("combined")


def edited_latents(
    s: Session, direction: HDirection, strength: float = EditSettings().strength, *, steps: int | None = None
) -> Tensor:
    """Edit the session's pictures along a direction.

    Args:
        s: The pictures.
        direction: What to edit along.
        strength: How strongly; 0 leaves them unedited.
        steps: Sampling steps, the session's if None.

    Returns:
        Latents in model space, [B, 4, 16, 16].
    """
    plain = direction.with_response(None)
    return edits.asyrp_latents(at_steps(s, steps or s.steps), plain, EditSettings(strength))


def at_steps(s: Session, steps: int) -> Session:
    """Return the session with another number of steps, made once."""
    if steps == s.steps:
        return s
    key = ("at steps", steps)
    if key not in s.cache:
        s.cache[key] = Session(s.model, s.faces, s.attribute, s.cfg, steps, s.has_attribute)
    return s.cache[key]


def latents_success(s: Session, latents: Tensor) -> float:
    """Return the share of latents [B, 4, 16, 16] whose pictures show the session's attribute."""
    return success(s, s.model.decode(latents))


@dataclass(frozen=True)
class Measured:
    """One direction on the pictures of one session.

    Attributes:
        s: Held-out faces without the attribute.
        direction: The direction.
        mean: Its mean_t over other faces.
        samples: Noises that the mean is taken over.
        seed: Seed of random directions and of noise.
        plain: The unedited pictures' latents, [B, 4, 16, 16] in model space.
        edited: The edited pictures' latents, likewise.
        by_mean: Likewise, edited along the mean.
    """

    s: Session
    direction: HDirection
    mean: TableDirection
    samples: int
    seed: int
    plain: Tensor
    edited: Tensor
    by_mean: Tensor

    @classmethod
    def of(cls, s: Session, direction: HDirection, samples: int, seed: int) -> Measured:
        """Edit the session's pictures along the direction and along its mean."""
        plain = edited_latents(s, direction, 0.0)
        edited = edited_latents(s, direction)
        mean = learned_mean(s.model, direction, samples, seed + 1)
        return cls(s, direction, mean, samples, seed, plain, edited, edited_latents(s, mean))


def learned_mean(model: loader.DemoModel, direction: HDirection, count: int, seed: int) -> TableDirection:
    """Take mean_t of a direction over fresh noises, under the prompt and window it was learned with."""
    sigmas = model.sigmas(defaults.STEPS)
    window = EditWindow(model.percent_to_sigma(SHIPPED.end_percent), edit_from=direction.start)
    noise = starting_noise(model, count, seed, sigmas)
    run = Run(batch=MEAN_BATCH, device=model.device)
    return mean_direction(model.denoiser(SOURCE), direction, noise, sigmas, window, run=run)


def print_row(name: str, text: str) -> None:
    """Print a line of the table of properties."""
    print(f"  {name:<17s}{text}", flush=True)


def print_homogeneity(m: Measured) -> None:
    """Print whether one dh serves all pictures."""
    cosine = mean_pairwise_cosine(m.edited - m.plain)
    print_row(
        "homogeneity",
        f"success {latents_success(m.s, m.edited):.2f} (unedited {latents_success(m.s, m.plain):.2f}); "
        f"with the mean of {m.samples} other faces' dh {latents_success(m.s, m.by_mean):.2f}; "
        f"cosine of the changes of different faces {cosine:.2f}",
    )


def print_linearity(m: Measured) -> None:
    """Print how the judge's score follows strength, adding and removing.

    An attribute that is not there cannot be removed: strengths below 0 are measured on the same faces with it.
    """
    having = Session(m.s.model, m.s.faces, m.s.attribute, has_attribute=True)
    print_row("linearity", "adding: " + linearity_text(m.s, m.direction, (0.0, *STRENGTHS)))
    below = tuple(-strength for strength in STRENGTHS)
    print_row("", "removing: " + linearity_text(having, m.direction, (0.0, *below)))


def linearity_text(s: Session, direction: HDirection, strengths: tuple[float, ...]) -> str:
    """Return rank correlations, R^2 and mean scores over these strengths."""
    levels = torch.tensor(strengths)
    pictures = [s.model.decode(edited_latents(s, direction, strength)) for strength in strengths]
    scores = torch.stack([logits(s, edited) for edited in pictures])
    mean = scores.mean(dim=1)
    cells = [f"{strength:+g}: {value:.1f}" for strength, value in zip(levels.tolist(), mean.tolist(), strict=True)]
    return (
        f"Spearman {linearity(scores, levels):.2f} (mean over faces), "
        f"{linearity(mean[:, None], levels):.2f} (mean score), "
        f"R^2 of a line {r_squared(scores, levels):.2f}; mean score " + ", ".join(cells)
    )


def print_compositionality(m: Measured, other: str, second: HDirection) -> None:
    """Print the success of two directions at once, on faces without either attribute; other: the second's attribute."""
    s = Session(m.s.model, m.s.faces.with_attributes(**{other: False}), m.s.attribute)
    together = edited_latents(s, combine_directions([(1.0, m.direction), (1.0, second)]))
    cells = []
    for name, direction in ((m.s.attribute, m.direction), (other, second)):
        judged = Session(s.model, s.faces, name)
        alone = latents_success(judged, edited_latents(s, direction))
        cells.append(f"{name} {latents_success(judged, together):.2f} (alone {alone:.2f})")
    print_row("compositionality", f"with {other}: " + ", ".join(cells))


def print_robustness(m: Measured) -> None:
    """Print what edits do to picture quality, beside a random direction and as much noise outside of h-space."""
    s = m.s
    denoise = s.model.denoiser(SOURCE)
    sigma = torch.tensor(ERROR_SIGMA, device=s.model.device)

    def error(latents: Tensor) -> float:
        return float(denoising_error(denoise, latents, sigma).mean())

    def kept(latents: Tensor) -> float:
        return score(s, s.model.decode(latents)).kept

    swap = s.model.encode(edits.prompt_swap(s))
    random = edited_latents(s, random_like(m.direction, m.seed))
    beside = edits.asyrp_latents(s, m.direction.with_response(None), denoise=ShiftedInX(s.denoiser(), m.seed))
    print_row(
        "robustness",
        f"denoising error {error(m.edited):.3f}; unedited {error(m.plain):.3f}, prompt swap {error(swap):.3f}, "
        f"random direction {error(random):.3f}, as much noise in x0 {error(beside):.3f}",
    )
    print_row(
        "",
        f"others kept {kept(m.edited):.2f}; random direction {kept(random):.2f}, "
        f"as much noise in x0 {kept(beside):.2f}",
    )


def print_consistency(m: Measured, steps_compared: list[int]) -> None:
    """Print how alike dh is at different steps, and the success at other numbers of steps."""
    cosines = step_cosines(m.mean)
    count = len(cosines)
    off_diagonal = (cosines.sum() - count) / max(count * (count - 1), 1)
    flat = edited_latents(m.s, mean_over_steps(m.mean))
    print_row(
        "consistency",
        f"cosine between steps: mean {off_diagonal:.2f}, least {cosines.min():.2f}; "
        f"success with dh each picture's own {latents_success(m.s, m.edited):.2f}, "
        f"mean_t {latents_success(m.s, m.by_mean):.2f}, one map for all steps {latents_success(m.s, flat):.2f}",
    )
    cells = []
    for steps in steps_compared:
        edited = m.edited if steps == m.s.steps else edited_latents(m.s, m.direction, steps=steps)
        cells.append(f"{steps}: {latents_success(m.s, edited):.2f}")
    print_row("", "success at steps " + ", ".join(cells))


def run(args: argparse.Namespace) -> None:
    """Print the five properties of each attribute's direction."""
    model = loader.load()
    directions = load_or_learn(model, args)
    names = list(directions)
    for i, name in enumerate(names):
        other = names[(i + 1) % len(names)]
        direction = directions[name]
        print(
            f"\n{name}: {direction.info.get('method', direction.kind)}, {args.count} held-out faces without it, "
            f"strength {EditSettings().strength:g}"
        )
        s = Session(model, faces.sample(range(HELD_OUT, HELD_OUT + args.count)), name)
        measured = Measured.of(s, direction, args.samples_mean, args.seed)
        print_homogeneity(measured)
        print_linearity(measured)
        print_compositionality(measured, other, directions[other])
        print_robustness(measured)
        print_consistency(measured, args.steps_compared)


def load_or_learn(model: loader.DemoModel, args: argparse.Namespace) -> dict[str, HDirection]:
    """Read a direction an attribute from the files of args.directions, or learn them anew."""
    if args.directions:
        return {name: load_hdirection(args.directions / f"{name}.h.safetensors") for name in args.attributes}
    shipped = LearnSettings.for_method(args.method)
    training = replace(shipped.training, steps=args.steps, batch=args.batch)
    settings = replace(shipped, samples=args.samples, training=training, start_percent=args.start)
    directions = {}
    for name in args.attributes:
        recorded = edits.trajectories(model, name, settings, args.seed)
        directions[name] = edits.h_direction(model, name, recorded, settings, seed=args.seed)
    return directions


def add_learning_arguments(command: argparse.ArgumentParser) -> None:
    """Add what ``load_or_learn`` reads of the command line."""
    command.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    command.add_argument(
        "--directions",
        type=Path,
        help="folder of ATTRIBUTE.h.safetensors, as singular-edit evaluate leaves them; learned anew without it",
    )
    command.add_argument("--method", choices=METHODS, default=SHIPPED.method)
    command.add_argument("--samples", type=int, default=SHIPPED.samples, help="noises; 0 is as shipped")
    command.add_argument("--steps", type=int, default=SHIPPED.training.steps, help="training steps")
    command.add_argument("--batch", type=int, default=SHIPPED.training.batch, help="pictures a training step looks at")
    command.add_argument("--start", type=float, default=SHIPPED.start_percent, help="progress at which prompts branch")
    command.add_argument("--seed", type=int, default=0)
