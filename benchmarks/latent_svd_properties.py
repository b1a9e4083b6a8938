"""Measure the three properties of arXiv 2502.02225, section 3, on the embedded model.

They are small neighbourhood, encoded attributes and mobility in order. This is a command of benchmarks/latent_svd.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from singular_edit.core.latent_svd.atoms import scale_atoms, swap_atoms
from singular_edit.core.latent_svd.subspaces import (
    attribute_profile,
    leading_distance,
    mean_rank,
    random_leading_distance,
    trajectory_distances,
)
from singular_edit.core.latent_svd.svd import BANDS, band_range
from singular_edit.core.recipes import defaults
from singular_edit.core.samplers import sample_euler
from singular_edit.demo.evaluation import learning
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import Session, starting_noise
from singular_edit.demo.faces import ATTRIBUTES, Faces
from singular_edit.demo.loader import DemoModel
from torch import Tensor

RANKS = (1, 2, 4, 8)
PLOTTED_RANK = 4
STEPS = (4, 8, 13, 17, 22)  # where atoms are changed
MATE_STEP = 12  # where different pictures are compared
ATOMS = 16  # in each channel of the embedded model's latents
SWAPPED = ("values", "atoms", "both")
PROFILE_SEED = 7
SHEET_FACES = 4


def run(model: DemoModel, drawn: Faces, args: argparse.Namespace) -> None:
    """Print the tables of all three properties and draw two figures.

    Args:
        model: The embedded model.
        drawn: Held-out faces.
        args: attributes and output of the command line.
    """
    sigmas = model.sigmas(defaults.STEPS)
    s = Session(model, drawn, args.attributes[0])
    codes = [s.source_code(step) for step in range(defaults.STEPS + 1)]
    distances = {rank: trajectory_distances(codes, rank) for rank in RANKS}
    print_neighbourhood(distances, codes)
    atoms = print_effect_of_atoms(s)
    print_encoded(model, drawn, args.attributes)
    mobility = {name: profiles(model, name, len(drawn)) for name in args.attributes}
    print_mobility(mobility, sigmas)
    plot(distances, atoms, mobility, sigmas, args.output / "latent_svd_properties.png")
    plot_sheet(s, args.output / "latent_svd_atoms.png")


def print_neighbourhood(distances: dict[int, Tensor], codes: list[Tensor]) -> None:
    """Print how far leading subspaces turn along a trajectory.

    Args:
        distances: By rank, the distance of every step from every other, [S, S].
        codes: The code at each step, [B, 4, 16, 16].
    """
    print(
        "1. Small neighbourhood: geodesic distance of leading singular subspaces "
        "(mean of left and right, channels, pictures)"
    )
    columns = f"{'rank':>4s}{'next step':>11s}{'5 steps':>9s}{'first-last':>12s}{'picture-mate':>14s}{'random':>9s}"
    print(f"{columns}   next step / random")
    at = codes[MATE_STEP]
    for rank, d in distances.items():
        next_step = torch.diagonal(d, 1).mean().item()
        five_steps = torch.diagonal(d, 5).mean().item()
        mate = leading_distance(at, at.roll(1, 0), rank).mean().item() if len(at) > 1 else float("nan")
        chance = random_leading_distance(ATOMS, ATOMS, rank)
        print(
            f"{rank:4d}{next_step:11.3f}{five_steps:9.3f}{d[0, -1]:12.3f}{mate:14.3f}{chance:9.3f}"
            f"{next_step / chance:12.0%}"
        )
    print(
        f"picture-mate: two different pictures, at step {MATE_STEP}. "
        f"At rank {PLOTTED_RANK}, from each step to the next one:"
    )
    steps = torch.diagonal(distances[PLOTTED_RANK], 1).tolist()
    print(" ".join(f"{value:.2f}" for value in steps), "\n")


def print_effect_of_atoms(s: Session) -> dict[int, list[float]]:
    """Print what happens to the pictures when a third of a code's atoms is changed.

    Args:
        s: The pictures.

    Returns:
        By step, the PSNR in dB after removing each single atom.
    """
    print(
        "2. Effect on the picture of changing atoms at T_x: PSNR in dB to the untouched picture; "
        "in brackets, share of the judge's 4 answers that changed"
    )
    names = ("removed", "halved", "x1.5", "values swapped", "atoms swapped", "both swapped", "equal noise")
    print(f"{'step':>4s} {'band':<8s}" + "".join(f"{name:>16s}" for name in names))
    plain = s.finish(s.code, 0)
    seen = s.model.judged(plain)
    single = {}
    for step in STEPS:
        x = s.source_code(step)
        for band in BANDS[1:]:
            cells = []
            for y in changed_codes(x, band):
                picture = s.finish(y, step)
                changed = (s.model.judged(picture) != seen).float().mean()
                cells.append(f"{psnr(picture, plain).mean():9.1f} ({changed:4.0%})")
            print(f"{step:4d} {band:<8s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)
        single[step] = []
        for atom in range(ATOMS):
            picture = s.finish(scale_atoms(x, atom, atom + 1, 0.0), step)
            single[step].append(psnr(picture, plain).mean().item())
    print(f"single atoms removed, PSNR in dB, atoms 1 to {ATOMS}:")
    for step, values in single.items():
        print(f"{step:4d} " + " ".join(f"{value:5.1f}" for value in values))
    print()
    return single


def changed_codes(x: Tensor, band: str) -> list[Tensor]:
    """Return codes like x [B, 4, 16, 16] with a band of atoms changed in each way of the table, in its order."""
    first, last = band_range(band, ATOMS)
    other = x.roll(1, 0)
    removed = scale_atoms(x, first, last, 0.0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
    size = (removed - x).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return [
        removed,
        scale_atoms(x, first, last, 0.5),
        scale_atoms(x, first, last, 1.5),
        *(swap_atoms(x, other, first, last, what) for what in SWAPPED),
        x + noise * size[:, None, None, None],
    ]


def print_encoded(model: DemoModel, drawn: Faces, attributes: list[str]) -> None:
    """Print how often an attribute comes with atoms or values of the target code of the picture's own pair."""
    print(
        "Encoded attributes: share of pictures that show the attribute when atoms of the target code (own noise, "
        "branched as late as the attribute allows) take the place of the source code's "
        f"at step {defaults.T_X_STEP}"
    )
    columns = []
    for what in SWAPPED:
        columns += [(what, band) for band in BANDS]
    print(f"{'':<9s}" + "".join(f"{what + ' ' + band:>15s}" for what, band in columns))
    for name in attributes:
        s = Session(model, drawn, name)
        x = s.source_code(defaults.T_X_STEP)
        z = s.target_code()
        shares = []
        for what, band in columns:
            first, last = band_range(band, ATOMS)
            picture = s.finish(swap_atoms(x, z, first, last, what), defaults.T_X_STEP)
            shares.append(model.judged(picture)[:, ATTRIBUTES.index(name)].float().mean().item())
        print(f"{name:<9s}" + "".join(f"{share:15.2f}" for share in shares), flush=True)
    print()


def profiles(model: DemoModel, name: str, count: int) -> Tensor:
    """Measure which atoms of the source code an attribute moves, at each step; the prompts differ from the start.

    Args:
        model: The embedded model.
        name: The attribute.
        count: Noises that the mean is taken over.

    Returns:
        Shares of the change along each atom, [S, 16].
    """
    sigmas = model.sigmas(defaults.STEPS)
    source, target, _ = learning.prompts(model, name, defaults.LEARN_GUIDANCE)
    x = z = starting_noise(model, count, PROFILE_SEED, sigmas)
    found = []
    for step in range(defaults.STEPS):
        x = sample_euler(source, x, sigmas[step : step + 2])
        z = sample_euler(target, z, sigmas[step : step + 2])
        found.append(attribute_profile(x, z).mean(0))
    return torch.stack(found).cpu()


def print_mobility(mobility: dict[str, Tensor], sigmas: Tensor) -> None:
    """Print where among the atoms each attribute sits along the schedule; mobility: profiles by attribute."""
    print(
        "3. Mobility in order: where among the source code's atoms the attribute's change sits "
        "(0 = the first atom, 1 = the last, 0.5 = no order)"
    )
    shown = [*range(1, defaults.STEPS, 3), defaults.STEPS - 1]
    print(f"{'sigma':<9s}" + "".join(f"{sigmas[i + 1]:8.2f}" for i in shown))
    for name, profile in mobility.items():
        print(f"{name:<9s}" + "".join(f"{value:8.3f}" for value in mean_rank(profile)[shown].tolist()))
    print("share of the change along the first four atoms (no order: 0.25)")
    for name, profile in mobility.items():
        print(f"{name:<9s}" + "".join(f"{value:8.2f}" for value in profile[shown, :4].sum(1).tolist()))


def figure(columns: int, rows: int = 1, size: tuple[float, float] = (4.2, 3.6)) -> tuple[Any, Any]:
    """Return a matplotlib figure and its axes, [rows, columns]; size: inches of one panel."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=90, layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(rows, columns, squeeze=False)


def plot(
    distances: dict[int, Tensor],
    atoms: dict[int, list[float]],
    mobility: dict[str, Tensor],
    sigmas: Tensor,
    path: Path,
) -> None:
    """Plot what the tables say: subspace distances, the effect of single atoms, and mobility."""
    made, axes = figure(4)
    near, far, effect, order = axes[0]

    image = near.imshow(distances[PLOTTED_RANK], cmap="viridis")
    made.colorbar(image, ax=near, shrink=0.8)
    near.set(title=f"distance of rank-{PLOTTED_RANK} subspaces", xlabel="step", ylabel="step")

    for i, (rank, d) in enumerate(distances.items()):
        by_lag = [torch.diagonal(d, lag).mean().item() for lag in range(len(d))]
        far.plot(by_lag, color=f"C{i}", label=f"rank {rank}")
        far.axhline(random_leading_distance(ATOMS, ATOMS, rank), color=f"C{i}", ls=":")
    far.set(title="distance by steps apart (dotted: random)", xlabel="steps apart", ylabel="geodesic distance")
    far.legend(fontsize=8)

    for step, values in atoms.items():
        effect.plot(range(1, ATOMS + 1), values, marker="o", ms=3, label=f"step {step}")
    effect.set(title="one atom removed", xlabel="atom", ylabel="PSNR to the untouched picture, dB")
    effect.legend(fontsize=8)

    for name, profile in mobility.items():
        order.plot(sigmas[1:-1].cpu(), mean_rank(profile)[:-1], label=name)
    order.axhline(0.5, color="0.6", ls=":")
    order.set(title="where the attribute sits (0: first atom)", xlabel="sigma", xscale="log", ylabel="mean rank")
    order.invert_xaxis()
    order.legend(fontsize=8)

    made.savefig(path)
    print(f"\n{path}")


def plot_sheet(s: Session, path: Path) -> None:
    """Draw pictures with a band of atoms removed, or swapped with the next picture's."""
    code = s.source_code(defaults.T_X_STEP)
    x = code[:SHEET_FACES]
    other = code.roll(1, 0)[:SHEET_FACES]
    columns = {"untouched": x}
    for band in BANDS[1:]:
        first, last = band_range(band, ATOMS)
        columns[f"{band} removed"] = scale_atoms(x, first, last, 0.0)
    for what, band in (("values", "all"), ("atoms", "coarse"), ("atoms", "fine")):
        first, last = band_range(band, ATOMS)
        columns[f"{band} {what} of\nanother face"] = swap_atoms(x, other, first, last, what)
    made, axes = figure(len(columns), len(x), (1.3, 1.3))
    for column, (title, codes) in enumerate(columns.items()):
        for row, picture in enumerate(s.finish(codes, defaults.T_X_STEP)):
            axes[row][column].imshow(picture.cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
            axes[row][column].axis("off")
        axes[0][column].set_title(title, fontsize=8)
    made.savefig(path)
    print(path)
