"""Learn an attribute from pairs of codes, by Attribute Vector Integration (arXiv 2502.02225, section 4).

Integration gives each pair a code y that has the attribute. The attribute is the mean of the edits y - x: what differs
among the pairs (the colours of hats) cancels, and what they share is brought back to the size of one pair's edit
(transfer_gain.py). Pairs that share too little for that are moved onto each other first (alignment.py). The mean edit
is then weighted place by place (core/saliency.py), because a pair differs a little everywhere, and what it covers is
measured (cover.py). The mean over pairs, the gain, the alignment, the weight and the cover are ours, not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import EditError, check_latent, check_same_shape
from ..fitting import OnTrainingStep, Training
from ..response import WHOLE
from ..saliency import FOCUS, saliency_weight
from .alignment import FOUND, align_pairs, moved
from .attribute import GROWTH_RANGE, TINY, SVDAttribute
from .avi import Integration, LossWeights, QuadraticLoss, integrate
from .cover import COVERING, MIN_PAIRS, measure_cover
from .pair_notes import COMMON_SHARE
from .predictor import Predictor, train_predictor
from .svd import ChannelSVD, channel_norm, channel_svd, standardise, trim
from .transfer_gain import common_share, is_little, mean_edit_gain

# An edit or a difference below this, in units of the code's standard deviation, is rounding.
MIN_EDIT = 1e-6
# Noise levels that differ by this share at most are one.
SAME_LEVEL = 1e-4
AUTOMATIC = 0  # as a rank: the share RANK_SHARE of all atoms
# A code of H x W has min(H, W) atoms a channel. A count that suits one size of latents starves another, so that the
# default is a share: python benchmarks/latent_svd.py ablation --first 60000 --variants default k
RANK_SHARE = 0.75


@dataclass(frozen=True)
class AttributeSettings:
    """How an attribute is learned from pairs of codes. Every default stands here, once.

    The defaults were chosen on the embedded model of drawn faces, by
    ``python benchmarks/latent_svd.py ablation --first 60000``.

    Attributes:
        rank: Leading atoms of each code that take part; AUTOMATIC takes the share RANK_SHARE of all that there are.
        weights: Weights of the four terms of the loss.
        focus: How much must differ at a place for it to count, 0 or more; 0 counts every place alike.
        covering: How much is taken to be covered of what several pairs show to be missing, 0 or more (cover.py); 0 adds
            the edit and replaces nothing.
        keep: Atoms of the edit that are kept; None keeps twice the rank, as many as lie between two codes of that rank.
        training: Of the network that predicts the singular values; None takes the closed form.

    Raises:
        EditError: focus or covering is negative or not finite, or rank is negative.
    """

    rank: int = AUTOMATIC
    weights: LossWeights = field(default_factory=LossWeights)
    focus: float = FOCUS
    covering: float = COVERING
    keep: int | None = None
    training: Training | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.focus < float("inf"):
            raise EditError(f"focus is {self.focus}; 0 (every place counts) or more is accepted.")
        if not 0 <= self.covering < float("inf"):
            raise EditError(f"covering is {self.covering}; 0 (nothing is replaced) or more is accepted.")
        if self.rank < 0:
            raise EditError(f"rank is {self.rank}; 0 (automatic), or 1 or more, is accepted.")

    def rank_for(self, height: int, width: int) -> int:
        """Return the rank for codes of a size, 1 or more."""
        return self.rank or max(1, round(RANK_SHARE * min(height, width)))


@torch.no_grad()
def learn_attribute(
    source: Tensor,
    target: Tensor,
    settings: AttributeSettings = AttributeSettings(),
    *,
    sigma: float = 0.0,
    target_sigma: float = 0.0,
    info: dict[str, str] | None = None,
    callback: OnTrainingStep | None = None,
) -> SVDAttribute:
    """Learn an attribute from pairs of codes.

    Args:
        source: Codes of the source prompt, [B, C, H, W] in LATENT space, of any scale; one pair or several.
        target: Codes of the target prompt from the same initial noises, at the same sampling step or a later one, like
            source, and of its scale unless sigma and target_sigma say that the step is another.
        settings: How the attribute is learned.
        sigma: Noise level of the source codes, to keep in the file; 0 where it is unknown.
        target_sigma: Noise level of the target codes, likewise.
        info: Free text by key, to keep in the file; of several pairs, what they have in common is added.
        callback: Called with (training step, loss) where a network is trained.

    Returns:
        The attribute, in float32 on the CPU. Learned from one pair, it also keeps the leading atoms of that pair's
        source code, so that it is applied at its learned size to that code and more strongly to others.

    Raises:
        EditError: The shapes differ, a code contains NaN, the two codes are the same, or the weights let nothing of the
            target in.
    """
    check_same_shape(check_latent(source, "source"), check_latent(target, "target"), "source", "target")
    x, std = standardise(source.float().cpu())
    # The same noise lies in both codes where they are of one level. In units of each code's own deviation it would be
    # another in the target, wherever the attribute makes the whole picture darker or paler.
    same_level = 0 in (sigma, target_sigma) or abs(target_sigma - sigma) <= SAME_LEVEL * sigma
    z = target.float().cpu() / std if same_level else standardise(target.float().cpu())[0]
    rank = settings.rank_for(*x.shape[-2:])
    result, predictor = _integrate(x, z, rank, settings, callback)
    edits = result.y.double() - x.double()
    _check_edits(edits, x, z, settings.weights)
    growth = _growth(x, result.y) if same_level else None
    info = dict(info or {})
    several = len(edits) > 1
    mean_edit, weight, share = _shared(edits, settings.focus)
    alignment = align_pairs(x, edits) if len(edits) >= MIN_PAIRS and is_little(share) else None
    if alignment is not None:
        x, z, edits = (moved(codes, alignment.shifts) for codes in (x, z, edits))
        mean_edit, weight, share = _shared(edits, settings.focus)
        info[FOUND] = f"{alignment.found:.2f}"
    if several:
        info[COMMON_SHARE] = f"{share:.3f}"
    gain = mean_edit_gain(share) if several else 1.0
    return SVDAttribute(
        edit=trim(channel_svd(gain * weight * mean_edit, settings.keep or 2 * rank)),
        source_spectrum=result.source.s.mean(dim=0).float(),
        target_spectrum=result.target.s.mean(dim=0).float(),
        sigma=sigma,
        target_sigma=target_sigma,
        info=info,
        predictor=predictor,
        growth=growth,
        source=None if several else trim(ChannelSVD._make(part[0] for part in result.source)),
        cover=measure_cover(x, z, weight, settings.covering),
        correlation_filter=None if alignment is None else alignment.correlation_filter,
        response=WHOLE,
    )


def _shared(edits: Tensor, focus: float) -> tuple[Tensor, Tensor, float]:
    """Return the mean edit of pairs, its weight place by place, and the share of their energy that is in common."""
    mean_edit = edits.mean(dim=0)
    weight = saliency_weight(mean_edit, focus)
    return mean_edit, weight, common_share(weight * edits)


def _growth(x: Tensor, y: Tensor) -> Tensor:
    """Return how many times as large the norm of each channel is in the codes y as in x, over all pairs, [C]."""
    before, after = (channel_norm(codes).square().mean((0, 2, 3)) for codes in (x, y))
    return (after / before.clamp(min=TINY)).sqrt().clamp(*GROWTH_RANGE)


def _integrate(
    x: Tensor, z: Tensor, rank: int, settings: AttributeSettings, callback: OnTrainingStep | None
) -> tuple[Integration, Predictor | None]:
    """Integrate pairs of unit variance; also return the network, where one was trained for the singular values."""
    training = settings.training
    if training is None:
        return integrate(x, z, rank, settings.weights), None
    trained: list[Predictor] = []

    def predict(quadratic: QuadraticLoss) -> Tensor:
        predictor, _ = train_predictor(quadratic, training, callback)
        trained.append(predictor)
        return predictor(quadratic)

    return integrate(x, z, rank, settings.weights, predict), trained[0]


def _check_edits(edits: Tensor, x: Tensor, z: Tensor, weights: LossWeights) -> None:
    """Raise an EditError where integration changed nothing."""
    if edits.abs().max() >= MIN_EDIT:
        return
    if (x - z).abs().max() > MIN_EDIT:
        raise EditError(
            f"target_weight is {weights.target}, which lets nothing of the target in; "
            "a larger one beside source_weight is needed."
        )
    raise EditError(
        "source and target are the same code, so there is nothing to learn; check that their prompts differ."
    )
