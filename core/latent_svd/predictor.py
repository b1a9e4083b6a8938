"""Train the paper's predictor of Attribute Vector Integration: a small network from two spectra to new singular values.

    (a, b) = (s_x, s_z) + scale * (W2 silu(W1 (s_x, s_z)/scale + c1) + c2)      one network for all channels

It is trained on the four terms of the loss with the bases fixed (arXiv 2502.02225, section 4; avi.py). Its size, its
scale and its training are ours; the paper gives none. On the pair it is trained on it can at best reach the closed
form; trained on several pairs it integrates another one at once, by ``integrate(x, z, rank, predict=predictor)``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from ..fitting import OnTrainingStep, Training, one_thread
from .avi import QuadraticLoss, closed_form

# Width of the hidden layer, and Adam's betas. Ours: set once, varied by no benchmark.
HIDDEN = 128
ADAM_BETAS = (0.9, 0.99)


class Predictor(NamedTuple):
    """The network's weights; called with a QuadraticLoss, it returns new singular values.

    Attributes:
        w1: Weights of the hidden layer, [2k, hidden].
        c1: Its bias, [hidden].
        w2: Weights of the output layer, [hidden, 2k].
        c2: Its bias, [2k].
        scale: Size of the spectra it was trained on, [1].
    """

    w1: Tensor
    c1: Tensor
    w2: Tensor
    c2: Tensor
    scale: Tensor

    def __call__(self, quadratic: QuadraticLoss) -> Tensor:
        """Predict new singular values (a, b).

        Args:
            quadratic: The loss of a pair; only its spectra are read, [..., 2k].

        Returns:
            The values, like the spectra.

        Raises:
            EditError: The spectra have another length than the network.
        """
        spectra = quadratic.spectra
        if spectra.shape[-1] != self.w1.shape[0]:
            raise EditError(
                f"rank is {spectra.shape[-1] // 2} but the predictor was trained at rank {self.w1.shape[0] // 2}; "
                "use that rank."
            )
        w1, c1, w2, c2, scale = (tensor.to(spectra) for tensor in self)
        hidden = F.silu(spectra / scale @ w1 + c1)
        return spectra + scale * (hidden @ w2 + c2)


@torch.no_grad()
def train_predictor(
    quadratic: QuadraticLoss, training: Training, callback: OnTrainingStep | None = None
) -> tuple[Predictor, list[float]]:
    """Train a predictor on the pairs of one loss, by Adam with a rate that falls to zero along a cosine.

    Args:
        quadratic: The loss of one pair or of several; all of it is used in each training step.
        training: Its steps, its learning rate and its seed are used; its batch is not.
        callback: Called with (training step, loss) after each training step.

    Returns:
        The predictor in float64, and its loss at each training step as a multiple of what the closed form reaches, so
        that 1 is the best there is.
    """
    # A pair that can be met exactly has no loss to measure by.
    reachable = torch.maximum(quadratic.loss(closed_form(quadratic)).sum(), 1e-9 * quadratic.constant.sum())
    best = float(reachable.clamp(min=1e-300))
    network = _untrained(quadratic.spectra, training.seed)
    losses: list[float] = []
    with one_thread(), torch.inference_mode(False), torch.enable_grad():
        quadratic = QuadraticLoss._make(tensor.clone() for tensor in quadratic)
        network = Predictor._make(tensor.clone() for tensor in network)
        parameters = [tensor.requires_grad_() for tensor in network[:4]]
        optimizer = torch.optim.Adam(parameters, lr=training.learning_rate, betas=ADAM_BETAS)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps)
        for step in range(training.steps):
            optimizer.zero_grad()
            loss = quadratic.loss(network(quadratic)).sum() / best
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if callback is not None:
                callback(step, losses[-1])
    return Predictor._make(tensor.detach() for tensor in network), losses


def _untrained(spectra: Tensor, seed: int) -> Predictor:
    """Return a network that leaves spectra [B, C, 2k] as they are: its output layer is zero."""
    generator = torch.Generator().manual_seed(seed)
    size = spectra.shape[-1]
    drawn = torch.randn(size, HIDDEN, generator=generator, dtype=torch.double).to(spectra)
    return Predictor(
        w1=drawn / size**0.5,
        c1=spectra.new_zeros(HIDDEN),
        w2=spectra.new_zeros(HIDDEN, size),
        c2=spectra.new_zeros(size),
        scale=spectra.square().mean().sqrt().clamp(min=1e-12)[None],
    )
