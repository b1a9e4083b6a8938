"""Measure edits by Latent SVD and their baselines: the table of the shipped defaults, and the ablation.

Both are of held-out renders without the attribute, inverted. They are commands of benchmarks/latent_svd.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from latent_svd_properties import figure
from singular_edit.core import LossWeights, SVDAttribute, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.atoms import swap_atoms
from singular_edit.core.latent_svd.learn import RANK_SHARE, AttributeSettings
from singular_edit.core.latent_svd.svd import ChannelSVD, channel_norm, compose, standardise
from singular_edit.core.latent_svd.transfer_gain import transfer_gain
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.learned_files import SINGLE_PAIRS
from singular_edit.demo.evaluation.score import HEADER, Score, score
from singular_edit.demo.evaluation.session import Session
from singular_edit.demo.evaluation.tables import strength_curves, strength_monotonicity
from singular_edit.demo.faces import Faces
from singular_edit.demo.loader import DemoModel
from torch import Tensor

PAIR_SEED = 0
SINGLE_PAIR_SEED = 1
STRENGTHS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0)
CURVE_FACES = 48  # faces that curves over strength are drawn from
SHOWN = 3  # faces a variant in the ablation's figure
COLUMNS = 6  # variants a row of it


def atoms_of(model: DemoModel) -> int:
    """Return how many atoms a channel of the model's latents has."""
    return min(model.latent_shape[1:])


def mixing(s: Session, strength: float = defaults.THERE) -> Tensor:
    """Edit by x + strength*(z - x) of the picture's own pair, at the norm of x: no SVD."""
    x = s.source_code(defaults.T_X_STEP)
    z = s.target_code()
    difference = standardise(z)[0] - standardise(x)[0]
    return s.finish(add_at_channel_norm(x, strength * difference), defaults.T_X_STEP)


def spectra_only(s: Session) -> Tensor:
    """Edit by singular values alone: the source's atoms under the target's values."""
    x = s.source_code(defaults.T_X_STEP)
    z = s.target_code()
    return s.finish(swap_atoms(x, z, 0, atoms_of(s.model), "values"), defaults.T_X_STEP)


def random_atoms(attribute: SVDAttribute, seed: int = 0) -> SVDAttribute:
    """Return the attribute's singular values on random orthonormal atoms."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(attribute.edit.u.shape, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(attribute.edit.v.shape, generator=generator))[0]
    return SVDAttribute(ChannelSVD(u, attribute.edit.s, v), attribute.source_spectrum, attribute.target_spectrum)


def add_at_channel_norm(x: Tensor, edit: Tensor) -> Tensor:
    """Add an edit of unit-variance codes to a code, and scale each channel to the norm it had.

    Args:
        x: The code, [B, C, H, W].
        edit: The edit, broadcastable to x.

    Returns:
        The edited code, like x.
    """
    unit, std = standardise(x)
    y = unit + edit
    return y * channel_norm(unit) / channel_norm(y) * std


def apply_whole_channels(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """Apply as apply_attribute does, but restore norms by scaling whole channels, as the paper does."""
    gain = transfer_gain(x, attribute.source)
    return add_at_channel_norm(x, gain * strength * compose(attribute.edit).to(x))


def apply_without_gain(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """Apply as apply_attribute does, but as strongly on another code as on the pair's own."""
    return apply_attribute(x, replace(attribute, source=None), strength)


def apply_published(x: Tensor, attribute: SVDAttribute, strength: float) -> Tensor:
    """Apply with both changes undone: with focus 0 this is the paper's edit, x + strength*(y - x)."""
    return apply_whole_channels(x, replace(attribute, source=None), strength)


def run_edits(model: DemoModel, drawn: Faces, args: argparse.Namespace) -> None:
    """Print the table of the shipped defaults and curves over strength, and plot the curves.

    Args:
        model: An embedded model.
        drawn: Held-out faces.
        args: attributes and output of the command line.
    """
    branch_steps = ", ".join(map(str, defaults.BRANCH_STEPS))
    print(
        f"{len(drawn)} held-out renders an attribute, inverted; euler, {defaults.STEPS} steps, "
        f"guidance {defaults.EDIT_GUIDANCE:g}; pairs branch at the latest of steps {branch_steps} that will do, "
        f"T_x = step {defaults.T_X_STEP}, rank {RANK_SHARE:.0%} of all, {LossWeights()}, "
        f"strength {defaults.THERE:g}\n"
    )
    curves = {}
    for name in args.attributes:
        s = Session(model, drawn, name)
        many = learning.svd_attribute(model, name, PAIR_SEED)
        singles = learning.single_pairs(model, name, SINGLE_PAIRS, SINGLE_PAIR_SEED)
        print_edits(s, many, singles)
        curves[name] = print_curves(Session(model, drawn[:CURVE_FACES], name), many, singles)
    plot_curves(curves, args.output / "latent_svd_curves.png")


def print_edits(s: Session, many: SVDAttribute, singles: list[SVDAttribute]) -> None:
    """Print the scores of each edit of a session; many: of several foreign pairs, singles: of one foreign pair each."""
    ways: dict[str, Callable[[], Tensor]] = {
        "unedited": lambda: edits.unedited(s),
        "prompt swap from T": lambda: edits.prompt_swap(s),
        f"prompt swap from step {defaults.SWAP_STEP}": lambda: edits.prompt_swap(s, defaults.SWAP_STEP),
        "prompt swap from T_x": lambda: edits.prompt_swap(s, defaults.T_X_STEP),
        "plain mixing, own pair": lambda: mixing(s),
        "spectra only, own pair": lambda: spectra_only(s),
        "random atoms of equal norm": lambda: edits.svd_apply(s, random_atoms(many)),
        "Latent SVD, own pair": lambda: edits.svd_own_pair(s),
        "Latent SVD, one foreign pair": lambda: edits.svd_one_foreign_pair(s, singles),
        f"Latent SVD, mean of {defaults.PAIRS} pairs": lambda: edits.svd_apply(s, many),
    }
    print(f"{s.attribute:<34s}" + HEADER[34:])
    for label, edit in ways.items():
        print(score(s, edit()).row(label), flush=True)


def print_curves(s: Session, many: SVDAttribute, singles: list[SVDAttribute]) -> dict[str, list[Score]]:
    """Print scores over strength, and how the judge's score rises with it; return the scores by way of editing."""
    rows = strength_curves(
        s,
        STRENGTHS,
        {
            "own pair": edits.svd_own_pair,
            "plain mixing, own pair": mixing,
            "one foreign pair": lambda s, strength: edits.svd_one_foreign_pair(s, singles, strength),
            f"mean of {defaults.PAIRS} pairs": lambda s, strength: edits.svd_apply(s, many, strength),
        },
    )
    having = Session(s.model, s.faces, s.attribute, has_attribute=True)
    strength_monotonicity(s, having, lambda s, strength: edits.svd_apply(s, many, strength))
    return rows


def plot_curves(curves: dict[str, dict[str, list[Score]]], path: Path) -> None:
    """Plot success against the share of others kept, a panel an attribute and a line a way of editing."""
    made, axes = figure(len(curves))
    for axis, (name, lines) in zip(axes[0], curves.items(), strict=True):
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


@dataclass(frozen=True)
class Variant:
    """One row of the ablation: everything that an edit is made with, the shipped defaults where nothing is said."""

    pair: PairSettings = field(default_factory=PairSettings)
    learning: AttributeSettings = field(default_factory=AttributeSettings)
    strength: float = defaults.THERE
    apply: edits.Apply = apply_attribute
    mean_applied: int | None = None

    def own_pair(self, s: Session) -> Tensor:
        """Edit each picture from its own pair."""
        return edits.svd_own_pair(s, self.strength, pair=self.pair, learning=self.learning, apply=self.apply)

    def one_foreign_pair(self, s: Session) -> Tensor:
        """Edit a share of the pictures from each of several single pairs."""
        sources, targets = foreign_pairs(s, replace(self.pair, count=SINGLE_PAIRS), SINGLE_PAIR_SEED)
        pairs = zip(sources, targets, strict=True)
        attributes = [learn_attribute(x[None], z[None], self.learning, **edits.levels(s, self.pair)) for x, z in pairs]
        return edits.svd_one_foreign_pair(s, attributes, self.strength, step=self.pair.step, apply=self.apply)

    def foreign_mean(self, s: Session) -> Tensor:
        """Edit every picture with the mean of foreign pairs."""
        sources, targets = foreign_pairs(s, self.pair, PAIR_SEED)
        attribute = learn_attribute(sources, targets, self.learning, **edits.levels(s, self.pair))
        return edits.svd_apply(s, attribute, self.strength, step=self.mean_applied, apply=self.apply)


def foreign_pairs(s: Session, pair: PairSettings, seed: int) -> tuple[Tensor, Tensor]:
    """Return codes of foreign pairs, sampled once a session: [pair.count, *latent_shape] each."""
    key = ("foreign pairs", pair, seed)
    if key not in s.cache:
        s.cache[key] = learning.accepted_pairs(s.model, s.attribute, seed, pair)
    return s.cache[key]


def variants(atoms: int) -> dict[str, Variant]:
    """Return the rows of the ablation by label, each one change from the default.

    The target term cannot be switched off: without it the best edit is none.

    Args:
        atoms: How many atoms a channel has.
    """
    default = AttributeSettings()
    source = default.weights.source
    published = Variant(learning=replace(default, focus=0.0), apply=apply_published)
    rows = {
        "default": Variant(),
        "norms of whole channels": Variant(apply=apply_whole_channels),
        "no gain on other codes": Variant(apply=apply_without_gain),
        "as published": published,
        "as published, from T": replace(published, pair=PairSettings(branch_steps=(0,))),
        "as published, strength 2": replace(published, strength=2.0),
    }
    weights = {f"target {value:g}": LossWeights(value, source) for value in (0.1, 0.3, 3.0)}
    weights |= {f"source {value:g}": LossWeights(1.0, value) for value in (0.0, 0.2, 0.5, 1.0)}
    weights |= {f"target spectrum {value:g}": LossWeights(1.0, source, value, 0.0) for value in (0.1, 1.0)}
    weights |= {f"source spectrum {value:g}": LossWeights(1.0, source, 0.0, value) for value in (0.1, 1.0)}
    weights["both spectra 0.1"] = LossWeights(1.0, source, 0.1, 0.1)
    rows |= {label: Variant(learning=replace(default, weights=value)) for label, value in weights.items()}
    rows |= {f"focus {value:g}": Variant(learning=replace(default, focus=value)) for value in (0.0, 0.3, 3.0)}
    rows |= {f"covering {value:g}": Variant(learning=replace(default, covering=value)) for value in (0.0, 2.5, 10.0)}
    rows |= {f"mean applied at step {step}": Variant(mean_applied=step) for step in (14, 15, 17)}
    rows |= {f"k {atoms // n}": Variant(learning=replace(default, rank=atoms // n)) for n in (8, 4, 2, 1)}
    for step in (11, 14, 15, 19, 21):
        earlier = tuple(branch for branch in defaults.BRANCH_STEPS if branch < step)
        rows[f"T_x step {step}"] = Variant(PairSettings(step, earlier))
    rows |= {f"pairs branch at step {step}": Variant(PairSettings(branch_steps=(step,))) for step in (4, 6, 8, 10)}
    rows["evidence, none"] = Variant(PairSettings(evidence_noises=0))
    rows |= {f"evidence share {share:g}": Variant(PairSettings(min_evidence_share=share)) for share in (0.35, 0.5, 0.9)}
    rows |= {f"delta {delta}": Variant(PairSettings(delta=delta)) for delta in (1, 2, 3)}
    rows |= {f"strength {strength:g}": Variant(strength=strength) for strength in (0.7, 1.4, 2.0)}
    # The defaults of the node SVD Attribute Learn.
    return rows | {"mlp": Variant(learning=replace(default, training=defaults.PREDICTOR_TRAINING))}


def run_ablation(model: DemoModel, drawn: Faces, args: argparse.Namespace) -> None:
    """Print the ablation and draw the first faces of each row.

    Each row is measured on the picture's own pair, on one foreign pair and on the mean of several.

    Args:
        model: An embedded model.
        drawn: Held-out faces.
        args: attributes, output and variants of the command line.
    """
    rows = {label: row for label, row in variants(atoms_of(model)).items() if label.startswith(tuple(args.variants))}
    print(
        f"{len(drawn)} held-out renders an attribute; one change at a time from: {LossWeights()}, "
        f"k {RANK_SHARE:.0%} of all, T_x step {defaults.T_X_STEP}, delta 0, strength {defaults.THERE:g}, "
        "closed form. Per cell success/others/PSNR dB\n"
    )
    for name in args.attributes:
        s = Session(model, drawn, name)
        mean = f"mean of {defaults.PAIRS} pairs"
        print(f"{name:<24s}{'own pair':>18s}{'one foreign pair':>20s}{mean:>20s}")
        print_cells("prompt swap from T", [score(s, edits.prompt_swap(s))])
        tiles = {}
        for label, row in rows.items():
            edited = [row.own_pair(s), row.one_foreign_pair(s), row.foreign_mean(s)]
            print_cells(label, [score(s, pictures) for pictures in edited])
            lines = [torch.cat(list(pictures[:SHOWN]), dim=-1) for pictures in edited]
            tiles[label] = torch.cat(lines, dim=-2)
        plot_tiles(tiles, args.output / f"latent_svd_ablation_{name}.png")


def print_cells(label: str, scores: list[Score]) -> None:
    """Print a row of the ablation."""
    cells = [f"{cell.success:.2f}/{cell.kept:.2f}/{cell.psnr:.1f}" for cell in scores]
    print(f"{label:<24s}" + "".join(f"{cell:>18s}  " for cell in cells), flush=True)


def plot_tiles(tiles: dict[str, Tensor], path: Path) -> None:
    """Draw the first faces of each variant: from their own pairs, one foreign pair and the mean of several."""
    made, axes = figure(COLUMNS, -(-len(tiles) // COLUMNS), (0.9 * SHOWN, 2.9))
    for axis in axes.flatten():
        axis.axis("off")
    for axis, (label, picture) in zip(axes.flatten(), tiles.items(), strict=False):
        axis.imshow(picture.cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
        axis.set_title(label, fontsize=8)
    made.savefig(path)
    print(f"{path}\n")
