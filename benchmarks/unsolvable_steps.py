"""Steps that no inversion can solve, on the embedded model: ``python benchmarks/folds.py``.

An inversion must find, at each step, the x with f(x) = euler(x) - below = 0. Strong guidance folds the map: some latents are reached from nowhere. For every step
that fixed_point left unsolved, |f| is minimised without it, by L-BFGS in float64, from the inversion's own answer and from random starts. Where all of them end
at the same |f| > 0 with a gradient J^T f of zero, there is nothing to find: f stands perpendicular to everything the step can reach.
"""

from __future__ import annotations

import argparse

import torch
from singular_edit.core import QUALITIES, fixed_point_inversion
from singular_edit.core.samplers import euler_step
from singular_edit.demo import faces, loader
from singular_edit.demo.words import caption
from torch import Tensor

SEED = 50_000


class Guided:
    """Euler's step in float64, differentiable in x (the library's denoiser is differentiable in h alone)."""

    def __init__(self, model: loader.DemoModel, cfg: float):
        self.unet, self.cfg, self.empty = model.unet.double(), cfg, model.context("").double()
        self.log_sigmas = model.denoiser("").log_sigmas

    def step(self, x: Tensor, context: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        t = (self.log_sigmas - sigma.log().float()).abs().argmin().expand(2)
        scaled = (x / (sigma**2 + 1) ** 0.5).repeat(2, 1, 1, 1)
        eps, uncond = self.unet(scaled, t, encoder_hidden_states=torch.cat([context, self.empty])).sample.chunk(2)
        return euler_step(x, x - sigma * (uncond + self.cfg * (eps - uncond)), sigma, sigma_next)


def least_residual(f, x: Tensor, size: Tensor) -> tuple[float, float]:
    """The smallest |f| / size that L-BFGS finds from x, and |J^T f| / |f| there."""
    x = x.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [x], max_iter=250, history_size=50, line_search_fn="strong_wolfe", tolerance_grad=1e-14, tolerance_change=1e-16
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = 1e6 * (f(x) / size).square().sum()  # scaled, so that its tolerances are out of the way
        loss.backward()
        return loss

    search.step(closure)
    left = f(x)
    (gradient,) = torch.autograd.grad(left, x, left.detach())
    return float(left.detach().norm() / size), float(gradient.norm() / left.detach().norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="held-out renders, each under its own caption")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--starts", type=int, default=3, help="random starts beside the inversion's own answer")
    parser.add_argument(
        "--above", type=float, default=1e-4, help="relative residual from which on a step is looked into"
    )
    args = parser.parse_args()
    model = loader.load()
    drawn = faces.sample(range(SEED, SEED + args.count))
    names = [caption(has_attribute) for has_attribute in drawn.names()]
    latents, sigmas = model.encode(faces.render(drawn)), model.sigmas(args.steps)
    denoise = model.denoiser("", cfg=args.guidance)
    denoise.context = context = torch.cat([model.context(name) for name in names])
    states = {args.steps: latents.double()}
    _, report = fixed_point_inversion(
        denoise, latents, sigmas, *QUALITIES["exact"], callback=lambda i, x: states.__setitem__(i, x.double())
    )
    print(
        f"{args.count} held-out renders under their own captions, euler, {args.steps} steps, guidance {args.guidance:g}\n{report.text()}\n"
    )
    print(
        "step    sigma  picture  residual left  least residual found, from the answer and from random starts  |J^T f|/|f|"
    )
    guided, levels, context = Guided(model, args.guidance), sigmas.double(), context.double()
    for i in reversed(range(args.steps)):
        for row in range(args.count):
            below, answer, size = states[i + 1][row : row + 1], states[i][row : row + 1], states[i + 1][row].norm()

            def f(x: Tensor) -> Tensor:
                return guided.step(x, context[row : row + 1], levels[i], levels[i + 1]) - below

            with torch.no_grad():
                left = float(f(answer).norm() / size)
            if left < args.above:
                continue
            gap, generator = levels[i] - levels[i + 1], torch.Generator().manual_seed(row)
            starts = [answer] + [
                below + gap * torch.randn(below.shape, generator=generator).to(below) for _ in range(args.starts)
            ]
            found, slopes = zip(*(least_residual(f, start, size) for start in starts))
            print(
                f"{i:4d} {float(levels[i]):8.3f} {row:8d} {left:14.1e}   {' '.join(f'{r:.2e}' for r in found):<60s} {max(slopes):.0e}   {names[row]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
