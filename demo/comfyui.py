"""An embedded model as ComfyUI's own MODEL, CLIP and VAE, so that every stock node treats it like a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor, nn

from .architectures import ARCHITECTURES, UNET, Architecture
from .comfyui_networks import LARGEST, DemoConfig, DemoTransformerConfig
from .enlarge import enlarge, reduce
from .loader import read_weights
from .mmdit_weights import mmdit_weights
from .networks import LATENT_CHANNELS, FaceVAE, TextEncoder, position_table
from .words import CONTEXT_LENGTH, tokenize

# Estimated memory of the VAE: values that it holds at once for each pixel of the picture (measured: up to 9).
VAE_MEMORY = 16


class DemoTokenizer:
    """Text with (weights:1.2) as tokens with weights, as ComfyUI's CLIP object asks for them."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
        pass

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs: Any) -> dict[str, Any]:
        """Tokenize a prompt.

        Args:
            text: The prompt, with ComfyUI's syntax for weights.
            return_word_ids: Whether each token comes with the index of its word, 0 for all.
            **kwargs: What else ComfyUI hands to tokenizers; not used.

        Returns:
            {"face": [pairs]}, where pairs are CONTEXT_LENGTH tuples (token, weight).
        """
        weights: dict[int, float] = {}
        for segment, weight in comfy.sd1_clip.token_weights(comfy.sd1_clip.escape_important(text), 1.0):
            for token in tokenize(comfy.sd1_clip.unescape_important(segment)):
                weights[token] = weight if token else 1.0
        pairs = sorted((token, weight) for token, weight in weights.items() if token)
        pairs += [(0, 1.0)] * (CONTEXT_LENGTH - len(pairs))
        if return_word_ids:
            return {"face": [[(*pair, 0) for pair in pairs]]}
        return {"face": [pairs]}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the words are in the code."""
        return {}


class DemoClip(nn.Module):
    """The text encoder behind ComfyUI's CLIP interface; a weight scales a word's distance from padding."""

    def __init__(self, device: Any = "cpu", dtype: torch.dtype | None = None, model_options: Any = None) -> None:
        super().__init__()
        self.text = TextEncoder(ops=comfy.ops.disable_weight_init).to(device, dtype)
        self.dtypes = {dtype}

    def set_clip_options(self, options: dict[str, Any]) -> None:
        """Do nothing: the text encoder has no layers to choose from and no pooled output to project."""

    def reset_clip_options(self) -> None:
        """Do nothing; see set_clip_options."""

    def encode_token_weights(self, tokens: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Encode what tokenize_with_weights returned.

        Returns:
            The context, [1, 8, 64], and its mean as the pooled output, [1, 64].
        """
        pairs = tokens["face"][0]
        device = self.text.embedding.weight.device
        ids = torch.tensor([[pair[0] for pair in pairs]], device=device)
        weights = torch.tensor([[pair[1] for pair in pairs]], device=device)[..., None]
        words = self.text(ids).float()
        padding = self.text(torch.zeros_like(ids)).float()
        context = padding + weights * (words - padding)
        return context, context.mean(dim=1)

    def load_sd(self, sd: dict[str, Tensor]) -> Any:
        """Load the text encoder's weights."""
        return self.text.load_state_dict(sd)


class LargeFaceVAE(FaceVAE):
    """The VAE with enlarged pictures, [B, 3, enlargement * H, enlargement * W].

    Args:
        enlargement: How many times as large they are.
        ops: Where layers come from.
    """

    def __init__(self, enlargement: int, ops: Any) -> None:
        super().__init__(ops=ops)
        self.enlargement = enlargement

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent of the reduced pictures."""
        return super().moments(reduce(pictures, self.enlargement))

    def decode(self, latents: Tensor) -> Tensor:
        """Return enlarged pictures, near [-1, 1] but not clamped."""
        return enlarge(super().decode(latents), self.enlargement)


def load(name: str = UNET.name) -> tuple[Any, Any, Any]:
    """Load an embedded model as ComfyUI's (MODEL, CLIP, VAE), in float32.

    Args:
        name: One of ARCHITECTURES.
    """
    architecture = ARCHITECTURES[name]
    return _model(architecture), _clip(architecture), _vae(architecture)


def _model(architecture: Architecture) -> comfy.model_patcher.ModelPatcher:
    weights = read_weights(architecture.network)[0]
    if architecture is UNET:
        config = DemoConfig(DemoConfig.unet_config)
        names = comfy.utils.unet_to_diffusers(config.unet_config)
        weights = {names[name]: value for name, value in weights.items()}
    else:
        config = DemoTransformerConfig(DemoTransformerConfig.unet_config)
        weights = {**mmdit_weights(weights), "pos_embed": position_table(LARGEST)}
    config.set_inference_dtype(torch.float32, None)
    offload = comfy.model_management.unet_offload_device()
    # load_model_weights would only log what is missing.
    model = config.get_model({}, "", device=offload)
    model.diffusion_model.load_state_dict(weights)
    return comfy.model_patcher.ModelPatcher(
        model.to(offload), load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def _clip(architecture: Architecture) -> comfy.sd.CLIP:
    weights = read_weights(architecture.text)[0]
    target = comfy.supported_models_base.ClipTarget(DemoTokenizer, DemoClip)
    clip = comfy.sd.CLIP(
        target, parameters=comfy.utils.calculate_parameters(weights), model_options={"dtype": torch.float32}
    )
    clip.load_sd(weights)
    return clip


def _vae(architecture: Architecture) -> comfy.sd.VAE:
    # ComfyUI's VAE class builds only architectures it knows. Its trivial pixel-space one sets every attribute of the
    # running version; then the network, and what depends on it, are ours.
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    network = LargeFaceVAE(architecture.enlargement, comfy.ops.disable_weight_init)
    network.load_state_dict(read_weights("vae")[0])
    vae.first_stage_model = network.eval()
    patcher = vae.patcher
    vae.patcher = type(patcher)(network, load_device=patcher.load_device, offload_device=patcher.offload_device)
    vae.latent_channels = LATENT_CHANNELS
    ratio = architecture.pixels_per_latent
    vae.downscale_ratio = vae.upscale_ratio = ratio
    vae.memory_used_encode = _memory_for(1)
    vae.memory_used_decode = _memory_for(ratio**2)
    return vae


def _memory_for(pixels: int) -> Callable[[tuple[int, ...], torch.dtype], int]:
    """Return a function that estimates the bytes for a tensor of this shape, of so many picture pixels a place."""

    def memory(shape: tuple[int, ...], dtype: torch.dtype) -> int:
        return VAE_MEMORY * pixels * shape[2] * shape[3] * comfy.model_management.dtype_size(dtype)

    return memory
