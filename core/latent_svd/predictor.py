"""The paper's predictor of Attribute Vector Integration: a small network from the two spectra to new singular values.

    (a, b) = (s_x, s_z) + scale * (W2 silu(W1 (s_x, s_z)/scale + c1) + c2)      one network for all channels

trained on the four terms of the loss with the bases fixed. Its size is ours, the paper gives none. On the pair it is
trained on it can at best reach the closed form; trained on several pairs it integrates another one at once, by
``integrate(x, z, rank, predict=network)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from ..fitting import Training, one_thread
from .avi import QuadraticLoss, closed_form

HIDDEN = 128


class Predictor(NamedTuple):
    """w1: [2k, hidden], c1: [hidden], w2: [hidden, 2k], c2: [2k], scale: [1]. Called with a System, or anything that has ``spectra`` [..., 2k]."""

    w1: Tensor
    c1: Tensor
    w2: Tensor
    c2: Tensor
    scale: Tensor

    def __call__(self, system: QuadraticLoss) -> Tensor:
        """New singular values [..., 2k]. Raises EditError for spectra of another length."""
        spectra = system.spectra
        if spectra.shape[-1] != self.w1.shape[0]:
            raise EditError(
                f"rank is {spectra.shape[-1] // 2} but the predictor was trained at rank {self.w1.shape[0] // 2}; use that rank."
            )
        w1, c1, w2, c2, scale = (tensor.to(spectra) for tensor in self)
        return spectra + scale * (F.silu(spectra / scale @ w1 + c1) @ w2 + c2)


@torch.no_grad()
def train_predictor(
    system: QuadraticLoss, training: Training = Training(), callback: Callable[[int, float], None] | None = None
) -> tuple[Predictor, list[float]]:
    """The network, in float64, and its loss at each step, as a multiple of what the closed form reaches (1 is the best there is).

    callback(i, loss) is called after each step.
    """
    generator = torch.Generator().manual_seed(training.seed)
    size = system.spectra.shape[-1]
    draw = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.double).to(system.spectra)
    zeros = system.spectra.new_zeros
    network = Predictor(
        draw(size, HIDDEN) / size**0.5,
        zeros(HIDDEN),
        zeros(HIDDEN, size),
        zeros(size),
        system.spectra.square().mean().sqrt().clamp(min=1e-12)[None],
    )
    # A pair that can be met exactly has no loss to be measured by.
    best = float(torch.maximum(system.loss(closed_form(system)).sum(), 1e-9 * system.constant.sum()).clamp(min=1e-300))
    losses: list[float] = []
    with one_thread(), torch.inference_mode(False), torch.enable_grad():
        system = QuadraticLoss(*(tensor.clone() for tensor in system))
        network = Predictor(*(tensor.clone() for tensor in network))
        parameters = [tensor.requires_grad_() for tensor in network[:4]]
        optimiser = torch.optim.Adam(parameters, lr=training.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)
        for i in range(training.steps):
            optimiser.zero_grad()
            loss = system.loss(network(system)).sum() / best
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            if callback is not None:
                callback(i, losses[-1])
    return Predictor(*(tensor.detach() for tensor in network)), losses
