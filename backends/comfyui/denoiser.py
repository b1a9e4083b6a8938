"""Any MODEL inside ComfyUI as a denoiser, through ComfyUI's own guider and sampling loop.

LoRA, ControlNet, regional prompts, hooks and other patches are in place by construction, because every prediction is
the one a stock sampler would ask for. This module may be imported only where ComfyUI runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ...core.denoiser import HEdit
from ...core.errors import EditError, check_prediction
from ...core.layers import AUTO, MIDDLE_BLOCK, block_of, layer_text
from .bottleneck import BottleneckPatch
from .family import block_list, choose_layer, family_of
from .frames import framed
from .h_patch import HPatch
from .noise import is_flow_model
from .repeatable import can_record
from .shared_encoder import Recording, Replay, with_network_wrapper
from .tokens import TokenPatch, gradients_through_blocks

NETWORK = "diffusion_model."
DECODER_PREFIXES = (f"{NETWORK}output_blocks.", f"{NETWORK}out.")


class ComfyDenoiser:
    """``denoise(x, sigma, h_edit=None) -> x0`` of the ``model`` that ComfyUI hands to a sampler function.

    Without h_edit this is the stock call, bit for bit.

    Args:
        model: The first argument of a sampler function.
        extra_args: The sampler function's extra_args.
        edit_uncond: Whether h_edit gets the rows of the negative prompt too.
        prompt: The conditioning of a PromptGuider, POSITIVE or TARGET; None leaves the guider's choice.
        cfg: Guidance; None takes the session's.
        differentiable: Whether gradients flow from h on. The weights must then be those of with_trainable_decoder.
        layer: Where h is; AUTO as choose_layer chooses.
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
        layer: str = AUTO,
    ) -> None:
        self.model = model
        self.extra_args = extra_args
        self.edit_uncond = edit_uncond
        self.prompt = prompt
        self.cfg = cfg
        self.differentiable = differentiable
        self._layer = layer

    @property
    def layer(self) -> str:
        """Where h is.

        Raises:
            EditError: The MODEL has no h, or no such layer.
        """
        return choose_layer(self.base_model, self._layer)

    @property
    def base_model(self) -> Any:
        """ComfyUI's BaseModel."""
        return self.model.inner_model.inner_model

    @property
    def guidance(self) -> float:
        """The guider's cfg; 1 for guiders that have none, or several."""
        return getattr(self.model.inner_model, "cfg", 1.0) if self.cfg is None else self.cfg

    @property
    def flow(self) -> bool:
        """Whether the MODEL is a flow model (SD3, Flux)."""
        return is_flow_model(self.base_model.model_sampling)

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in: the weights' own, or what ComfyUI casts them to."""
        cast = self.base_model.manual_cast_dtype
        return self.base_model.get_dtype() if cast is None else cast

    @property
    def place_size(self) -> int:
        """Latent pixels along each side for one place of h; 0 where it is not known."""
        return family_of(self.base_model).place_size

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: HEdit | None = None) -> Tensor:
        """Predict x0; see core.denoiser.Denoiser.

        Raises:
            EditError: h_edit is given and the MODEL has no h, or never reached it.
        """
        options = self.extra_args["model_options"]
        if h_edit is None:
            return check_prediction(self._predict(x, sigma, options), sigma)
        grad = self.differentiable and torch.is_grad_enabled()
        patch = h_patch(self.base_model, self.layer, h_edit, edit_uncond=self.edit_uncond, grad=grad)
        options = patch.options(options)
        if grad:
            options = with_network_wrapper(options, encoder_without_gradients)
        return self._predict_edited(x, sigma, patch, options)

    def denoise_pair(self, x: Tensor, sigma: Tensor, h_edit: HEdit) -> tuple[Tensor, Tensor]:
        """Predict x0 plainly and with h edited; the two share the encoder of a U-Net where that is exact.

        With gradients, and of a transformer, they are two calls.

        Args:
            x: State at sigma, [B, C, H, W].
            sigma: Noise level, a scalar tensor.
            h_edit: What the edited prediction does to the bottleneck; called as in an edited call alone.

        Returns:
            (D, D_edit), each like x. D is the stock call's, bit for bit.

        Raises:
            EditError: The MODEL has no h, or never reached it.
        """
        options = self.extra_args["model_options"]
        shared = self.layer == MIDDLE_BLOCK and not torch.is_grad_enabled()
        if not shared or not can_record(self.base_model, options):
            return self(x, sigma), self(x, sigma, h_edit)
        recording = Recording(self.edit_uncond)
        denoised = self._predict(x, sigma, recording.options(options))
        patch = BottleneckPatch(h_edit, edit_uncond=self.edit_uncond)
        return denoised, self._predict_edited(x, sigma, patch, Replay(recording, patch).options(options))

    def _predict(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any]) -> Tensor:
        """Predict x0 with these model_options."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        sigmas = sigma * x.new_ones([x.shape[0]])
        with self._choices():
            whole = framed(self.base_model, x)
            return self.model(whole, sigmas, **{**self.extra_args, "model_options": model_options}).view_as(x)

    @contextmanager
    def _choices(self) -> Iterator[None]:
        """Let the guider take this denoiser's prompt and guidance, and leave it as it was: others share the session."""
        guider = self.model.inner_model
        chosen = {name: value for name, value in (("prompt", self.prompt), ("cfg", self.cfg)) if value is not None}
        before = {name: getattr(guider, name) for name in chosen}
        for name, value in chosen.items():
            setattr(guider, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(guider, name, value)

    def _predict_edited(self, x: Tensor, sigma: Tensor, patch: HPatch, model_options: dict[str, Any]) -> Tensor:
        """Predict x0 with model_options that hold the patch, and check that it was reached."""
        # The patch turns gradients on from h onwards.
        through_blocks = patch.grad and isinstance(patch, TokenPatch)
        with torch.no_grad(), gradients_through_blocks() if through_blocks else nullcontext():
            denoised = self._predict(x, sigma, model_options)
        check_reached(patch.fired, self.layer)
        return denoised


def encoder_without_gradients(executor: Any, *inputs: Any, **more: Any) -> Tensor:
    """Run the network without gradients up to h, where HPatch turns them on.

    Other packs may run it again within one prediction (perturbed guidance does), when they are on already.
    """
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    output: Tensor = executor(*inputs, **more)
    torch.set_grad_enabled(enabled or torch.is_grad_enabled())
    return output


def h_patch(base_model: Any, layer: str, h_edit: HEdit, **options: bool) -> HPatch:
    """Return the patch that edits h of a model.

    Args:
        base_model: ComfyUI's BaseModel.
        layer: Where h is.
        h_edit: Called with the rows that are to be edited.
        **options: As HPatch takes them.
    """
    block = block_of(layer)
    if block is None:
        return BottleneckPatch(h_edit, **options)
    return TokenPatch(block, family_of(base_model).place_size, h_edit, **options)


def check_reached(reached: bool, layer: str) -> None:
    """Check that the network came to h.

    Raises:
        EditError: It did not.
    """
    if not reached:
        raise EditError(
            f"This MODEL never reached {layer_text(layer)} during sampling; another patch replaces the network's "
            "forward pass, or the network does not let its blocks be patched."
        )


def with_trainable_decoder(model: Any, layer: str = AUTO) -> Any:
    """Clone a MODEL so that autograd accepts the weights that come after h.

    Weights loaded inside torch.inference_mode() cannot be saved for backward, so each is copied as it is used. Nothing
    is left behind when the clone goes.

    Args:
        model: A MODEL, which is left as it is.
        layer: Where h is; AUTO as choose_layer chooses.

    Returns:
        The clone.

    Raises:
        EditError: The MODEL has no h, or no such layer.
    """
    layer = choose_layer(model.model, layer)
    clone = model.clone()
    for name, weight in model.model.named_parameters():
        if not _is_after(model.model, layer, name):
            continue
        owner = model.model.get_submodule(name.rpartition(".")[0])
        if name.endswith((".weight", ".bias")) and hasattr(owner, "comfy_cast_weights"):
            clone.add_weight_wrapper(name, _copied_weight)
        elif weight.is_inference():
            # A layer of the network's own, which knows nothing of weight wrappers: norms of queries and keys.
            clone.add_object_patch(name, torch.nn.Parameter(_copied_weight(weight), requires_grad=False))
    return clone


def _is_after(base_model: Any, layer: str, name: str) -> bool:
    """Return whether a weight may come after h: all but those of blocks up to the layer's, in a transformer."""
    block = block_of(layer)
    if block is None:
        return name.startswith(DECODER_PREFIXES)
    blocks = f"{NETWORK}{block_list(base_model)}."
    if name.startswith(blocks):
        return int(name.removeprefix(blocks).partition(".")[0]) > block
    return name.startswith(NETWORK)


def _copied_weight(weight: Tensor) -> Tensor:
    """Copy a weight out of inference mode."""
    return weight.detach().clone()
