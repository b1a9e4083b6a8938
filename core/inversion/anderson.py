"""Solve x = g(x) for a batch of latents by Anderson acceleration, each row for itself.

Walker and Ni, "Anderson acceleration for fixed-point iterations" (2011), type II. Ours are the stopping rule and the
restart, because model calls are all that counts here:

- A row stops as soon as its *next* iterate can be expected to be good enough: its residual times the contraction that
  was seen last. Where the residual is to be known and not expected, it stops one evaluation later, at a point that was
  measured.
- A row that stops improving is restarted once from its best point with half steps; if it stops improving again, it is
  left at its best point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

FixedPointMap = Callable[[Tensor], Tensor]

# All of these were chosen on the embedded model.
# Contraction (residual / last residual) that is expected of a map before it has been evaluated twice.
EXPECTED_CONTRACTION = 0.3
# Measured contractions below this are not trusted.
MIN_CONTRACTION = 0.02
# Below this contraction, the next iterate is taken to be better than the best one that was measured.
CONTRACTING = 0.9
# Evaluations after which a row is stuck, where none of them brings the residual below two thirds of the best one.
PATIENCE = 5
# Factor of the steps of a restarted row.
DAMPING = 0.5
# Added to the diagonal of the least-squares problem, relative to its trace.
RIDGE = 1e-10


@dataclass
class Solution:
    """What the solver found.

    Attributes:
        x: The answers, like the guess.
        residual: |g(x) - x| / size at x, [B]: what was measured there, or what is expected of the next iterate.
        solved: Whether that is below the tolerance, [B].
        calls: Evaluations of g.
    """

    x: Tensor
    residual: Tensor
    solved: Tensor
    calls: int


@torch.no_grad()
def solve(
    g: FixedPointMap,
    guess: Tensor,
    tolerance: float,
    max_iterations: int,
    *,
    depth: int = 5,
    patience: int = PATIENCE,
    size: Tensor | None = None,
    measured: bool = False,
) -> Solution:
    """Solve x = g(x) by Anderson acceleration.

    g is always evaluated for the whole batch, but the answer of a row does not depend on the other rows.

    Args:
        g: The map, from [B, ...] to the same shape.
        guess: Where to begin, [B, ...].
        tolerance: Largest residual, relative to ``size``.
        max_iterations: Evaluations of g at most, 1 or more.
        depth: How many differences of iterates are remembered.
        patience: Evaluations without improvement after which a row is restarted, and the second time left at its best.
        size: What residuals are relative to, [B]; None for |guess|.
        measured: Whether an answer is a point at which g was evaluated, so that its residual is not an expectation.

    Returns:
        The solution.
    """
    x = guess.flatten(1)
    size = (x.norm(dim=1) if size is None else size).clamp(min=1e-12)
    memory = _Memory(depth)
    best = x
    best_f = x
    best_residual = torch.full((len(x),), float("inf"), dtype=x.dtype, device=x.device)
    last_residual = best_residual
    answer = x
    expected = torch.full_like(best_residual, float("inf"))
    contraction = torch.full_like(best_residual, EXPECTED_CONTRACTION)
    damping = torch.ones_like(best_residual)
    idle = torch.zeros(len(x), dtype=torch.long, device=x.device)
    solved = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    stopped = solved
    calls = 0
    for _ in range(max_iterations):
        # Evaluate.
        calls += 1
        f = g(x.reshape(guess.shape)).flatten(1) - x
        residual = f.norm(dim=1) / size
        seen = (residual / last_residual).clamp(MIN_CONTRACTION, 1.0)
        contraction = torch.where(torch.isfinite(last_residual), seen, contraction)
        idle = torch.where(residual < best_residual * 2 / 3, 0, idle + 1)

        # Keep the best point of each row.
        better = residual < best_residual
        best = torch.where(better[:, None], x, best)
        best_f = torch.where(better[:, None], f, best_f)
        best_residual = torch.where(better, residual, best_residual)

        # Where the map contracts, the next iterate is better still although it is not measured; elsewhere only what
        # was measured counts.
        next_x = memory.mix(x, f, damping)
        unmeasured = better & (contraction < CONTRACTING) & (not measured)
        moving = ~stopped
        answer = torch.where(moving[:, None], torch.where(unmeasured[:, None], next_x, best), answer)
        expected = torch.where(moving, torch.where(unmeasured, residual * contraction, best_residual), expected)

        # Stop the rows that are solved, and those that are stuck for the second time.
        stuck = moving & (idle >= patience)
        solved = solved | (moving & (expected < tolerance))
        stopped = stopped | solved | (stuck & (damping < 1))
        if stopped.all():
            break

        # Restart the rows that are stuck for the first time, with half steps from their best point.
        restarted = stuck & ~stopped
        damping = torch.where(restarted, DAMPING, damping)
        idle = torch.where(restarted, 0, idle)
        memory.restart(restarted, best, best_f)
        last_residual = torch.where(restarted, best_residual, residual)
        next_x = torch.where(restarted[:, None], best + DAMPING * best_f, next_x)
        x = torch.where(stopped[:, None], answer, next_x)
    return Solution(answer.reshape(guess.shape), expected, solved, calls)


class _Memory:
    """The last differences of x and of f = g(x) - x, by row."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.last: tuple[Tensor, Tensor] | None = None
        self.dx: list[Tensor] = []
        self.df: list[Tensor] = []

    def mix(self, x: Tensor, f: Tensor, damping: Tensor) -> Tensor:
        """Remember x and f [B, N], and return the next iterate.

        It is x + damping * f - (dX + damping * dF) gamma, where gamma minimises |f - dF gamma|.
        """
        if self.last is not None:
            last_x, last_f = self.last
            self.dx = [*self.dx, x - last_x][-self.depth :]
            self.df = [*self.df, f - last_f][-self.depth :]
        self.last = (x, f)
        next_x = x + damping[:, None] * f
        if not self.df:
            return next_x

        # Least squares of f in the differences of f, by the normal equations.
        dx = torch.stack(self.dx, dim=2)
        df = torch.stack(self.df, dim=2)
        gram = df.transpose(1, 2) @ df
        trace = gram.diagonal(dim1=1, dim2=2).sum(1)
        ridge = RIDGE * trace.clamp(min=torch.finfo(gram.dtype).tiny)
        identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        gram = gram + ridge[:, None, None] * identity
        gamma = torch.linalg.solve_ex(gram, df.transpose(1, 2) @ f[:, :, None]).result
        correction: Tensor = (dx + damping[:, None, None] * df) @ gamma
        return next_x - correction[:, :, 0]

    def restart(self, rows: Tensor, x: Tensor, f: Tensor) -> None:
        """Forget what these rows [B] remember, and let them begin anew from x and f."""
        if self.last is None:
            return
        rows = rows[:, None]
        last_x, last_f = self.last
        self.last = (torch.where(rows, x, last_x), torch.where(rows, f, last_f))
        self.dx = [difference.masked_fill(rows, 0) for difference in self.dx]
        self.df = [difference.masked_fill(rows, 0) for difference in self.df]
