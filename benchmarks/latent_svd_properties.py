"""The three properties of arXiv 2502.02225 on the embedded model: small neighbourhood, encoded attributes, mobility in order."""

from __future__ import annotations

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
from singular_edit.demo import faces
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import SOURCE, Session, starting_noise
from singular_edit.demo.words import caption
from torch import Tensor

RANKS = (1, 2, 4, 8)
STEPS = (4, 8, 13, 17, 22)  # T_x of the tables
SIZE = 16


def main(model, args) -> None:
    sigmas = model.sigmas(defaults.STEPS)
    s = Session(model, args.faces, args.attributes[0])
    codes = [s.to_step(SOURCE, step) for step in range(defaults.STEPS + 1)]
    distances = {rank: trajectory_distances(codes, rank) for rank in RANKS}
    neighbourhood(distances, codes, sigmas)
    atoms = effect_of_atoms(s, args.count)
    encoded(model, args)
    mobility = {name: profiles(model, name, args.count) for name in args.attributes}
    print_mobility(mobility, sigmas)
    plot(distances, atoms, mobility, sigmas, args.output / "latent_svd_properties.png")
    sheet(s, args.output / "latent_svd_atoms.png")


def neighbourhood(distances: dict[int, Tensor], codes: list[Tensor], sigmas: Tensor) -> None:
    print(
        "1. Small neighbourhood: geodesic distance of leading singular subspaces (mean of left and right, channels, pictures)"
    )
    print(
        f"{'rank':>4s}{'next step':>11s}{'5 steps':>9s}{'first-last':>12s}{'picture-mate':>14s}{'random':>9s}   next step / random"
    )
    for rank, d in distances.items():
        at = lambda lag: torch.diagonal(d, lag).mean().item()
        mate = (
            leading_distance(codes[12], codes[12].roll(1, 0), rank).mean().item() if len(codes[0]) > 1 else float("nan")
        )
        chance = random_leading_distance(SIZE, SIZE, rank)
        print(f"{rank:4d}{at(1):11.3f}{at(5):9.3f}{d[0, -1]:12.3f}{mate:14.3f}{chance:9.3f}{at(1) / chance:12.0%}")
    print("picture-mate: two different pictures, at step 12. At rank 4, from each step to the next one:")
    print(" ".join(f"{value:.2f}" for value in torch.diagonal(distances[4], 1).tolist()), "\n")


def effect_of_atoms(s, count: int) -> dict[int, list[float]]:
    """Prints what happens to the picture; returns the PSNR after removing each single atom, by step."""
    print(
        "2. Effect on the picture of changing atoms at T_x: PSNR in dB to the untouched picture; in brackets, share of the judge's 4 answers that changed"
    )
    plain, single = s.finish(s.code, 0), {}
    seen = s.model.judged(plain)
    print(
        f"{'step':>4s} {'band':<8s}"
        + "".join(
            f"{name:>16s}"
            for name in ("removed", "halved", "x1.5", "values swapped", "atoms swapped", "both swapped", "equal noise")
        )
    )
    for step in STEPS:
        x = s.to_step(SOURCE, step)
        other = x.roll(1, 0)
        for band in BANDS[1:]:
            first, last = band_range(band, SIZE)
            removed = scale_atoms(x, first, last, 0.0)
            noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
            noise = (
                x + noise * ((removed - x).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1))[:, None, None, None]
            )
            made = [
                removed,
                scale_atoms(x, first, last, 0.5),
                scale_atoms(x, first, last, 1.5),
                *(swap_atoms(x, other, first, last, what) for what in ("values", "atoms", "both")),
                noise,
            ]
            cells = []
            for y in made:
                picture = s.finish(y, step)
                cells.append(
                    f"{psnr(picture, plain).mean():9.1f} ({(s.model.judged(picture) != seen).float().mean():4.0%})"
                )
            print(f"{step:4d} {band:<8s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)
        single[step] = [psnr(s.finish(scale_atoms(x, j, j + 1, 0.0), step), plain).mean().item() for j in range(SIZE)]
    print("single atoms removed, PSNR in dB, atoms 1 to 16:")
    for step, values in single.items():
        print(f"{step:4d} " + " ".join(f"{value:5.1f}" for value in values))
    print()
    return single


def encoded(model, args) -> None:
    print(
        "Encoded attributes: share of pictures that show the attribute when atoms of the target code (own noise, parted as late "
        f"as the attribute allows) take the place of the source code's at step {defaults.T_X_STEP}"
    )
    columns = [(what, band) for what in ("values", "atoms", "both") for band in BANDS]
    print(f"{'':<9s}" + "".join(f"{what + ' ' + band:>15s}" for what, band in columns))
    for name in args.attributes:
        s = Session(model, args.faces, name)
        x, z = (s.to_step(prompt, defaults.T_X_STEP) for prompt in (SOURCE, s.target))
        index, shares = faces.ATTRIBUTES.index(name), []
        for what, band in columns:
            picture = s.finish(swap_atoms(x, z, *band_range(band, SIZE), what), defaults.T_X_STEP)
            shares.append(model.judged(picture)[:, index].float().mean().item())
        print(f"{name:<9s}" + "".join(f"{share:15.2f}" for share in shares), flush=True)
    print()


def profiles(model, name: str, count: int) -> Tensor:
    """[S, r]: at each step, which atoms of the source code the attribute moves; both prompts from the start."""
    sigmas = model.sigmas(defaults.STEPS)
    noise = starting_noise(model, count, 7, sigmas)
    source, target = (
        model.denoiser(SOURCE, cfg=defaults.LEARN_GUIDANCE),
        model.denoiser(caption([name]), cfg=defaults.LEARN_GUIDANCE),
    )
    x, z, found = noise, noise, []
    for step in range(defaults.STEPS):
        x, z = (sample_euler(denoise, code, sigmas[step : step + 2]) for denoise, code in ((source, x), (target, z)))
        found.append(attribute_profile(x, z).mean(0))
    return torch.stack(found).cpu()


def print_mobility(mobility: dict[str, Tensor], sigmas: Tensor) -> None:
    print(
        "3. Mobility in order: where among the source code's atoms the attribute's change sits (0 = the first atom, 1 = the last, 0.5 = no order)"
    )
    shown = list(range(1, defaults.STEPS, 3)) + [defaults.STEPS - 1]
    print(f"{'sigma':<9s}" + "".join(f"{sigmas[i + 1]:8.2f}" for i in shown))
    for name, profile in mobility.items():
        print(f"{name:<9s}" + "".join(f"{value:8.3f}" for value in mean_rank(profile)[shown].tolist()))
    print("share of the change along the first four atoms (no order: 0.25)")
    for name, profile in mobility.items():
        print(f"{name:<9s}" + "".join(f"{value:8.2f}" for value in profile[shown, :4].sum(1).tolist()))


def figure(columns: int, rows: int = 1, size: tuple[float, float] = (4.2, 3.6)):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=90, layout="constrained")
    FigureCanvasAgg(made)
    return made, made.subplots(rows, columns, squeeze=False)


def plot(distances, atoms, mobility, sigmas, path) -> None:
    made, ((near, far, effect, order),) = figure(4)
    image = near.imshow(distances[4], cmap="viridis")
    made.colorbar(image, ax=near, shrink=0.8)
    near.set(title="distance of rank-4 subspaces", xlabel="step", ylabel="step")
    for i, (rank, d) in enumerate(distances.items()):
        far.plot([torch.diagonal(d, lag).mean().item() for lag in range(len(d))], color=f"C{i}", label=f"rank {rank}")
        far.axhline(random_leading_distance(SIZE, SIZE, rank), color=f"C{i}", ls=":")
    far.set(title="distance by steps apart (dotted: random)", xlabel="steps apart", ylabel="geodesic distance")
    far.legend(fontsize=8)
    for step, values in atoms.items():
        effect.plot(range(1, SIZE + 1), values, marker="o", ms=3, label=f"step {step}")
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


def sheet(s, path, shown: int = 4, step: int = defaults.T_X_STEP) -> None:
    """Pictures with a band removed or swapped with the next picture's."""
    x = s.to_step(SOURCE, step)[:shown]
    other = s.to_step(SOURCE, step).roll(1, 0)[:shown]
    columns = {"untouched": x} | {f"{band} removed": scale_atoms(x, *band_range(band, SIZE), 0.0) for band in BANDS[1:]}
    columns |= {
        f"{band} {what} of\nanother face": swap_atoms(x, other, *band_range(band, SIZE), what)
        for what, band in (("values", "all"), ("atoms", "coarse"), ("atoms", "fine"))
    }
    made, axes = figure(len(columns), len(x), (1.3, 1.3))
    for column, (title, codes) in enumerate(columns.items()):
        for row, picture in enumerate(s.finish(codes, step)):
            axes[row][column].imshow(picture.cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
            axes[row][column].axis("off")
        axes[0][column].set_title(title, fontsize=8)
    made.savefig(path)
    print(path)
