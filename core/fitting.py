"""Fitting named tensors by AdamW, which is Adam where no weight decay is asked for.

The learning rate falls to zero along a cosine. Where training may end early there is no knowing when to fall, so the
rate stays and the weights are averaged over the last training steps instead, which settles them as well.
"""

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
# Where training may end early: how much of the average is kept at each training step, and how fast that share is
# reached. How many training steps a readout then takes: python benchmarks/learning_cost.py quality
KEPT = 0.98
WARM_UP = 10
# The held-out loss is looked at once in so many training steps.
CHECK_EVERY = 50
# A held-out loss counts as better when it falls by this share at least.
BETTER = 0.005
# Training ends after so many looks at the held-out loss in a row that were not better.
PATIENCE = 4


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


@dataclass(frozen=True)
class EarlyStop:
    """When training ends before its last step: once the loss on what is held out falls no further.

    Attributes:
        held_out_loss: Returns the loss of the tensors as they are, on what training does not see.
        every: Training steps from one look at it to the next.
        patience: Looks in a row without a better loss, after which training ends.
    """

    held_out_loss: Callable[[], float]
    every: int = CHECK_EVERY
    patience: int = PATIENCE


def fit(
    tensors: dict[str, Tensor],
    loss: Callable[[int], Tensor],
    training: Training,
    callback: OnTrainingStep | None = None,
    *,
    stop: EarlyStop | None = None,
    weight_decay: float = 0.0,
) -> list[float]:
    """Train named tensors, in place.

    Args:
        tensors: What is trained. The tensor "table" is a map and learns at the full rate, every other one belongs to a
            network and learns at NETWORK_RATE of it.
        loss: Called with the training step, with gradients on; returns a scalar.
        training: Its batch and its seed are for the loss to use.
        callback: Called with (training step, loss) after each step.
        stop: When training ends early. The tensors are then those averages that were best on what is held out; None
            makes every training step.
        weight_decay: Share of itself that a tensor loses at each training step, in units of its learning rate
            (AdamW, Loshchilov and Hutter 2019).

    Returns:
        The loss of every training step that was made.
    """
    groups = []
    for name, tensor in tensors.items():
        rate = training.learning_rate * (1 if name == "table" else NETWORK_RATE)
        groups.append({"params": [tensor.requires_grad_()], "lr": rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
    average = None if stop is None else _Average(tensors, stop)
    losses = []
    for step in range(training.steps):
        with torch.enable_grad():
            value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if callback is not None:
            callback(step, losses[-1])
        if average is None:
            schedule.step()
        elif average.ends(step, last=step == training.steps - 1):
            break
    if average is not None:
        average.keep_best()
    for tensor in tensors.values():
        tensor.requires_grad_(False)
    return losses


class _Average:
    """An average of the tensors over the last training steps, and the best one so far on what is held out.

    Args:
        tensors: What is trained.
        stop: When training ends.
    """

    def __init__(self, tensors: dict[str, Tensor], stop: EarlyStop) -> None:
        self.tensors = tensors
        self.stop = stop
        self.mean = _copies(tensors)
        self.best = _copies(tensors)
        self.best_loss = float("inf")
        self.to_beat = float("inf")
        self.waited = 0

    @torch.no_grad()
    def ends(self, step: int, *, last: bool) -> bool:
        """Take a training step into the average, and return whether training ends with it."""
        kept = min(KEPT, (step + 1) / (step + WARM_UP))
        for name, tensor in self.tensors.items():
            self.mean[name].lerp_(tensor, 1 - kept)
        if (step + 1) % self.stop.every and not last:
            return False
        trained = _copies(self.tensors)
        _fill(self.tensors, self.mean)
        loss = self.stop.held_out_loss()
        _fill(self.tensors, trained)
        if loss < self.best_loss:
            self.best_loss = loss
            _fill(self.best, self.mean)
        if loss < (1 - BETTER) * self.to_beat:
            self.to_beat = loss
            self.waited = 0
        else:
            self.waited += 1
        return self.waited >= self.stop.patience

    @torch.no_grad()
    def keep_best(self) -> None:
        """Set the tensors to the best average."""
        _fill(self.tensors, self.best)


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _fill(tensors: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Write the values into the tensors."""
    for name, tensor in tensors.items():
        tensor.copy_(values[name])


@contextmanager
def one_thread() -> Iterator[None]:
    """Run on one thread: small matrices gain nothing from a second one, and on a busy machine wait for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
