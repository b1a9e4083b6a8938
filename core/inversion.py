"""From a picture to the code from which the stock Euler sampler gives the picture back.

A sampler's step from sigma_hi to sigma_lo is x_lo = x_hi + (sigma_lo - sigma_hi) * d(x_hi, sigma_hi). DDIM
inversion evaluates d at x_lo instead of the unknown x_hi and so drifts; here each step is solved for x_hi.
Everything is in model space.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

import torch
from torch import Tensor

from .denoiser import Denoiser, to_d
from .errors import EditError, check_latent, check_sigmas

METHODS = ("fixed_point", "ddim")


@dataclass
class InversionReport:
    """What an inversion cost and how well each step was solved (residual: |g(x) - x| / |x|, worst sample)."""

    method: str
    sigmas: list[float]
    calls: int = 0
    residuals: list[float] = field(default_factory=list)
    capped: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_step: int = 0

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def worst(self) -> float:
        return max(self.residuals, default=0.0)

    def text(self) -> str:
        lines = [f"{self.method}: {self.steps} steps from sigma {self.sigmas[-1]:.4g} up to {self.sigmas[0]:.4g}, "
                 f"{self.calls} model calls ({self.calls / max(self.steps, 1):.2f} a step)"]
        if self.method == "ddim":
            lines.append("ddim solves nothing: the way back drifts. Use fixed_point for an exact round trip.")
        elif self.residuals:
            lines.append(f"worst relative residual {self.worst:.2e}")
        if self.capped:
            named = ", ".join(f"step {self.first_step + i} (sigma {self.sigmas[i]:.4g})" for i in self.capped)
            lines.append(f"not solved to tolerance: {named}. Lower the guidance, use more steps, or raise max_iterations.")
        return "\n".join(lines + self.notes)


def _descending(sigmas: Tensor, stop_at_step: int) -> Tensor:
    check_sigmas(sigmas)
    if not 0 <= stop_at_step < len(sigmas) - 1:
        raise EditError(f"stop_at_step is {stop_at_step}; this schedule accepts 0 (all the way) to {len(sigmas) - 2}.")
    return sigmas[stop_at_step:]


@torch.no_grad()
def ddim_inversion(denoise: Denoiser, x: Tensor, sigmas: Tensor, stop_at_step: int = 0,
                   callback: Callable[[int, Tensor], None] | None = None) -> tuple[Tensor, InversionReport]:
    """The explicit baseline (Song et al. 2021, section 4.3 run backwards): one call a step.

    x: model space [B, C, H, W] at sigmas[-1]; sigmas: the sampler's own, descending [n + 1]. Returns the code
    at sigmas[stop_at_step]. Where sigma_lo is 0, d is taken at sigma_hi: it has no value at 0.
    Raises EditError on bad sigmas, stop_at_step or x.
    """
    sigmas = _descending(sigmas, stop_at_step)
    check_latent(x, "latent_image")
    report = InversionReport("ddim", sigmas.tolist(), first_step=stop_at_step)
    for i in reversed(range(len(sigmas) - 1)):
        high, low = sigmas[i], sigmas[i + 1]
        at = low if low > 0 else high
        x = x + (high - low) * to_d(x, at, denoise(x, at))
        report.calls += 1
        if callback is not None:
            callback(i, x)
    return x, report


@torch.no_grad()
def fixed_point_inversion(denoise: Denoiser, x: Tensor, sigmas: Tensor, tolerance: float = 1e-5, max_iterations: int = 20,
                          stop_at_step: int = 0, depth: int = 3,
                          callback: Callable[[int, Tensor], None] | None = None) -> tuple[Tensor, InversionReport]:
    """Solve every Euler step for its input by Anderson-accelerated fixed-point iteration.

    x_hi = x_lo - (sigma_lo - sigma_hi) * d(x_hi, sigma_hi), started from the previous step's direction, until
    |residual| < tolerance * |x_hi| for every sample or max_iterations model calls. Same arguments and return
    as ddim_inversion; steps that hit the cap are named in the report, never hidden. The state is float64 where
    the device has it, the model runs in x's own precision. Each sample keeps its own history, and stands still once it is solved.
    Raises EditError as ddim_inversion does, and when the model's prediction is not finite.
    """
    sigmas = _descending(sigmas, stop_at_step)
    check_latent(x, "latent_image")
    dtype, direction = x.dtype, None
    state = x.to(torch.float32 if x.device.type == "mps" else torch.float64)  # Apple's GPUs have no float64
    levels = sigmas.to(state)
    report = InversionReport("fixed_point", sigmas.tolist(), first_step=stop_at_step)
    for i in reversed(range(len(sigmas) - 1)):
        high, gap, exact = levels[i], levels[i] - levels[i + 1], state

        def g(guess: Tensor) -> Tensor:
            report.calls += 1
            return exact + gap * to_d(guess, high, denoise(guess.to(dtype), sigmas[i]).to(guess))

        guess = state if direction is None else state + gap * direction
        state, residual = anderson(g, guess, tolerance, max_iterations, depth)
        if not torch.isfinite(residual).all():
            raise EditError(f"The model's prediction is not finite at sigma {float(high):.4g}; check the model, its precision and the latent.")
        direction = (state - exact) / gap
        report.residuals.insert(0, residual.max().item())
        if residual.max() >= tolerance:
            report.capped.insert(0, i)
        if callback is not None:
            callback(i, state)
    return state.to(dtype), report


def anderson(g: Callable[[Tensor], Tensor], x: Tensor, tolerance: float, max_iterations: int, depth: int) -> tuple[Tensor, Tensor]:
    """Solve x = g(x) for a batch [B, ...] by Anderson acceleration (Walker and Ni 2011, type II), row by row.

    Returns the best x seen of each row and its relative residual |g(x) - x| / |x| [B]. Rows are independent:
    a row's answer does not depend on its neighbours.
    """
    shape, x = x.shape, x.flatten(1)
    best, best_residual = x, torch.full_like(x[:, 0], float("inf"))
    history_x, history_f = [], []
    for _ in range(max_iterations):
        value = g(x.reshape(shape)).flatten(1)
        f = value - x
        residual = f.norm(dim=1) / x.norm(dim=1).clamp(min=1e-12)
        solved = best_residual < tolerance
        better = (residual < best_residual) & ~solved
        # What is known best is g(x) only where x itself was not yet good enough to keep.
        best = torch.where(better[:, None], x, best)
        best_residual = torch.where(better, residual, best_residual)
        if (best_residual < tolerance).all():
            break
        history_x, history_f = (history_x + [x])[-depth - 1:], (history_f + [f])[-depth - 1:]
        x = value
        if len(history_f) > 1:
            df = torch.stack([b - a for a, b in zip(history_f, history_f[1:])], dim=2)
            dx = torch.stack([b - a for a, b in zip(history_x, history_x[1:])], dim=2)
            gram = df.transpose(1, 2) @ df
            ridge = 1e-12 * gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(gram.dtype).tiny)
            gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
            gamma = torch.linalg.solve_ex(gram, df.transpose(1, 2) @ f[:, :, None]).result
            x = value - ((dx + df) @ gamma)[:, :, 0]
    return best.reshape(shape), best_residual
