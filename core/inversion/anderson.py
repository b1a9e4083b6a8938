"""Solving x = g(x) for a batch of latents by Anderson acceleration, each row on its own.

Model calls are all that counts here, so a row stops as soon as its *next* iterate can be expected to be good enough:
its residual times the contraction seen so far. What cannot be solved is noticed early: a row that stops improving
starts once more from its best point with half steps, and then stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

UNSEEN = 0.3  # contraction expected of a map before it has been seen twice
PATIENCE = 5  # evaluations without improvement by a third, after which a row is stuck
DAMPING = 0.5


@dataclass
class Solution:
    """``x`` like the guess; ``residual`` [B]: |g(x) - x| / size expected at x; ``solved`` [B]."""

    x: Tensor
    residual: Tensor
    solved: Tensor
    calls: int


@torch.no_grad()
def solve(
    g: Callable[[Tensor], Tensor],
    guess: Tensor,
    tolerance: float,
    max_iterations: int,
    depth: int = 5,
    patience: int = PATIENCE,
    size: Tensor | None = None,
) -> Solution:
    """Anderson acceleration (Walker and Ni 2011, type II, memory ``depth``) from ``guess`` [B, ...] to ``tolerance``.

    At most max_iterations evaluations of g, always of the whole batch; a row's answer does not depend on its neighbours.
    Rows that stay idle for ``patience`` evaluations are restarted once, then left at their best. size [B]: what residuals
    are relative to; |guess| by default.
    """
    x = guess.flatten(1)
    size = (x.norm(dim=1) if size is None else size).clamp(min=1e-12)
    rows, dtype = len(x), x.dtype
    best = answer = best_f = x
    best_residual = previous = torch.full((rows,), float("inf"), dtype=dtype, device=x.device)
    expected = torch.full_like(best_residual, float("inf"))
    contraction, damping = torch.full_like(best_residual, UNSEEN), torch.ones_like(best_residual)
    idle = torch.zeros(rows, dtype=torch.long, device=x.device)
    standing = solved = torch.zeros(rows, dtype=torch.bool, device=x.device)
    memory = _Memory(depth)
    for call in range(1, max_iterations + 1):
        f = g(x.reshape(guess.shape)).flatten(1) - x
        residual = f.norm(dim=1) / size
        contraction = torch.where(torch.isfinite(previous), (residual / previous).clamp(0.02, 1.0), contraction)
        idle = torch.where(residual < best_residual * 2 / 3, 0, idle + 1)
        better = residual < best_residual
        best, best_f = torch.where(better[:, None], x, best), torch.where(better[:, None], f, best_f)
        best_residual = torch.where(better, residual, best_residual)
        onward = memory.mix(x, f, damping)
        # Where the map contracts, the next iterate is better still, unseen; elsewhere only what has been measured counts.
        unseen = better & (contraction < 0.9)
        moving = ~standing
        answer = torch.where(moving[:, None], torch.where(unseen[:, None], onward, best), answer)
        expected = torch.where(moving, torch.where(unseen, residual * contraction, best_residual), expected)
        stuck = moving & (idle >= patience)
        solved = solved | (moving & (expected < tolerance))
        standing = standing | solved | (stuck & (damping < 1))
        if standing.all():
            break
        again = stuck & ~standing
        damping, idle = torch.where(again, DAMPING, damping), torch.where(again, 0, idle)
        memory.restart(again, best, best_f)
        previous = torch.where(again, best_residual, residual)
        x = torch.where(standing[:, None], answer, torch.where(again[:, None], best + DAMPING * best_f, onward))
    return Solution(answer.reshape(guess.shape), expected, solved, call)


class _Memory:
    """The last differences of x and of f = g(x) - x, by row."""

    def __init__(self, depth: int):
        self.depth, self.x, self.f, self.dx, self.df = depth, None, None, [], []

    def mix(self, x: Tensor, f: Tensor, damping: Tensor) -> Tensor:
        """Remember (x, f); the next iterate: x + f corrected by what the remembered differences explain of f."""
        if self.x is not None:
            self.dx, self.df = (self.dx + [x - self.x])[-self.depth :], (self.df + [f - self.f])[-self.depth :]
        self.x, self.f = x, f
        onward = x + damping[:, None] * f
        if not self.df:
            return onward
        dx, df = torch.stack(self.dx, dim=2), torch.stack(self.df, dim=2)
        gram = df.transpose(1, 2) @ df
        ridge = 1e-10 * gram.diagonal(dim1=1, dim2=2).sum(1).clamp(min=torch.finfo(gram.dtype).tiny)
        gram = gram + ridge[:, None, None] * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        gamma = torch.linalg.solve_ex(gram, df.transpose(1, 2) @ f[:, :, None]).result
        return onward - ((dx + damping[:, None, None] * df) @ gamma)[:, :, 0]

    def restart(self, rows: Tensor, x: Tensor, f: Tensor) -> None:
        """These rows begin anew from (x, f): what they remember no longer counts."""
        rows = rows[:, None]
        self.x, self.f = torch.where(rows, x, self.x), torch.where(rows, f, self.f)
        self.dx, self.df = [d * ~rows for d in self.dx], [d * ~rows for d in self.df]
