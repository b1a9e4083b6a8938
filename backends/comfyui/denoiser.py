"""Any MODEL inside ComfyUI as a denoiser, through ComfyUI's own guider and sampling loop.

LoRA, ControlNet, regional prompts, hooks and other patches are in place by construction, because every prediction is
the one a stock sampler would ask for. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...core.denoiser import HEdit
from ...core.errors import EditError, check_prediction
from .bottleneck import BottleneckPatch, with_first_output_patch
from .family import family_of, has_bottleneck
from .noise import is_flow_model
from .repeatable import can_record
from .shared_encoder import Recording, Replay, with_network_wrapper

DECODER_PREFIXES = ("diffusion_model.output_blocks.", "diffusion_model.out.")


class ComfyDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of the ``model`` that ComfyUI hands to a sampler function.

    Without h_edit this is the stock call, bit for bit.

    Args:
        model: The first argument of a sampler function.
        extra_args: The sampler function's extra_args.
        edit_uncond: Whether h_edit gets the rows of the negative prompt too.
        prompt: The conditioning of a PromptGuider, POSITIVE or TARGET; None leaves the guider's choice.
        cfg: Guidance; None takes the session's.
        differentiable: Whether gradients flow from the bottleneck on. The weights must then be those of
            with_trainable_decoder.
    """

    def __init__(
        self,
        model: Any,
        extra_args: dict[str, Any],
        *,
        edit_uncond: bool = False,
        prompt: str | None = None,
        cfg: float | None = None,
        differentiable: bool = False,
    ) -> None:
        self.model = model
        self.extra_args = extra_args
        self.edit_uncond = edit_uncond
        self.prompt = prompt
        self.cfg = cfg
        self.differentiable = differentiable

    @property
    def guidance(self) -> float:
        """The guider's cfg; 1 for guiders that have none, or several."""
        return getattr(self.model.inner_model, "cfg", 1.0) if self.cfg is None else self.cfg

    @property
    def flow(self) -> bool:
        """Whether the MODEL is a flow model (SD3, Flux)."""
        return is_flow_model(self.model.inner_model.inner_model.model_sampling)

    @property
    def place_size(self) -> int:
        """Latent pixels along each side for one place of the bottleneck; 0 where there is none."""
        return family_of(self.model.inner_model.inner_model).place_size

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser.

        Raises:
            EditError: h_edit is given and the MODEL has no U-Net bottleneck, or never reached it.
        """
        options = self.extra_args["model_options"]
        if h_edit is None:
            return check_prediction(self._predict(x, sigma, options), sigma)
        grad = self.differentiable and torch.is_grad_enabled()
        patch = BottleneckPatch(h_edit, self.edit_uncond, grad)
        options = with_first_output_patch(options, patch)
        if grad:
            options = with_network_wrapper(options, encoder_without_gradients)
        return self._predict_edited(x, sigma, patch, options)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Predict x0 plainly and with the bottleneck edited; the two share the encoder where that is exact.

        With gradients they are two calls.

        Args:
            x: State at sigma, [B, C, H, W].
            sigma: Noise level, a scalar tensor.
            h_edit: What the edited prediction does to the bottleneck; called as in an edited call alone.

        Returns:
            (D, D_edit), each like x. D is the stock call's, bit for bit.

        Raises:
            EditError: The MODEL has no U-Net bottleneck, or never reached it.
        """
        base_model = self.model.inner_model.inner_model
        require_bottleneck(base_model)
        options = self.extra_args["model_options"]
        if torch.is_grad_enabled() or not can_record(base_model, options):
            return self(x, sigma), self(x, sigma, h_edit)
        recording = Recording(self.edit_uncond)
        denoised = self._predict(x, sigma, recording.options(options))
        patch = BottleneckPatch(h_edit, self.edit_uncond, grad=False)
        return denoised, self._predict_edited(x, sigma, patch, Replay(recording, patch).options(options))

    def _predict(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> Tensor:
        """Predict x0 with these model_options."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        guider = self.model.inner_model
        if self.prompt is not None:
            guider.prompt = self.prompt
        if self.cfg is not None:
            guider.set_cfg(self.cfg)
        sigmas = sigma * x.new_ones([x.shape[0]])
        return self.model(x, sigmas, **{**self.extra_args, "model_options": model_options})

    def _predict_edited(
        self, x: Tensor, sigma: Tensor, patch: BottleneckPatch, model_options: dict[str, Any]
    ) -> Tensor:
        """Predict x0 with model_options that hold the patch, and check that it was reached."""
        require_bottleneck(self.model.inner_model.inner_model)
        # The patch turns gradients on from the bottleneck onwards.
        with torch.no_grad():
            denoised = self._predict(x, sigma, model_options)
        if not patch.fired:
            raise EditError(
                "This MODEL never reached its U-Net bottleneck during sampling; "
                "another patch replaces the U-Net's forward pass."
            )
        return denoised


def encoder_without_gradients(executor: Any, *inputs: Any, **more: Any) -> Tensor:
    """Run the network without gradients up to its bottleneck, where BottleneckPatch turns them on.

    Other packs may run it again within one prediction (perturbed guidance does), when they are on already.
    """
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    output: Tensor = executor(*inputs, **more)
    torch.set_grad_enabled(enabled or torch.is_grad_enabled())
    return output


def require_bottleneck(base_model: Any) -> None:
    """Check that a model has a U-Net bottleneck.

    Args:
        base_model: ComfyUI's BaseModel, which is a MODEL's ``model``.

    Raises:
        EditError: It has none.
    """
    if not has_bottleneck(base_model):
        network = type(getattr(base_model, "diffusion_model", None)).__name__
        raise EditError(
            f"This MODEL ({network}) has no U-Net bottleneck, which h-space editing needs; "
            "use a U-Net model (SD 1.x, SD 2.x, SDXL), or Latent SVD Edit, which works with every model."
        )


def with_trainable_decoder(model: Any) -> Any:
    """Clone a MODEL so that autograd accepts its decoder's weights.

    Weights loaded inside torch.inference_mode() cannot be saved for backward, so each decoder weight is copied as it
    is used. Nothing is left behind when the clone goes.

    Args:
        model: A MODEL, which is left as it is.

    Returns:
        The clone.

    Raises:
        EditError: The MODEL has no U-Net bottleneck.
    """
    require_bottleneck(model.model)
    clone = model.clone()
    for name, _ in model.model.named_parameters():
        if name.startswith(DECODER_PREFIXES) and name.endswith((".weight", ".bias")):
            clone.add_weight_wrapper(name, _copied_weight)
    return clone


def _copied_weight(weight: Tensor) -> Tensor:
    """Copy a weight out of inference mode."""
    return weight.detach().clone()
