"""The core's denoiser on an eps-predicting diffusers ``UNet2DConditionModel``, in ComfyUI's sigma convention.

Every tensor is in model space, x = x0 + sigma*n.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.denoiser import HEdit
from ..core.errors import EditError
from .diffusers_pair import DecoderRecorder, decode, is_plain

# What ComfyUI's ModelSamplingDiscrete.percent_to_sigma returns for percents of 0 and below.
SIGMA_BEFORE_START = 999999999.9


class DiffusersDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of a diffusers U-Net, with prompts, guidance and schedule bound.

    h_edit gets rows of the middle block's output. The encoder is never part of the gradient graph.

    Args:
        unet: The network, frozen.
        context: The prompt's embedding, [1 or B, tokens, width].
        negative: The negative prompt's embedding, of the same shape; None samples without guidance.
        cfg: Guidance; with 1 the negative prompt is not evaluated.
        alphas_cumprod: The noise schedule, [T]; float64 keeps the digits of 1 - a.
        edit_uncond: Whether h_edit gets the rows of the negative prompt too.

    Attributes:
        guidance: By how much guidance multiplies a change of the conditional prediction.
        flow: False: eps models are no flow models.

    Raises:
        EditError: The network has no middle block.
    """

    flow = False

    def __init__(
        self,
        unet: nn.Module,
        context: Tensor,
        negative: Tensor | None = None,
        cfg: float = 1.0,
        *,
        alphas_cumprod: Tensor,
        edit_uncond: bool = False,
    ) -> None:
        if getattr(unet, "mid_block", None) is None:
            raise EditError(
                f"{type(unet).__name__} has no U-Net bottleneck (middle block), so h-space editing cannot work on it."
            )
        self.unet = unet
        self.context = context
        self.negative = negative
        self.edit_uncond = edit_uncond
        self.cfg = self.guidance = cfg if negative is not None else 1.0
        self.log_sigmas = sigmas_of(alphas_cumprod).log()

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser."""
        inputs = self._inputs(x, sigma)
        eps = self._predict(*inputs, _BottleneckHook.of(h_edit, self._edited_rows(x)))
        return self._denoised(x, sigma, eps)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Predict x0 plainly and with the bottleneck edited; the two share the encoder where that is exact.

        With gradients they are two calls.

        Args:
            x: State at sigma, [B, C, H, W].
            sigma: Noise level, a scalar tensor.
            h_edit: What the edited prediction does to the bottleneck; called as in an edited call alone.

        Returns:
            (D, D_edit), each like x. D is the plain call's, bit for bit.
        """
        if torch.is_grad_enabled() or not is_plain(self.unet):
            return self(x, sigma), self(x, sigma, h_edit)
        rows = self._edited_rows(x)
        with DecoderRecorder(self.unet, rows) as recorder:
            eps = self._predict(*self._inputs(x, sigma), None)
        denoised = self._denoised(x, sigma, eps)
        inputs = recorder.inputs
        if inputs is None:
            return denoised, self(x, sigma, h_edit)
        edited = decode(self.unet, h_edit(inputs.h), inputs)
        return denoised, self._denoised(x, sigma, torch.cat([edited, eps[rows:]]))

    @property
    def _guided(self) -> bool:
        return self.cfg != 1.0

    def _edited_rows(self, x: Tensor) -> int:
        """Return how many rows of the network's batch are edited: the first ones, which are conditional."""
        return 2 * len(x) if self._guided and self.edit_uncond else len(x)

    def _inputs(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the network takes for a state: (scaled x, timestep, context), of all rows."""
        parts = [self.context]
        if self._guided:
            parts.append(cast(Tensor, self.negative))
        context = torch.cat([part.expand(len(x), -1, -1) for part in parts])
        # The network takes x in its own variance-preserving scale, and the timestep whose sigma is the nearest.
        scaled = (x / (sigma**2 + 1) ** 0.5).repeat(len(parts), 1, 1, 1)
        nearest = (self.log_sigmas.to(x.device) - sigma.log().float()).abs().argmin()
        return scaled, nearest.expand(len(scaled)), context

    def _denoised(self, x: Tensor, sigma: Tensor, eps: Tensor) -> Tensor:
        """Return x0 after guidance, like x, from the network's answer for all rows."""
        if self._guided:
            eps, uncond = eps.chunk(2)
            eps = uncond + self.cfg * (eps - uncond)
        return x - eps * sigma

    def _predict(self, x: Tensor, timestep: Tensor, context: Tensor, hook: _BottleneckHook | None) -> Tensor:
        """Predict eps with the hook on the middle block for the length of this call."""
        handle = self.unet.mid_block.register_forward_hook(hook) if hook is not None else None
        try:
            # The hook turns gradients on from the bottleneck onwards.
            with torch.no_grad():
                return self.unet(x, timestep, encoder_hidden_states=context).sample
        finally:
            if handle is not None:
                handle.remove()


class _BottleneckHook:
    """A forward hook that edits the first rows of the middle block's output.

    Gradients flow from there on where they were enabled when the hook was made.
    """

    def __init__(self, h_edit: HEdit, rows: int) -> None:
        self.h_edit = h_edit
        self.rows = rows
        self.grad = torch.is_grad_enabled()

    @classmethod
    def of(cls, h_edit: HEdit | None, rows: int) -> _BottleneckHook | None:
        """Return the hook of an edit; None where there is none."""
        return None if h_edit is None else cls(h_edit, rows)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], h: Tensor) -> Tensor:
        torch.set_grad_enabled(self.grad)
        return torch.cat([self.h_edit(h[: self.rows].detach()), h[self.rows :]])


def sigmas_of(alphas_cumprod: Tensor) -> Tensor:
    """Return the sigma of every training timestep.

    Args:
        alphas_cumprod: The noise schedule, [T]; in float64, for 1 - a loses digits.

    Returns:
        sqrt((1 - a) / a), ascending, [T] in float32.
    """
    return (((1 - alphas_cumprod) / alphas_cumprod) ** 0.5).float()


def normal_sigmas(alphas_cumprod: Tensor, steps: int) -> Tensor:
    """Return ComfyUI's "normal" schedule: evenly spaced timesteps from sigma_max to sigma_min, then 0.

    Args:
        alphas_cumprod: The noise schedule, [T].
        steps: Sampling steps.

    Returns:
        Descending noise levels, [steps + 1].
    """
    log_sigmas = sigmas_of(alphas_cumprod).log()
    t = torch.linspace(len(log_sigmas) - 1, 0, steps)
    low = t.floor().long()
    high = t.ceil().long()
    between = torch.lerp(log_sigmas[low], log_sigmas[high], t - low)
    return torch.cat([between.exp(), torch.zeros(1)])


def percent_to_sigma(alphas_cumprod: Tensor, percent: float) -> float:
    """Return the noise level at a share of the way through sampling, as ComfyUI's ModelSamplingDiscrete does.

    Args:
        alphas_cumprod: The noise schedule, [T].
        percent: 0 is before the first step, 1 after the last.

    Returns:
        The sigma there; SIGMA_BEFORE_START at 0 and below.
    """
    if percent <= 0:
        return SIGMA_BEFORE_START
    if percent >= 1:
        return 0.0
    log_sigmas = sigmas_of(alphas_cumprod).log()
    t = (1 - percent) * (len(log_sigmas) - 1)
    low = int(t)
    high = min(low + 1, len(log_sigmas) - 1)
    between = torch.lerp(log_sigmas[low], log_sigmas[high], t - low)
    return float(between.exp())
