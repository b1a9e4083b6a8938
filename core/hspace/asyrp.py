"""The asymmetric reverse process of Asyrp (arXiv 2210.10960): edit the predicted x0, not the direction to x_t.

    x' = euler(x, D) + a' * (D_edit - D)        a = 1 for eps and v models, 1 - sigma for flow models

which is the paper's x' = P(edited) + direction(unedited), equation 7. D is the stock prediction and euler the stock
step, so outside of the editing window, and at strength 0, this *is* the stock sampler, bit for bit. Model space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser, bottleneck_of, denoise_pair, guidance_of
from ..samplers import euler_fraction, euler_step
from .strength import Edit, Reading
from .window import EditWindow


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
        change = change + euler_fraction(sigma, sigma_next, flow) * guidance_of(denoise) * reading(
            bottleneck_of(seen, x), sigma, sigma_next, x.shape[-2:]
        )
    return denoised, change


@torch.no_grad()
def sample_asyrp(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    edit: Edit | None,
    window: EditWindow = EditWindow(),
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
