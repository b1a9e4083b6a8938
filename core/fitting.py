"""fitting."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import EditError


@dataclass(frozen=True)
class Training:
    """Of the network: Adam with a rate that falls to zero along a cosine."""

    steps: int = 1000
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or not 0 < self.learning_rate < float("inf"):
            raise EditError(
                f"steps is {self.steps} and learning_rate is {self.learning_rate}; 1 or more and a positive number are accepted."
            )


@contextmanager
def one_thread():
    """Matrices this small gain nothing from a second thread, and on a busy machine wait for it a thousand times."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def fit(
    tensors: dict[str, Tensor],
    loss: Callable[[int], Tensor],
    steps: int,
    learning_rate: float,
    callback: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Adam on named tensors, in place, with a rate that falls to zero along a cosine: the loss of every step.

    loss(step) is called with gradients on. learning_rate: of maps; networks learn at a tenth of it.
    """
    rates = {name: learning_rate if name == "table" else learning_rate / 10 for name in tensors}
    optimizer = torch.optim.Adam(
        [{"params": [tensor.requires_grad_()], "lr": rates[name]} for name, tensor in tensors.items()]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    losses = []
    for step in range(steps):
        with torch.enable_grad():
            value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.item())
        if callback is not None:
            callback(step, losses[-1])
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    return losses
