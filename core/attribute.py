"""An attribute as singular atoms: learned from a pair of codes, saved as a small file, slid on any latent.

What is kept of the pair is its edit y - x as atoms of unit-variance codes, so that the attribute applies to the
pair's own code and to any other one: another seed, an inverted picture, another resolution. Tensors are in
LATENT space throughout (what ComfyUI's wires carry); each sample is divided by its own standard deviation.

The edit is weighted place by place (focus.py), for a pair differs a little everywhere. And a channel's norm is brought back
where the edit lies: exp(t w) y with w at most 1 and the t that gives it the norm of x. Scaling the whole channel would grey
what was not to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .avi import Weights, closed_form, integrate
from .errors import EditError, check_latent, check_same_shape
from .files import read, write
from .focus import FOCUS, places
from .kinship import ALONE, gain_on, shared_gain
from .predictor import Predictor, Training, train_predictor
from .svd import ChannelSVD, band_range, channel_norm, channel_svd, compose, resize_atoms, select, standardise, trim

KIND = "svd_attribute"
ATOMS = {"edit.u": "CHr", "edit.s": "Cr", "edit.v": "CWr", "source_spectrum": "Ck", "target_spectrum": "Ck"}
SOURCE = {"source.u": "Chq", "source.s": "Cq", "source.v": "Cwq"}
PREDICTOR = {"mlp.w1": "mn", "mlp.c1": "n", "mlp.w2": "nm", "mlp.c2": "m", "mlp.scale": "g"}


@dataclass(frozen=True)
class SVDAttribute:
    """``edit``: atoms of y - x (u [C, H, r], s [C, r], v [C, W, r]); spectra: mean singular values [C, k] of the pair.

    sigma, target_sigma: noise levels of source and target code, 0 where unknown. info: free text by key (name,
    latent_format, source_prompt, target_prompt, ...), saved with the file. predictor: the network that chose the singular
    values, where one did; the edit's atoms already hold what it said of the pair. source: leading atoms of the code that
    the edit is of, by which it is known again (kinship.py); None where the edit is for any code.
    """

    edit: ChannelSVD
    source_spectrum: Tensor
    target_spectrum: Tensor
    sigma: float = 0.0
    target_sigma: float = 0.0
    info: dict[str, str] = field(default_factory=dict)
    predictor: Predictor | None = None
    source: ChannelSVD | None = None

    @property
    def name(self) -> str:
        return self.info.get("name", "attribute")

    @property
    def rank(self) -> int:
        return self.edit.s.shape[-1]

    @property
    def channels(self) -> int:
        return self.edit.s.shape[0]

    def report(self) -> str:
        energy = self.edit.s.square().sum(dim=0)
        size = float((energy.sum() / self.source_spectrum.square().sum()).sqrt())
        shares = ", ".join(f"{n}: {energy[:n].sum() / energy.sum():.0%}" for n in (1, 2, 4, 8) if n <= self.rank)
        return (
            f"{self.name}: {self.rank} atoms in each of {self.channels} channels, learned at sigma {self.sigma or 'unknown'}\n"
            f"size of the edit: {size:.1%} of the source code's norm; share held by its leading atoms: {shares}"
            + (
                f"\nof one pair, which it knows again: on any other code it is {ALONE:g} times as strong"
                if self.source
                else ""
            )
        )

    def save(self, path: str | Path) -> None:
        tensors = dict(zip(ATOMS, (*self.edit, self.source_spectrum, self.target_spectrum)))
        if self.source is not None:
            tensors |= dict(zip(SOURCE, self.source))
        if self.predictor is not None:
            tensors |= dict(zip(PREDICTOR, self.predictor))
        write(path, KIND, tensors, dict(self.info), sigma=self.sigma, target_sigma=self.target_sigma)

    @classmethod
    def load(cls, path: str | Path) -> SVDAttribute:
        """Raises EditError for a file that is not a whole SVD attribute of a known version."""
        tensors, info, numbers = read(path, KIND, ATOMS, ("sigma", "target_sigma"), SOURCE, PREDICTOR)
        edit, source = (
            ChannelSVD(*(tensors[f"{name}.{part}"] for part in "usv")) if f"{name}.u" in tensors else None
            for name in ("edit", "source")
        )
        predictor = Predictor(*(tensors[name] for name in PREDICTOR)) if "mlp.w1" in tensors else None
        return cls(
            edit,
            tensors["source_spectrum"],
            tensors["target_spectrum"],
            info=info,
            predictor=predictor,
            source=source,
            **numbers,
        )


@torch.no_grad()
def learn_attribute(
    source: Tensor,
    target: Tensor,
    rank: int = 12,
    weights: Weights = Weights(),
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
    weight = places(mean, focus)
    gain = shared_gain(weight * edits) if len(edits) > 1 else 1.0
    own = trim(ChannelSVD(*(part[0] for part in result.source))) if len(edits) == 1 else None
    edit = trim(channel_svd(gain * weight * mean, keep or 2 * rank))
    spectra = [svd.s.mean(dim=0).float() for svd in (result.source, result.target)]
    return SVDAttribute(
        edit, *spectra, sigma=sigma, target_sigma=target_sigma, info=dict(info or {}), predictor=predictor, source=own
    )


@torch.no_grad()
def apply_attribute(
    x: Tensor, attribute: SVDAttribute, strength: float, rank: int = 0, band: str = "all", mask: Tensor | None = None
) -> Tensor:
    """X + gain * strength * std(x) * edit, then each channel's norm brought back to that of x, where the edit lies.

    The gain is 1 on the attribute's own code, more on a stranger's (kinship.py).

    x: [B, C, H, W] in LATENT space, of any H and W (the atoms are interpolated along their axes and made
    orthonormal again). rank: leading atoms used, 0 for all. band: a third of the atoms, coarse to fine. mask: [B or
    1, 1, H, W] in [0, 1], edit where it is 1. Strength 0 returns x bit for bit; x is never changed. Raises EditError
    for another channel count, NaN, or an unknown band.
    """
    check_latent(x, "latent")
    if x.shape[1] != attribute.channels:
        raise EditError(
            f"latent has {x.shape[1]} channels but attribute '{attribute.name}' was learned on {attribute.channels}; "
            f"use a model of its family ({attribute.info.get('latent_format') or 'latent format not recorded'})."
        )
    if rank < 0 or not abs(strength) < float("inf"):
        raise EditError(
            f"strength is {strength} and rank is {rank}; a finite strength and a rank of 0 (all) or more are accepted."
        )
    if strength == 0:
        return x.clone()
    count = min(rank or attribute.rank, attribute.rank)
    edit = compose(resize_atoms(select(attribute.edit, *band_range(band, count)), *x.shape[-2:])).to(x.device)
    source, std = standardise(x.float())
    y = (
        norm_brought_back(source, source + gain_on(x, attribute.source) * strength * edit, places(edit).clamp(max=1))
        * std
    )
    if mask is not None:
        if mask.ndim != 4 or mask.shape[0] not in (1, len(x)) or mask.shape[1:] != (1, *x.shape[2:]):
            raise EditError(
                f"mask has shape {tuple(mask.shape)}; (1 or {len(x)}, 1, {x.shape[2]}, {x.shape[3]}) is accepted for this latent."
            )
        y = x + mask.to(y) * (y - x)
    return y.to(x.dtype)


def norm_brought_back(x: Tensor, y: Tensor, weight: Tensor, iterations: int = 16) -> Tensor:
    """exp(t w) y with the norm of x in each channel, t by Newton's method; all of a channel is scaled by what that leaves.

    x, y: [B, C, H, W]; weight: [1, H, W], 0 to 1. An exponential, for a factor 1 + t w reaches 0 where a strong edit is strongest.
    """
    wanted, energy = x.square().sum((-2, -1), keepdim=True), y.square()
    t = torch.zeros_like(wanted)
    for _ in range(iterations):
        now = energy * torch.exp(2 * t * weight)
        slope = 2 * (now * weight).sum((-2, -1), keepdim=True)
        t = (t - (now.sum((-2, -1), keepdim=True) - wanted) / slope.clamp(min=1e-12)).clamp(-6, 6)
    y = torch.exp(t * weight) * y
    return y * (channel_norm(x) / channel_norm(y).clamp(min=1e-12))
