"""learn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import EditError, check_latent, check_same_shape
from ..fitting import Training
from ..saliency import FOCUS, saliency_weight
from .attribute import SVDAttribute
from .avi import LossWeights, closed_form, integrate
from .predictor import Predictor, train_predictor
from .svd import ChannelSVD, channel_svd, standardise, trim
from .transfer_gain import mean_edit_gain


@torch.no_grad()
def learn_attribute(
    source: Tensor,
    target: Tensor,
    rank: int = 12,
    weights: LossWeights = LossWeights(),
    keep: int | None = None,
    focus: float = FOCUS,
    sigma: float = 0.0,
    target_sigma: float = 0.0,
    info: dict[str, str] | None = None,
    training: Training | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> SVDAttribute:
    """From pairs of codes [B, C, H, W], by Attribute Vector Integration; a batch of pairs gives their mean edit: what differs
    among them (the colours of hats) cancels, and what they share is brought to the size of one pair's edit.

    source: from the source prompt; target: from the target prompt, same initial noise, same or cleaner step.
    rank: atoms of each code that take part; keep: atoms of the edit that are kept (default: twice rank, as
    many as lie between two codes of that rank). focus: how much must differ at a place for it to count, 0 for all of them. training:
    of a network that predicts the singular values, with callback(i, loss) a step; None takes the closed form.
    Raises EditError for shapes that differ, NaN, or a pair that is one and the same code.
    """
    check_same_shape(check_latent(source, "source"), check_latent(target, "target"), "source", "target")
    if not 0 <= focus < float("inf"):
        raise EditError(f"focus is {focus}; 0 (every place counts) or more is accepted.")
    x, z = standardise(source.float().cpu())[0], standardise(target.float().cpu())[0]
    predictor: Predictor | None = None

    def predict(system):
        nonlocal predictor
        if training is None:
            return closed_form(system)
        predictor, _ = train_predictor(system, training, callback)
        return predictor(system)

    result = integrate(x, z, rank, weights, predict)
    edits = result.y.double() - x.double()
    if edits.abs().max() < 1e-6:
        if (x - z).abs().max() > 1e-6:
            raise EditError(
                f"target_weight is {weights.target}, which lets nothing of the target in; a larger one beside source_weight is needed."
            )
        raise EditError(
            "source and target are the same code, so there is nothing to learn; check that their prompts differ."
        )
    mean = edits.mean(dim=0)
    weight = saliency_weight(mean, focus)
    gain = mean_edit_gain(weight * edits) if len(edits) > 1 else 1.0
    own = trim(ChannelSVD(*(part[0] for part in result.source))) if len(edits) == 1 else None
    edit = trim(channel_svd(gain * weight * mean, keep or 2 * rank))
    spectra = [svd.s.mean(dim=0).float() for svd in (result.source, result.target)]
    return SVDAttribute(
        edit, *spectra, sigma=sigma, target_sigma=target_sigma, info=dict(info or {}), predictor=predictor, source=own
    )
