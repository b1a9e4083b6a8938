"""The core's denoiser on a diffusers ``UNet2DConditionModel``, in ComfyUI's sigma convention.

SD 1.x, SD 2.x and SDXL: networks that predict eps or v, with or without SDXL's added conditioning. Every tensor is in
model space, x = x0 + sigma*n; states are in float32, whatever the network computes in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.denoiser import HEdit
from ..core.errors import EditError
from .compiled import uncompiled
from .conditioning import Conditioning, joined
from .diffusers_pair import DecoderRecorder, decode, is_plain

# What ComfyUI's ModelSamplingDiscrete.percent_to_sigma returns for percents of 0 and below.
SIGMA_BEFORE_START = 999999999.9

EPS = "eps"
V_PREDICTION = "v_prediction"


class _Inputs(NamedTuple):
    """What the network takes for a state, of all rows."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    added: dict[str, Tensor] | None


def predicted_picture(x: Tensor, output: Tensor, sigma: Tensor, prediction: str) -> Tensor:
    """Return the picture that a network's answer predicts, like x.

    Args:
        x: State at sigma, [B, C, H, W].
        output: The answer, after guidance, like x.
        sigma: Noise level, a scalar tensor.
        prediction: What the network predicts, EPS or V_PREDICTION.
    """
    if prediction == V_PREDICTION:
        return x / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5
    return x - output * sigma


class DiffusersDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of a diffusers U-Net, with prompts, guidance and schedule bound.

    h_edit gets rows of the middle block's output. The encoder is never part of the gradient graph.

    Args:
        unet: The network, frozen. A compiled one runs as it was written where its bottleneck is read or edited,
            because what was compiled calls no hooks that were added later.
        context: The prompt's embedding, [1 or B, tokens, width], with the pooled one for SDXL.
        negative: The negative prompt's, likewise; None samples without guidance.
        cfg: Guidance; with 1 the negative prompt is not evaluated.
        alphas_cumprod: The noise schedule, [T]; float64 keeps the digits of 1 - a.
        prediction: What the network predicts, EPS or V_PREDICTION.
        pixels_per_latent: Pixels along a side of a latent pixel; SDXL is told the size of its picture.
        edit_uncond: Whether h_edit gets the rows of the negative prompt too.

    Attributes:
        guidance: By how much guidance multiplies a change of the conditional prediction.
        flow: False: eps and v models are no flow models.

    Raises:
        EditError: The network has no middle block.
    """

    flow = False

    def __init__(
        self,
        unet: nn.Module,
        context: Tensor | Conditioning,
        negative: Tensor | Conditioning | None = None,
        cfg: float = 1.0,
        *,
        alphas_cumprod: Tensor,
        prediction: str = EPS,
        pixels_per_latent: int = 8,
        edit_uncond: bool = False,
    ) -> None:
        if getattr(unet, "mid_block", None) is None:
            raise EditError(
                f"{type(unet).__name__} has no U-Net bottleneck (middle block), so h-space editing cannot work on it."
            )
        self.unet = unet
        self.dtype = next(unet.parameters()).dtype
        self.context = Conditioning.of(context)
        self.negative = None if negative is None else Conditioning.of(negative)
        self.prediction = prediction
        self.pixels_per_latent = pixels_per_latent
        self.edit_uncond = edit_uncond
        self.cfg = self.guidance = cfg if negative is not None else 1.0
        self.log_sigmas = sigmas_of(alphas_cumprod).log()

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser."""
        hook = _BottleneckHook.of(h_edit, self._edited_rows(x))
        return self._denoised(x, sigma, self._predict(self._inputs(x, sigma), hook))

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
            output = self._predict(self._inputs(x, sigma), None)
        denoised = self._denoised(x, sigma, output)
        inputs = recorder.inputs
        if inputs is None:
            return denoised, self(x, sigma, h_edit)
        edited = decode(self.unet, h_edit(inputs.h), inputs)
        return denoised, self._denoised(x, sigma, torch.cat([edited, output[rows:]]))

    @property
    def _prompts(self) -> list[Conditioning]:
        """The prompts that are evaluated, the conditional one first."""
        return [self.context] if self.cfg == 1.0 or self.negative is None else [self.context, self.negative]

    def _edited_rows(self, x: Tensor) -> int:
        """Return how many rows of the network's batch are edited: the first ones, which are conditional."""
        return len(self._prompts) * len(x) if self.edit_uncond else len(x)

    def _inputs(self, x: Tensor, sigma: Tensor) -> _Inputs:
        """Return what the network takes for a state."""
        prompts = joined([prompt.to(x, self.dtype) for prompt in self._prompts])
        # The network takes x in its own variance-preserving scale, and the timestep whose sigma is the nearest.
        scaled = (x / (sigma**2 + 1) ** 0.5).to(self.dtype).repeat(len(self._prompts), 1, 1, 1)
        nearest = (self.log_sigmas.to(x.device) - sigma.log().float()).abs().argmin()
        added = None
        if prompts.pooled is not None:
            # SDXL: the picture's size, where it was cropped, and the size that is asked for.
            size = [self.pixels_per_latent * length for length in x.shape[-2:]]
            time_ids = torch.tensor([[*size, 0, 0, *size]], device=x.device, dtype=self.dtype)
            added = {"text_embeds": prompts.pooled, "time_ids": time_ids.expand(len(scaled), -1)}
        return _Inputs(scaled, nearest.expand(len(scaled)), prompts.embeds, added)

    def _denoised(self, x: Tensor, sigma: Tensor, output: Tensor) -> Tensor:
        """Return x0 after guidance, like x, from the network's answer for all rows."""
        output = output.to(x.dtype)
        if len(self._prompts) > 1:
            output, uncond = output.chunk(2)
            output = uncond + self.cfg * (output - uncond)
        return predicted_picture(x, output, sigma, self.prediction)

    def _predict(self, inputs: _Inputs, hook: _BottleneckHook | None) -> Tensor:
        """Return the network's answer, with the hook on the middle block for the length of this call."""
        network: Callable[..., Any] = self.unet
        handle = None
        if hook is not None:
            network = uncompiled(self.unet)
            handle = self.unet.mid_block.register_forward_hook(hook)
        try:
            # The hook turns gradients on from the bottleneck onwards.
            with torch.no_grad():
                more = {} if inputs.added is None else {"added_cond_kwargs": inputs.added}
                return network(inputs.x, inputs.timestep, encoder_hidden_states=inputs.context, **more).sample
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
