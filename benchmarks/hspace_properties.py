"""Measure the paper's five properties of h-space (arXiv 2210.10960, section 5) on the embedded model.

They are homogeneity, linearity, compositionality, robustness and consistency across steps, of directions that move h.
This is the command ``properties`` of benchmarks/hspace.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import hspace_directions
import torch
from hspace_edits import random_like, success
from singular_edit.core import (
    EditWindow,
    HDirection,
    combine_directions,
    mean_direction,
    mean_over_steps,
    step_cosines,
)
from singular_edit.core.denoiser import is_flow
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.properties import ShiftedInX, denoising_error, linearity, mean_pairwise_cosine, r_squared
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.samplers import Run
from singular_edit.demo import loader
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session, starting_noise
from singular_edit.demo.evaluation.tables import logits
from torch import Tensor

# Linearity is one of dh itself: it is measured at these shares of the scale at which the direction is there, not at
# strengths, whose scales are chosen so that pictures follow them evenly. The same below 0.
SHARES = (1 / 3, 2 / 3, 1.0, 4 / 3)
ERROR_RATIO = 0.5  # noise to picture where the model's denoising error judges quality
MEAN_BATCH = 16


def edited_latents(
    s: Session, direction: HDirection, settings: EditSettings | None = None, *, steps: int | None = None
) -> Tensor:
    """Edit the session's pictures along a direction.

    Args:
        s: The pictures.
        direction: What to edit along.
        settings: How strongly; None is where the direction is there.
        steps: Sampling steps, the session's if None.

    Returns:
        Latents in model space, [B, *latent_shape].
    """
    return edits.asyrp_latents(at_steps(s, steps or s.steps), direction, settings)


def at_share(s: Session, direction: HDirection, share: float) -> Tensor:
    """Edit the session's pictures at a share of the scale at which the direction is there: [B, *latent_shape]."""
    full = defaults.FULL_SCALE if direction.response is None else direction.response.full
    return edited_latents(s, direction.with_response(None), EditSettings(share * full))


def at_steps(s: Session, steps: int) -> Session:
    """Return the session with another number of steps, made once."""
    if steps == s.steps:
        return s
    key = ("at steps", steps)
    if key not in s.cache:
        s.cache[key] = replace(s, steps=steps, cache={})
    return s.cache[key]


def latents_success(s: Session, latents: Tensor) -> float:
    """Return the share of latents [B, *latent_shape] whose pictures show the session's attribute."""
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
        plain: The unedited pictures' latents, [B, *latent_shape] in model space.
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
        plain = edited_latents(s, direction, EditSettings(0.0))
        edited = edited_latents(s, direction)
        mean = learned_mean(s.model, direction, samples, seed + 1)
        return cls(s, direction, mean, samples, seed, plain, edited, edited_latents(s, mean))


def learned_mean(model: loader.DemoModel, direction: HDirection, count: int, seed: int) -> TableDirection:
    """Take mean_t of a direction over fresh noises, under the prompt and window it was learned with."""
    sigmas = model.sigmas(defaults.STEPS)
    window = EditWindow(model.percent_to_sigma(hspace_directions.SHIPPED.end_percent), edit_from=direction.start)
    noise = starting_noise(model, count, seed, sigmas)
    run = Run(batch=MEAN_BATCH, device=model.device)
    denoise = model.denoiser(model.source, layer=direction.layer)
    return mean_direction(denoise, direction, noise, sigmas, window, run=run)


def print_row(name: str, text: str) -> None:
    """Print a line of the table of properties."""
    print(f"  {name:<17s}{text}", flush=True)


def print_edit(m: Measured) -> None:
    """Print how good the edit is, which the properties are of."""
    print(HEADER)
    for label, latents in (("unedited", m.plain), ("edited", m.edited)):
        print(score(m.s, m.s.model.decode(latents)).row(f"  {label}"), flush=True)


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
    """Print how the judge's score follows the scale of dh, adding and removing.

    An attribute that is not there cannot be removed: scales below 0 are measured on the same faces with it.
    """
    having = replace(m.s, has_attribute=True, cache={})
    levels = torch.tensor((0.0, *SHARES))
    adding = [m.plain, *(m.edited if share == 1 else at_share(m.s, m.direction, share) for share in SHARES)]
    print_row("linearity", "adding: " + linearity_text(m.s, levels, adding))
    removing = [at_share(having, m.direction, -share) for share in levels.tolist()]
    print_row("", "removing: " + linearity_text(having, -levels, removing))


def linearity_text(s: Session, levels: Tensor, edited: list[Tensor]) -> str:
    """Return rank correlations, R^2 and mean scores.

    Args:
        s: The pictures that were edited.
        levels: Shares of the scale at which the direction is there, [S].
        edited: Latents at each of them, [B, *latent_shape].
    """
    scores = torch.stack([logits(s, s.model.decode(latents)) for latents in edited])
    mean = scores.mean(dim=1)
    cells = [f"{share:+.2f}: {value:.1f}" for share, value in zip((levels + 0.0).tolist(), mean.tolist(), strict=True)]
    return (
        f"Spearman {linearity(scores, levels):.2f} (mean over faces), "
        f"{linearity(mean[:, None], levels):.2f} (mean score), "
        f"R^2 of a line {r_squared(scores, levels):.2f}; mean score " + ", ".join(cells)
    )


def print_compositionality(m: Measured, other: str, second: HDirection) -> None:
    """Print the success of two directions at once, on faces without either attribute; other: the second's attribute."""
    s = replace(m.s, faces=m.s.faces.with_attributes(**{other: False}), cache={})
    together = edited_latents(s, combine_directions([(1.0, m.direction), (1.0, second)]))
    cells = []
    for name, direction in ((m.s.attribute, m.direction), (other, second)):
        judged = replace(s, attribute=name, cache={})  # the same pictures, which have neither attribute
        alone = latents_success(judged, edited_latents(s, direction))
        cells.append(f"{name} {latents_success(judged, together):.2f} (alone {alone:.2f})")
    print_row("compositionality", f"with {other}: " + ", ".join(cells))


def print_robustness(m: Measured) -> None:
    """Print what edits do to picture quality, beside a random direction and as much noise outside of h-space."""
    s = m.s
    denoise = s.model.denoiser(s.model.source)
    noise = ERROR_RATIO / (1 + ERROR_RATIO) if is_flow(denoise) else ERROR_RATIO
    sigma = torch.tensor(noise, device=s.model.device)

    def error(latents: Tensor) -> float:
        return float(denoising_error(denoise, latents, sigma).mean())

    def kept(latents: Tensor) -> float:
        return score(s, s.model.decode(latents)).kept

    swap = s.model.encode(edits.prompt_swap(s))
    random = edited_latents(s, random_like(m.direction, m.seed))
    beside = edits.asyrp_latents(s, m.direction, denoise=ShiftedInX(s.denoiser(layer=m.direction.layer), m.seed))
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
    """Print the five properties of each attribute's direction; compositionality takes two attributes."""
    model = loader.load(name=args.model)
    directions = {name: hspace_directions.moving_h(model, name, args) for name in args.attributes}
    names = list(directions)
    for i, name in enumerate(names):
        other = names[(i + 1) % len(names)]
        direction = directions[name]
        print(
            f"\n{args.model}, {name}: {direction.info.get('method', direction.kind)} at {direction.layer}, "
            f"{args.count} held-out faces without it from their traces, strength {edits.there(direction).strength:g}"
        )
        s = Session(model, model.sample(range(HELD_OUT, HELD_OUT + args.count)), name, traced=True)
        measured = Measured.of(s, direction, args.samples_mean, args.seed)
        print_edit(measured)
        print_homogeneity(measured)
        print_linearity(measured)
        if other != name:
            print_compositionality(measured, other, directions[other])
        print_robustness(measured)
        print_consistency(measured, args.steps_compared)
