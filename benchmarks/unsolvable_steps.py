"""Find steps that no inversion can solve, on the embedded model: ``python benchmarks/unsolvable_steps.py``.

An inversion must find, at each step, the x with f(x) = euler(x) - below = 0. Under strong guidance the map euler is not
onto: there are latents that it reaches from nowhere. For every step that fixed_point left unsolved, |f| is minimised
without fixed_point, by L-BFGS in float64, from the inversion's own answer and from random starts. Where all of them end
at the same |f| > 0 with a gradient J^T f of zero, there is nothing to find: f stands perpendicular to everything that
the step can reach.
A recorded output is in benchmarks/results/unsolvable_steps.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from singular_edit.core import QUALITIES, fixed_point_inversion
from singular_edit.core.samplers import euler_step
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.session import HELD_OUT
from singular_edit.demo.words import caption
from torch import Tensor

# L-BFGS minimises |f / size|^2 times this, so that its own tolerances never end the search.
LOSS_SCALE = 1e6

Residual = Callable[[Tensor], Tensor]


class GuidedEuler:
    """Euler's step in float64, differentiable in x; the library's denoiser is differentiable in h alone.

    Args:
        model: The embedded model; its U-Net is made float64.
        cfg: Guidance.
    """

    def __init__(self, model: loader.DemoModel, cfg: float) -> None:
        self.unet = model.unet.double()
        self.cfg = cfg
        self.empty = model.context("").double()
        self.log_sigmas = model.denoiser("").log_sigmas

    def step(self, x: Tensor, context: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Make one step of one picture x, [1, 4, 16, 16] in model space, under context, [1, tokens, width]."""
        t = (self.log_sigmas - sigma.log().float()).abs().argmin().expand(2)
        scaled = (x / (sigma**2 + 1) ** 0.5).repeat(2, 1, 1, 1)
        contexts = torch.cat([context, self.empty])
        eps, uncond = self.unet(scaled, t, encoder_hidden_states=contexts).sample.chunk(2)
        denoised = x - sigma * (uncond + self.cfg * (eps - uncond))
        return euler_step(x, denoised, sigma, sigma_next)

    def residual(self, below: Tensor, context: Tensor, sigma: Tensor, sigma_next: Tensor) -> Residual:
        """Return f(x) = euler(x) - below."""

        def f(x: Tensor) -> Tensor:
            return self.step(x, context, sigma, sigma_next) - below

        return f


def least_residual(f: Residual, start: Tensor, size: Tensor) -> tuple[float, float]:
    """Minimise |f| by L-BFGS.

    Args:
        f: The residual of a step.
        start: Where the search starts.
        size: |below|, which residuals are relative to.

    Returns:
        The least |f| / size that was found, and |J^T f| / |f| there.
    """
    x = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [x], max_iter=250, history_size=50, line_search_fn="strong_wolfe", tolerance_grad=1e-14, tolerance_change=1e-16
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = LOSS_SCALE * (f(x) / size).square().sum()
        loss.backward()
        return loss

    search.step(closure)
    left = f(x)
    (gradient,) = torch.autograd.grad(left, x, left.detach())
    norm = left.detach().norm()
    return float(norm / size), float(gradient.norm() / norm)


def random_starts(below: Tensor, gap: Tensor, count: int, seed: int) -> list[Tensor]:
    """Draw starts around the latent below the step, as far from it as noise of the step's size."""
    generator = torch.Generator().manual_seed(seed)
    return [below + gap * torch.randn(below.shape, generator=generator).to(below) for _ in range(count)]


def main() -> None:
    """Print the least residual of every step and picture that the inversion left unsolved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=16, help="held-out renders, each under its own caption")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--starts", type=int, default=3, help="random starts beside the inversion's own answer")
    parser.add_argument("--above", type=float, default=1e-4, help="the least relative residual that is looked into")
    args = parser.parse_args()
    model = loader.load()
    drawn = faces.sample(range(HELD_OUT, HELD_OUT + args.count))
    prompts = [caption(names) for names in drawn.names()]
    latents = model.encode(faces.render(drawn))
    sigmas = model.sigmas(args.steps)
    context = torch.cat([model.context(prompt) for prompt in prompts])
    denoise = model.captioned(drawn, args.guidance)
    # The state at every step, as the inversion left it
    states = {args.steps: latents.double()}

    def keep(i: int, x: Tensor) -> None:
        states[i] = x.double()

    _, report = fixed_point_inversion(denoise, latents, sigmas, QUALITIES["exact"], callback=keep)
    print(
        f"{args.count} held-out renders under their own captions, euler, {args.steps} steps, "
        f"guidance {args.guidance:g}\n{report.text()}\n"
    )
    print(
        "step    sigma  picture  residual left  "
        "least residual found, from the answer and from random starts  |J^T f|/|f|"
    )
    euler = GuidedEuler(model, args.guidance)
    levels = sigmas.double()
    context = context.double()
    for i in reversed(range(args.steps)):
        for row, prompt in enumerate(prompts):
            below = states[i + 1][row : row + 1]
            answer = states[i][row : row + 1]
            size = below.norm()
            f = euler.residual(below, context[row : row + 1], levels[i], levels[i + 1])
            with torch.no_grad():
                left = float(f(answer).norm() / size)
            if left < args.above:
                continue
            starts = [answer, *random_starts(below, levels[i] - levels[i + 1], args.starts, row)]
            searches = [least_residual(f, start, size) for start in starts]
            found = " ".join(f"{residual:.2e}" for residual, _ in searches)
            slope = max(slope for _, slope in searches)
            print(
                f"{i:4d} {float(levels[i]):8.3f} {row:8d} {left:14.1e}   {found:<60s} {slope:.0e}   {prompt}",
                flush=True,
            )


if __name__ == "__main__":
    main()
