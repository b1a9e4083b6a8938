"""The asymmetric reverse process of Asyrp (arXiv 2210.10960): edit the predicted x0, not the direction to x_t.

    x' = euler(x, D) + a' * (D_edit - D)        a = 1 for eps and v models, 1 - sigma for flow models

which is the paper's x' = P(edited) + direction(unedited), equation 7. D is the stock prediction and euler the stock
step, so that outside of the editing window, and at strength 0, this *is* the stock sampler, bit for bit, where no step
is boosted. Flow models, the effect scale and changes that are read off h (readout.py) are ours, not the paper's. Every
tensor is in model space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import (
    BottleneckRecorder,
    Denoiser,
    denoise_pair,
    guidance_of,
    is_flow,
    layer_of,
    mask_of,
    place_size_of,
    record_bottleneck,
)
from ..errors import EditError, check_effect, check_prediction
from ..layers import layer_text
from ..samplers import OnState, euler_fraction, euler_step
from .strength import BoundEdit
from .window import EditWindow


class Boost(NamedTuple):
    """The quality boost of section 4.2: fresh noise in the steps that a window boosts.

    Attributes:
        eta: Amount of fresh noise, DDIM's eta, 0 to 1; 0 is no boost.
        noise: Draws N(0, I) like the state that it is given.
    """

    eta: float
    noise: Callable[[Tensor], Tensor]


def step_asyrp(
    x: Tensor, denoised: Tensor, edited: Tensor, sigma: Tensor, sigma_next: Tensor, *, flow: bool = False
) -> Tensor:
    """Make one asymmetric step without boost, equation 7.

    Args:
        x: State at sigma, [B, C, H, W].
        denoised: D there, like x.
        edited: D_edit there, like x.
        sigma: Noise level before the step, a scalar tensor.
        sigma_next: Noise level after it, a scalar tensor.
        flow: Whether the model is a flow model.

    Returns:
        The state at sigma_next, like x.
    """
    a_next = 1 - sigma_next if flow else 1.0
    return euler_step(x, denoised, sigma, sigma_next) + a_next * (edited - denoised)


def step_boost(
    x: Tensor,
    denoised: Tensor,
    edited: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    *,
    z: Tensor,
    eta: float,
    flow: bool = False,
) -> Tensor:
    """Make one stochastic asymmetric step: the quality boost, section 4.2.

    It is DDIM's step (Song et al. 2021, equations 12 and 16) with s = sigma/a in place of their noise level.

    Args:
        x: State at sigma, [B, C, H, W].
        denoised: D there, like x.
        edited: D_edit there, like x.
        sigma: Noise level before the step, a scalar tensor.
        sigma_next: Noise level after it, a scalar tensor.
        z: Noise ~ N(0, I), like x.
        eta: Amount of fresh noise, 0 to 1.
        flow: Whether the model is a flow model.

    Returns:
        The state at sigma_next, like x.
    """
    a = 1 - sigma if flow else torch.ones_like(sigma)
    a_next = 1 - sigma_next if flow else torch.ones_like(sigma_next)
    if a_next > 0:
        ratio = sigma_next * a / (a_next * sigma)
        s_next = sigma_next / a_next
    else:
        ratio = torch.zeros_like(sigma)
        s_next = torch.zeros_like(sigma)
    # A flow schedule starts at a = 0, where s is infinite and s'/s is 0: no old noise can be kept.
    up = eta * s_next * torch.sqrt((1 - ratio**2).clamp(min=0))
    down = torch.sqrt((s_next**2 - up**2).clamp(min=0))
    n = (x - a * denoised) / sigma
    return a_next * (edited + down * n + up * z)


@torch.no_grad()
def sample_asyrp(  # noqa: PLR0913
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    edit: BoundEdit = BoundEdit(),
    window: EditWindow = EditWindow(),
    *,
    boost: Boost | None = None,
    symmetric: bool = False,
    mask: Tensor | None = None,
    callback: OnState | None = None,
) -> Tensor:
    """Sample by Euler steps with the h-space edited inside a window: algorithm 1.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[0], [B, C, H, W].
        sigmas: Descending noise levels, [n + 1].
        edit: What is edited, from strength.bind_edit.
        window: Where it is edited and where it is boosted.
        boost: Fresh noise of boosted steps; None is no boost.
        symmetric: Whether the direction to x_t is edited too. Theorem 1 says that the edit then cancels: a baseline,
            not a tool.
        mask: Where to edit, broadcastable to x, 0 to 1, beyond what the denoiser itself leaves unchanged
            (core.denoiser.mask_of); None is everywhere.
        callback: Called with (step, state, edited prediction) before each step.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: h of the model is at another layer or of another width than the direction's, a readout is for other
            latents or is given a prompt that divides the picture into areas, or the edit or the model gives NaN.
    """
    flow = is_flow(denoise)
    _check_layer(denoise, edit)
    for i in range(len(sigmas) - 1):
        sigma = sigmas[i]
        sigma_next = sigmas[i + 1]
        step_edit = _edit_of_step(edit, window, sigma, sigma_next)

        # Predict, plainly and edited.
        if step_edit.h_edit is None and step_edit.change is None:
            denoised = denoise(x, sigma)
            edited = denoised
        else:
            denoised, effect = _effect(denoise, x, sigma, sigma_next, step_edit)
            edited = denoised + _masked(effect, mask)
        if callback is not None:
            callback(i, x, edited)

        # Step.
        if boost is not None and boost.eta > 0 and window.boosts(sigma):
            z = boost.noise(x)
            x = step_boost(x, denoised, edited, sigma, sigma_next, z=z, eta=boost.eta, flow=flow)
        elif edited is denoised:
            x = euler_step(x, denoised, sigma, sigma_next)
        elif symmetric:
            x = euler_step(x, edited, sigma, sigma_next)
        else:
            x = step_asyrp(x, denoised, edited, sigma, sigma_next, flow=flow)
    return x


def _check_layer(denoise: Denoiser, edit: BoundEdit) -> None:
    """Raise an EditError where an edit that acts belongs to another layer than h of the model."""
    if edit.layer is None or (edit.h_edit is None and edit.change is None):
        return
    here = layer_of(denoise)
    if edit.layer != here:
        raise EditError(
            f"The direction was learned at {layer_text(edit.layer)} but h of this model is taken at "
            f"{layer_text(here)}; use the layer that it was learned at."
        )


def _edit_of_step(edit: BoundEdit, window: EditWindow, sigma: Tensor, sigma_next: Tensor) -> BoundEdit:
    """Return what of an edit applies to one step: h_edit to whole steps, change to fractions of steps too."""
    h_edit = edit.h_edit if window.edits(sigma) else None
    change = edit.change if window.edited_fraction(sigma, sigma_next) > 0 else None
    return edit._replace(h_edit=h_edit, change=change)


def _effect(denoise: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, edit: BoundEdit) -> tuple[Tensor, Tensor]:
    """Return D and the effect of an edit, D_edit - D, each like x."""
    h_edit = edit.h_edit
    if h_edit is None:
        denoised, recorder = record_bottleneck(denoise, x, sigma)
        edited = denoised
    else:

        def edit_at_sigma(h: Tensor) -> Tensor:
            return h_edit(h, sigma)

        recorder = BottleneckRecorder(edit_at_sigma)
        denoised, edited = denoise_pair(denoise, x, sigma, recorder)
        check_prediction(denoised, sigma)
    effect = edit.effect_scale * (edited - denoised)
    if edit.change is not None:
        h = recorder.per_picture(x, place_size_of(denoise))
        change = edit.change.added_to(denoised, h, sigma, sigma_next, guidance_of(denoise))
        # The whole effect is added at every step. A stock step under the target prompt makes this fraction of it.
        fraction = euler_fraction(sigma, sigma_next, is_flow(denoise))
        # The two predictions are masked already, where the denoiser has a mask of its own.
        effect = effect + _masked(fraction * change, mask_of(denoise))
    return denoised, check_effect(effect)


def _masked(change: Tensor, mask: Tensor | None) -> Tensor:
    """Return a change inside of a mask alone."""
    return change if mask is None else mask.to(change) * change
