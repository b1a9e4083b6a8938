"""The asymmetric reverse process of Asyrp (arXiv 2210.10960): edit the predicted x0, not the direction to x_t.

    x' = euler(x, D) + a' * (D_edit - D)        a = 1 for eps and v models, 1 - sigma for flow models

which is the paper's x' = P(edited) + direction(unedited), equation 7. D is the stock prediction and euler the stock
step, so outside of the editing window, and at strength 0, this *is* the stock sampler, bit for bit. Model space.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser, bottleneck_of, denoise_pair, euler_step, guidance_of, step_share
from .direction import HDirection

Edit = Callable[[Tensor, Tensor], Tensor]
Reading = Callable[[Tensor, Tensor, Tensor, tuple[int, int]], Tensor]
TAKING = 0.5  # of its strength is what a readout takes away with


@dataclass(frozen=True)
class Window:
    """Absolute, like ControlNet's percents: edit < sigma <= start is edited, sigma <= boost is boosted.

    ``edit`` = sigma at t_edit, ``boost`` = sigma at t_boost (0: off) of the paper; they may overlap. ``start`` is where
    the direction was learned to begin: above it there is nothing to apply.
    """

    edit: float = 0.0
    boost: float = 0.0
    start: float = float("inf")

    def edits(self, sigma: Tensor | float) -> bool:
        return self.edit < float(sigma) <= self.start * (1 + 1e-4)

    def share(self, sigma: Tensor | float, sigma_next: Tensor | float) -> float:
        """How much of a step a readout edits: all of one that is edited, and of the step in which ``start`` lies what an Euler step makes from there on.

        Few steps would otherwise begin late, and reach less of what is decided early.
        """
        sigma, sigma_next = float(sigma), float(sigma_next)
        if sigma <= self.edit or sigma_next >= self.start * (1 - 1e-4):  # as in edits
            return 0.0
        return 1.0 if self.edits(sigma) else (1 - sigma_next / self.start) / (1 - sigma_next / sigma)

    def boosts(self, sigma: Tensor) -> bool:
        return bool(sigma <= self.boost)


class Slide(NamedTuple):
    """What sample_asyrp does with a direction at a strength: its ``edit`` of h, how much of its effect, and a ``reading`` of h."""

    edit: Edit | None
    amount: float
    reading: Reading | None


def slide(direction: HDirection, strength: float, sigmas: Tensor, window: Window) -> Slide:
    """A strength as an edit of h and the amount of its effect, D_edit - D, that sample_asyrp is to add.

    Up to 1, and down to -1, strength multiplies dh, as in the paper. Beyond, dh stays as learned and its effect is carried on in
    proportion: a bottleneck pushed further than it was learned answers with what nobody asked for
    (benchmarks/hspace.py strengths). A readout has no dh; its strength is a factor throughout, TAKING of it below 0: its
    unit goes beyond where the attribute has come, so that faces on which it has not come get it too (core.calibration).
    What is taken away is gone sooner, and what follows only harms the picture.
    """
    edit = direction_edit(direction, min(max(strength, -1.0), 1.0), sigmas, window)
    return Slide(
        edit,
        max(abs(strength), 1.0),
        direction_reading(direction, strength if strength > 0 else TAKING * strength, window),
    )


def direction_edit(direction: HDirection, strength: float, sigmas: Tensor, window: Window) -> Edit | None:
    """H -> h + strength * (S / S') * dh for a sampler with this schedule; None when there is nothing to add."""
    move = direction_move(direction, strength, sigmas, window)
    return None if move is None else lambda h, sigma: h + move(h, sigma).to(h)


def direction_move(direction: HDirection, strength: float, sigmas: Tensor, window: Window) -> Edit | None:
    """What direction_edit adds: (h, sigma) -> [R, Ch, h, w] in float32; None when there is nothing to add.

    S and S' count the steps inside the window in training and here: fewer steps must each do more (section 5.2). Of a
    sum each part keeps its own start and its own S.
    """
    moves = []
    for weight, part in direction.parts:
        own = replace(window, start=min(window.start, part.start))
        if part.moves_h and strength * weight != 0:
            moves.append((strength * weight * _step_ratio(part.sigmas, sigmas, own), part, own))
    if not moves:
        return None

    def move(h: Tensor, sigma: Tensor) -> Tensor:
        return sum(
            (scale * part.delta(h, sigma) for scale, part, own in moves if own.edits(sigma)),
            torch.zeros_like(h, dtype=torch.float32),
        )

    return move


def direction_reading(direction: HDirection, strength: float, window: Window) -> Reading | None:
    """Strength * w R of the readouts among a direction's parts, each for its share of the step: (h, sigma, sigma_next, size) -> [B, C, *size]; None where there are none."""
    read = [
        (strength * weight, part, replace(window, start=min(window.start, part.start)))
        for weight, part in direction.parts
        if not part.moves_h and strength * weight != 0
    ]
    if not read:
        return None

    def reading(h: Tensor, sigma: Tensor, sigma_next: Tensor, size: tuple[int, int]) -> Tensor:
        shares = [(scale * own.share(sigma, sigma_next), part, own) for scale, part, own in read]
        return sum(
            (share * part.read(h, sigma.clamp(max=own.start), size) for share, part, own in shares if share),
            torch.zeros(1, device=h.device),
        )

    return reading


def _step_ratio(learned: Tensor, sigmas: Tensor, window: Window) -> float:
    """S / S' of a direction learned on these sigmas for a sampler with this schedule."""
    here = [s for s in sigmas[:-1].tolist() if window.edits(s)]
    # A sampler that starts late (partial denoise) is compared with the training steps it goes through.
    there = [s for s in learned.tolist() if here and window.edits(s) and s <= here[0] * (1 + 1e-4)]
    return len(there) / len(here) if here and there else 1.0


def step_asyrp(
    x: Tensor, denoised: Tensor, edited: Tensor, sigma: Tensor, sigma_next: Tensor, flow: bool = False
) -> Tensor:
    """One asymmetric step, without boost."""
    a_next = 1 - sigma_next if flow else 1.0
    return euler_step(x, denoised, sigma, sigma_next) + a_next * (edited - denoised)


def step_boost(
    x: Tensor,
    denoised: Tensor,
    edited: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    z: Tensor,
    eta: float,
    flow: bool = False,
) -> Tensor:
    """One stochastic step (quality boost, section 4.2): DDIM's eta with s = sigma/a, noise z ~ N(0, I)."""
    a, a_next = (1 - sigma, 1 - sigma_next) if flow else (torch.ones_like(sigma), torch.ones_like(sigma_next))
    # a flow schedule starts at a = 0, s = infinity, where no old noise can be kept by ratio: s'/s is then 0.
    ratio = sigma_next * a / (a_next * sigma) if a_next > 0 else torch.zeros_like(sigma)
    s_next = sigma_next / a_next if a_next > 0 else torch.zeros_like(sigma)
    up = eta * s_next * torch.sqrt((1 - ratio**2).clamp(min=0))
    down = torch.sqrt((s_next**2 - up**2).clamp(min=0))
    n = (x - a * denoised) / sigma
    return a_next * (edited + down * n + up * z)


def _change(
    denoise: Denoiser,
    x: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    edit: Edit | None,
    amount: float,
    reading: Reading | None,
    flow: bool,
) -> tuple[Tensor, Tensor]:
    """(D, D_edit - D) of an edit of h, of a reading of h, or of both."""
    seen: list[Tensor] = []

    def edit_seen(h: Tensor) -> Tensor:
        if reading is not None:
            seen.append(h)
        return h if edit is None else edit(h, sigma)

    denoised, edited = (
        (denoise(x, sigma, edit_seen),) * 2 if edit is None else denoise_pair(denoise, x, sigma, edit_seen)
    )
    change = amount * (edited - denoised)
    if reading is not None:
        # All of D_edit - D is added at every step, of which a stock step would make this share.
        change = change + step_share(sigma, sigma_next, flow) * guidance_of(denoise) * reading(
            bottleneck_of(seen, x), sigma, sigma_next, x.shape[-2:]
        )
    return denoised, change


@torch.no_grad()
def sample_asyrp(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    edit: Edit | None,
    window: Window = Window(),
    *,
    eta: float = 1.0,
    flow: bool = False,
    noise: Callable[[Tensor], Tensor] | None = None,
    symmetric: bool = False,
    amount: float = 1.0,
    reading: Reading | None = None,
    mask: Tensor | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Euler sampling with the h-space edited inside the window. x: [B, C, H, W] in model space at sigmas[0].

    edit(h, sigma) returns the edited bottleneck; None edits nothing. reading(h, sigma, sigma_next, size): a change of D read off h
    (core.readout). noise(x) draws z for boosted steps; without it there is no boost. symmetric applies the edit to the
    direction term as well, which Asyrp's theorem 1 says cancels: a baseline, not a tool. amount: of the effect,
    D + amount * (D_edit - D). mask: where, broadcastable to x.
    callback(i, x, denoised) is called once a step.
    """
    for i in range(len(sigmas) - 1):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        edits, reads = (
            edit is not None and window.edits(sigma),
            reading is not None and window.share(sigma, sigma_next) > 0,
        )
        if edits or reads:
            denoised, change = _change(
                denoise, x, sigma, sigma_next, edit if edits else None, amount, reading if reads else None, flow
            )
            edited = denoised + (change if mask is None else mask * change)
        else:
            denoised = edited = denoise(x, sigma)
        if callback is not None:
            callback(i, x, edited)
        if noise is not None and eta > 0 and window.boosts(sigma):
            x = step_boost(x, denoised, edited, sigma, sigma_next, noise(x), eta, flow)
        elif edited is denoised:
            x = euler_step(x, denoised, sigma, sigma_next)
        elif symmetric:
            x = euler_step(x, edited, sigma, sigma_next)
        else:
            x = step_asyrp(x, denoised, edited, sigma, sigma_next, flow)
    return x
