"""Time Latent SVD on large latents, beside plain torch.linalg.svd in the same run.

    python benchmarks/latent_svd_speed.py

Each time is the best of five, on the CPU. The error is that of the rank-12 part, relative to the full SVD in float64.
A recorded output is in benchmarks/results/latent_svd_speed.txt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from singular_edit.core import apply_attribute, channel_svd, learn_attribute
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.recipes import defaults
from torch import Tensor

SHAPES = {
    "SD 1.5, 64x64": (1, 4, 64, 64),
    "SD 1.5, batch 4": (4, 4, 64, 64),
    "SDXL, 96x168": (1, 4, 96, 168),
    "Flux, 128x128, batch 4": (4, 16, 128, 128),
    "Flux, 96x168, batch 4": (4, 16, 96, 168),
}
RANK = 12
ROUNDS = 5


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the shortest time that the work takes, in milliseconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def leading_part(x: Tensor) -> Tensor:
    """Return the rank-12 part of x by the full SVD in its own precision, like x [..., H, W]."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return (u[..., :RANK] * s[..., None, :RANK]) @ vh[..., :RANK, :]


def row(label: str, shape: tuple[int, ...]) -> str:
    """Return the line of the table for latents of this shape."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    z = x + 0.3 * noise + torch.hann_window(shape[-1])
    full = x.double()

    plain = best(lambda: torch.linalg.svd(x, full_matrices=False))
    double = best(lambda: torch.linalg.svd(full, full_matrices=False))
    ours = best(lambda: channel_svd(full, RANK))

    true = leading_part(full)
    error = float((compose(channel_svd(full, RANK)) - true).norm() / true.norm())
    error_float32 = float((leading_part(x) - true).norm() / true.norm())

    settings = AttributeSettings(rank=RANK)
    attribute = learn_attribute(x, z, settings)
    larger = torch.nn.functional.interpolate(x, scale_factor=2)
    learn = best(lambda: learn_attribute(x, z, settings))
    edit = best(lambda: apply_attribute(x, attribute, 1.0))
    edit_larger = best(lambda: apply_attribute(larger, attribute, 1.0))
    by_mlp = AttributeSettings(rank=RANK, training=defaults.PREDICTOR_TRAINING)
    trained = best(lambda: learn_attribute(x, z, by_mlp), rounds=1) / 1e3

    return (
        f"{label:<24s}{plain:9.1f}{double:9.1f}{ours:9.1f}{plain / ours:9.2f}{double / ours:9.2f}"
        f"{error:9.1e}{error_float32:10.1e}{learn:9.1f}{edit:8.1f}{edit_larger:8.1f}{trained:7.2f}"
    )


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; "
        "milliseconds, and the plain SVD's time over ours\n"
    )
    print(
        f"{'':<24s}{'svd f32':>9s}{'svd f64':>9s}{'rank 12':>9s}{'f32/ours':>9s}{'f64/ours':>9s}"
        f"{'error':>9s}{'error f32':>10s}{'learn':>9s}{'edit':>8s}{'x2 edit':>8s}{'mlp s':>7s}"
    )
    for label, shape in SHAPES.items():
        print(row(label, shape), flush=True)


if __name__ == "__main__":
    main()
