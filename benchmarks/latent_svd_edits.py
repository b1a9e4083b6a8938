"""Edits by Latent SVD and its baselines on held-out inverted renders: the table of the shipped default, and the ablation."""

from __future__ import annotations

from dataclasses import replace

import torch
from latent_svd_properties import figure
from singular_edit.core import LossWeights, SVDAttribute, Training, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.atoms import swap_atoms
from singular_edit.core.latent_svd.svd import ChannelSVD, channel_norm, compose, standardise
from singular_edit.core.latent_svd.transfer_gain import transfer_gain
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.defaults import BRANCH_STEP, BRANCH_STEPS, SVD_STRENGTH, T_X_STEP
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import SOURCE, Session
from singular_edit.demo.evaluation.tables import courses, strength_monotonicity
from torch import Tensor

PAIRS, SINGLE_PAIRS = 24, 8
STRENGTHS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0)
SHOWN = 3
CURVE = 48  # faces that curves over strength are drawn from


def mixing(s: Session, strength: float = SVD_STRENGTH, step: int = T_X_STEP) -> Tensor:
    """X + strength*(z - x) of the picture's own pair, at the norm of x: no SVD."""
    x, z = s.to_step(SOURCE, step), standardise(s.to_step(s.target, step))[0]
    return s.finish(added(x, strength * (z - standardise(x)[0])), step)


def added(x: Tensor, edit: Tensor) -> Tensor:
    """A code with an edit of unit-variance codes added, each channel scaled to the norm it had."""
    x, std = standardise(x)
    y = x + edit
    return y * channel_norm(x) / channel_norm(y) * std


def apply_whole(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """apply_attribute, but norms brought back by scaling whole channels, as the paper does."""
    return added(x, transfer_gain(x, attribute.source) * strength * compose(attribute.edit).to(x))


def apply_alike(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """apply_attribute, but as strong on a stranger's code as on the pair's own."""
    return apply_attribute(x, replace(attribute, source=None), strength)


def apply_published(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """Both: with focus 0 this is the paper's edit, x + strength*(y - x)."""
    return apply_whole(x, replace(attribute, source=None), strength)


def spectra_only(s: Session, strength: float = SVD_STRENGTH, step: int = T_X_STEP) -> Tensor:
    """The source's atoms with singular values moved towards the target's."""
    return s.finish(swap_atoms(s.to_step(SOURCE, step), s.to_step(s.target, step), 0, 16, "values", strength), step)


def random_atoms(attribute: SVDAttribute, seed: int = 0) -> SVDAttribute:
    """The attribute's singular values on random orthonormal atoms."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (
        torch.linalg.qr(torch.randn(basis.shape, generator=generator))[0]
        for basis in (attribute.edit.u, attribute.edit.v)
    )
    return SVDAttribute(ChannelSVD(u, attribute.edit.s, v), attribute.source_spectrum, attribute.target_spectrum)


def shipped(model, args) -> None:
    print(
        f"{args.count} held-out renders an attribute, inverted; euler, {defaults.STEPS} steps, guidance {defaults.EDIT_GUIDANCE:g}; pairs part at the latest of steps {', '.join(map(str, BRANCH_STEPS))} that will do, T_x = step {T_X_STEP}, "
        f"rank 12, {LossWeights()}, strength {SVD_STRENGTH:g}\n"
    )
    curves = {}
    for name in args.attributes:
        s = Session(model, args.faces, name)
        many, ones = edits.svd_attribute(model, name, PAIRS, 0), edits.single_pairs(model, name, SINGLE_PAIRS, 1)
        print(f"{name:<34s}" + HEADER[34:])
        for label, edit in (
            ("unedited", lambda: edits.unedited(s)),
            ("prompt swap from T", lambda: edits.prompt_swap(s)),
            (f"prompt swap from step {BRANCH_STEP}", lambda: edits.prompt_swap(s, BRANCH_STEP)),
            ("prompt swap from T_x", lambda: edits.prompt_swap(s, T_X_STEP)),
            ("plain mixing, own pair", lambda: mixing(s)),
            ("spectra only, own pair", lambda: spectra_only(s)),
            ("random atoms of equal norm", lambda: edits.svd_apply(s, random_atoms(many))),
            ("Latent SVD, own pair", lambda: edits.svd_own_pair(s)),
            ("Latent SVD, one foreign pair", lambda: edits.svd_one_foreign_pair(s, ones)),
            (f"Latent SVD, mean of {PAIRS} pairs", lambda: edits.svd_apply(s, many)),
        ):
            print(score(s, edit()).row(label), flush=True)
        few = Session(model, args.faces[:CURVE], name)
        curves[name] = courses(
            few,
            STRENGTHS,
            {
                "own pair": lambda s, strength: edits.svd_own_pair(s, strength),
                "plain mixing, own pair": lambda s, strength: mixing(s, strength),
                "one foreign pair": lambda s, strength: edits.svd_one_foreign_pair(s, ones, strength),
                f"mean of {PAIRS} pairs": lambda s, strength: edits.svd_apply(s, many, strength),
            },
        )
        strength_monotonicity(
            few,
            Session(model, few.faces, name, has_attribute=True),
            lambda s, strength: edits.svd_apply(s, many, strength),
        )
    plot_curves(curves, args.output / "latent_svd_curves.png")


def plot_curves(curves: dict, path) -> None:
    made, axes = figure(len(curves))
    for axis, (name, lines) in zip(axes[0], curves.items()):
        for label, rows in lines.items():
            axis.plot([row.kept for row in rows], [row.success for row in rows], marker="o", ms=3, label=label)
        axis.set(
            title=f"{name}: strengths {STRENGTHS[0]:g} to {STRENGTHS[-1]:g}",
            xlabel="others kept",
            ylabel="success",
            ylim=(-0.02, 1.02),
        )
        axis.legend(fontsize=7)
    made.savefig(path)
    print(path)


def ablation(model, args) -> None:
    """One change at a time from the default, on the picture's own pair, on one foreign pair and on the mean of several.

    The target term cannot be switched off: without it the best edit is none. The mean of several pairs keeps its gain.
    """
    default = LossWeights()
    variants: list[tuple[str, dict]] = [
        ("default", {}),
        ("norms of whole channels", dict(apply=apply_whole)),
        ("no gain on strangers", dict(apply=apply_alike)),
    ]
    published = dict(focus=0.0, apply=apply_published)
    variants += [
        ("as published", published),
        ("as published, from T", published | dict(partings=(0,))),
        ("as published, strength 2", published | dict(strength=2.0)),
    ]
    variants += [(f"target {value:g}", dict(weights=LossWeights(value, default.source))) for value in (0.1, 0.3, 3.0)]
    variants += [(f"source {value:g}", dict(weights=LossWeights(1.0, value))) for value in (0.0, 0.2, 0.5, 1.0)]
    variants += [
        (f"target spectrum {value:g}", dict(weights=LossWeights(1.0, default.source, value, 0.0)))
        for value in (0.1, 1.0)
    ]
    variants += [
        (f"source spectrum {value:g}", dict(weights=LossWeights(1.0, default.source, 0.0, value)))
        for value in (0.1, 1.0)
    ]
    variants += [("both spectra 0.1", dict(weights=LossWeights(1.0, default.source, 0.1, 0.1)))]
    variants += [(f"focus {focus:g}", dict(focus=focus)) for focus in (0.0, 0.3, 3.0)]
    variants += [(f"k {rank}", dict(rank=rank)) for rank in (2, 4, 8, 16)]
    variants += [
        (f"T_x step {step}", dict(step=step, partings=tuple(part for part in BRANCH_STEPS if part < step)))
        for step in (11, 15, 19, 21)
    ]
    variants += [(f"pairs part at step {part}", dict(partings=(part,))) for part in (4, 6, 8, 10)]
    variants += [(f"delta {delta}", dict(delta=delta)) for delta in (1, 2, 3)]
    variants += [(f"strength {strength:g}", dict(strength=strength)) for strength in (0.7, 1.4, 2.0)]
    variants += [("mlp", dict(training=Training()))]
    variants = [(label, change) for label, change in variants if label.startswith(tuple(args.variants))]
    print(
        f"{args.count} held-out renders an attribute; one change at a time from: {default}, k 12, T_x step {T_X_STEP}, delta 0, strength {SVD_STRENGTH:g}, closed form. "
        f"Per cell success/others/PSNR dB\n"
    )
    for name in args.attributes:
        s = Session(model, args.faces, name)
        print(f"{name:<24s}{'own pair':>18s}{'one foreign pair':>20s}{f'mean of {PAIRS} pairs':>20s}")
        tiles = {}
        row = lambda label, pictures: print(
            f"{label:<24s}"
            + "".join(
                f"{f'{c.success:.2f}/{c.kept:.2f}/{c.psnr:.1f}':>18s}  " for c in (score(s, p) for p in pictures)
            ),
            flush=True,
        )
        row("prompt swap from T", [edits.prompt_swap(s)])
        for label, change in variants:
            edited = [edit(s, **change) for edit in (edits.svd_own_pair, single, foreign)]
            row(label, edited)
            tiles[label] = torch.cat([torch.cat(list(pictures[:SHOWN]), dim=-1) for pictures in edited], dim=-2)
        plot_tiles(tiles, args.output / f"latent_svd_ablation_{name}.png")


def plot_tiles(tiles: dict[str, Tensor], path, columns: int = 6) -> None:
    """Of each variant the first faces; from their own pairs, from one foreign pair and from the mean of several."""
    made, axes = figure(columns, -(-len(tiles) // columns), (0.9 * SHOWN, 2.9))
    for axis in axes.flatten():
        axis.axis("off")
    for axis, (label, picture) in zip(axes.flatten(), tiles.items()):
        axis.imshow(picture.cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(label, fontsize=8)
    made.savefig(path)
    print(f"{path}\n")


def pairs(s: Session, count: int, seed: int, step: int, delta: int, partings: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Codes of foreign pairs, made once a session."""
    key = ("foreign", count, seed, step, delta, partings)
    if key not in s.codes:
        s.codes[key] = edits.accepted_pairs(s.model, s.attribute, count, seed, step, delta, partings=partings)
    return s.codes[key]


def foreign(
    s: Session,
    strength: float = SVD_STRENGTH,
    step: int = T_X_STEP,
    delta: int = 0,
    partings: tuple[int, ...] = BRANCH_STEPS,
    apply=apply_attribute,
    **learning,
) -> Tensor:
    """As edits.svd_own_pair, with the mean of foreign pairs."""
    attribute = learn_attribute(*pairs(s, PAIRS, 0, step, delta, partings), **learning)
    return edits.svd_apply(s, attribute, strength, step, apply)


def single(
    s: Session,
    strength: float = SVD_STRENGTH,
    step: int = T_X_STEP,
    delta: int = 0,
    partings: tuple[int, ...] = BRANCH_STEPS,
    apply=apply_attribute,
    **learning,
) -> Tensor:
    """The same with single pairs, each on its share of the pictures."""
    attributes = [
        learn_attribute(x[None], z[None], **learning) for x, z in zip(*pairs(s, SINGLE_PAIRS, 1, step, delta, partings))
    ]
    return edits.svd_one_foreign_pair(s, attributes, strength, step, apply)
