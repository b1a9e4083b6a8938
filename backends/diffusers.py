"""The core's denoiser on an eps-predicting diffusers ``UNet2DConditionModel``, in ComfyUI's sigma convention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.denoiser import HEdit
from ..core.errors import EditError


class DiffusersDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` with prompts, guidance and schedule bound.

    unet: frozen; context, negative: [1 or B, tokens, width]; alphas_cumprod: [T]. With cfg 1 the negative is not
    evaluated. h_edit sees the conditional rows of the middle block's output, or both halves with edit_uncond;
    the encoder is never part of the gradient graph. Raises EditError for a model without a middle block.
    """

    def __init__(
        self,
        unet: nn.Module,
        context: Tensor,
        negative: Tensor | None = None,
        cfg: float = 1.0,
        *,
        alphas_cumprod: Tensor,
        edit_uncond: bool = False,
    ):
        if getattr(unet, "mid_block", None) is None:
            raise EditError(
                f"{type(unet).__name__} has no U-Net bottleneck (middle block), so h-space editing cannot work on it."
            )
        self.unet, self.context, self.negative, self.edit_uncond = unet, context, negative, edit_uncond
        self.cfg = self.guidance = cfg if negative is not None else 1.0
        self.log_sigmas = sigmas_of(alphas_cumprod).log()

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        guided = self.cfg != 1.0
        parts = [self.context] + ([self.negative] if guided else [])
        context = torch.cat([part.expand(len(x), -1, -1) for part in parts])
        scaled = (x / (sigma**2 + 1) ** 0.5).repeat(len(parts), 1, 1, 1)
        timestep = (self.log_sigmas.to(x.device) - sigma.log().float()).abs().argmin().expand(len(scaled))
        eps = self._predict(scaled, timestep, context, len(x), h_edit)
        if guided:
            eps, uncond = eps.chunk(2)
            eps = uncond + self.cfg * (eps - uncond)
        return x - eps * sigma

    def _predict(self, x: Tensor, timestep: Tensor, context: Tensor, batch: int, h_edit: HEdit | None) -> Tensor:
        grad = torch.is_grad_enabled() and h_edit is not None
        edited_rows = len(x) if self.edit_uncond else batch

        def edit(module: nn.Module, inputs: tuple, h: Tensor) -> Tensor:
            torch.set_grad_enabled(grad)
            return torch.cat([h_edit(h[:edited_rows].detach()), h[edited_rows:]])

        handle = self.unet.mid_block.register_forward_hook(edit) if h_edit is not None else None
        try:
            with torch.no_grad():  # the hook turns gradients on from the bottleneck onwards
                return self.unet(x, timestep, encoder_hidden_states=context).sample
        finally:
            if handle is not None:
                handle.remove()


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """Sigma of every training timestep, ascending [T]; give alphas_cumprod in float64, for 1 - a loses digits."""
    return (((1 - alphas_cumprod) / alphas_cumprod) ** 0.5).float()


def normal_sigmas(alphas_cumprod: Tensor, steps: int) -> Tensor:
    """ComfyUI's "normal" schedule: evenly spaced timesteps from sigma_max to sigma_min, then 0; descending [steps + 1]."""
    log_sigmas = sigmas_of(alphas_cumprod).log()
    t = torch.linspace(len(log_sigmas) - 1, 0, steps)
    low = t.floor().long()
    logs = torch.lerp(log_sigmas[low], log_sigmas[t.ceil().long()], t - low)
    return torch.cat([logs.exp(), torch.zeros(1)])


def percent_to_sigma(alphas_cumprod: Tensor, percent: float) -> float:
    """ComfyUI's ModelSamplingDiscrete.percent_to_sigma: 0 is before the first step, 1 after the last."""
    if percent <= 0:
        return 999999999.9
    if percent >= 1:
        return 0.0
    log_sigmas = sigmas_of(alphas_cumprod).log()
    t = (1 - percent) * (len(log_sigmas) - 1)
    low = int(t)
    return float(torch.lerp(log_sigmas[low], log_sigmas[min(low + 1, len(log_sigmas) - 1)], t - low).exp())
