"""Fitting named tensors by Adam, with a learning rate that falls to zero along a cosine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import EditError

# (training step, its loss)
OnTrainingStep = Callable[[int, float], None]
NETWORK_RATE = 0.1  # networks learn at this part of the rate of maps


@dataclass(frozen=True)
class Training:
    """How long and how fast something is trained.

    Attributes:
        steps: Training steps.
        learning_rate: Peak learning rate.
        batch: Pictures a training step looks at.
        seed: Seed of initial weights and of what each step draws.

    Raises:
        EditError: steps or batch is below 1, or the learning rate is not a positive number.
    """

    steps: int
    learning_rate: float
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not 0 < self.learning_rate < float("inf"):
            raise EditError(
                f"steps is {self.steps}, batch is {self.batch} and learning_rate is {self.learning_rate}; "
                "1 or more, 1 or more and a positive number are accepted."
            )


def fit(
    tensors: dict[str, Tensor],
    loss: Callable[[int], Tensor],
    training: Training,
    callback: OnTrainingStep | None = None,
) -> list[float]:
    """Train named tensors, in place.

    Args:
        tensors: What is trained. The tensor "table" is a map and learns at the full rate, every other one belongs to a
            network and learns at NETWORK_RATE of it.
        loss: Called with the training step, with gradients on; returns a scalar.
        training: Its batch and its seed are for the loss to use.
        callback: Called with (training step, loss) after each step.

    Returns:
        The loss of every training step.
    """
    groups = []
    for name, tensor in tensors.items():
        rate = training.learning_rate * (1 if name == "table" else NETWORK_RATE)
        groups.append({"params": [tensor.requires_grad_()], "lr": rate})
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    losses = []
    for step in range(training.steps):
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: small matrices gain nothing from a second one, and on a busy machine wait for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
