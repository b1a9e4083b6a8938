"""How fast Latent SVD is on large latents, beside plain torch.linalg.svd in the same run: ``python benchmarks/latent_svd_speed.py``.

Best of five each, on the CPU. The error is that of the rank-12 part, relative to the full SVD in float64.
"""

from __future__ import annotations

import argparse
import time

import torch
from singular_edit.core import Training, apply_attribute, channel_svd, learn_attribute
from singular_edit.core.latent_svd.svd import compose

SHAPES = {
    "SD 1.5, 64x64": (1, 4, 64, 64),
    "SD 1.5, batch 4": (4, 4, 64, 64),
    "SDXL, 96x168": (1, 4, 96, 168),
    "Flux, 128x128, batch 4": (4, 16, 128, 128),
    "Flux, 96x168, batch 4": (4, 16, 96, 168),
}
RANK = 12


def best(work, rounds: int = 5) -> float:
    """Milliseconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return 1e3 * min(taken)


def written_out(x: torch.Tensor) -> torch.Tensor:
    """The rank-12 part by the full SVD in x's own precision."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    return (u[..., :RANK] * s[..., None, :RANK]) @ vh[..., :RANK, :]


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds, and the plain SVD's time over ours\n"
    )
    print(
        f"{'':<24s}{'svd f32':>9s}{'svd f64':>9s}{'rank 12':>9s}{'f32/ours':>9s}{'f64/ours':>9s}{'error':>9s}{'error f32':>10s}{'learn':>9s}{'edit':>8s}{'x2 edit':>8s}{'mlp s':>7s}"
    )
    for label, shape in SHAPES.items():
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        z = x + 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(1)) + torch.hann_window(shape[-1])
        full = x.double()
        plain, double, ours = (
            best(work)
            for work in (
                lambda: torch.linalg.svd(x, full_matrices=False),
                lambda: torch.linalg.svd(full, full_matrices=False),
                lambda: channel_svd(full, RANK),
            )
        )
        true = written_out(full)
        errors = [
            ((part - true).norm() / true.norm()).item() for part in (compose(channel_svd(full, RANK)), written_out(x))
        ]
        attribute = learn_attribute(x, z, RANK)
        larger = torch.nn.functional.interpolate(x, scale_factor=2)
        times = (
            best(lambda: learn_attribute(x, z, RANK)),
            best(lambda: apply_attribute(x, attribute, 1.0)),
            best(lambda: apply_attribute(larger, attribute, 1.0)),
        )
        trained = best(lambda: learn_attribute(x, z, RANK, training=Training()), rounds=1) / 1e3
        print(
            f"{label:<24s}{plain:9.1f}{double:9.1f}{ours:9.1f}{plain / ours:9.2f}{double / ours:9.2f}{errors[0]:9.1e}{errors[1]:10.1e}{times[0]:9.1f}{times[1]:8.1f}{times[2]:8.1f}{trained:7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
