"""The embedded model as ComfyUI's own MODEL, CLIP and VAE, so that every stock node treats it like a checkpoint."""

from __future__ import annotations

from typing import Any, ClassVar

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor, nn

from .enlarge import ENLARGEMENT, enlarge, reduce
from .loader import read_weights
from .networks import CONTEXT_WIDTH, DOWNSCALE, LATENT_CHANNELS, FaceVAE, TextEncoder
from .words import CONTEXT_LENGTH, tokenize

# Pixels of a picture along a side of one latent pixel.
RATIO = DOWNSCALE * ENLARGEMENT
# Estimated memory of the VAE: values that it holds at once for each pixel of the picture (measured: up to 9).
VAE_MEMORY = 16

# Red, green and blue, from -1 to 1, that a latent pixel in model space adds to the preview for each of its channels,
# and what the preview starts from. Fitted by: python benchmarks/demo_model.py --preview
PREVIEW_FACTORS = [[-0.09, 0.27, -0.02], [0.04, 0.12, 0.34], [0.04, 0.06, -0.10], [-0.36, -0.15, -0.03]]
PREVIEW_BIAS = [0.10, 0.07, 0.07]


class DemoLatent(comfy.latent_formats.LatentFormat):
    """LATENT space is the VAE's own; model space is that times the latent scale."""

    latent_channels = LATENT_CHANNELS
    # Read by backends/comfyui/family.py. ComfyUI's own ratio stays 8, as its empty latents assume.
    pixels_per_latent = RATIO
    latent_rgb_factors = PREVIEW_FACTORS
    latent_rgb_factors_bias = PREVIEW_BIAS

    def __init__(self) -> None:
        self.scale_factor = read_weights("vae")[1]["latent_scale"]


class DemoConfig(comfy.supported_models_base.BASE):
    """SD 1.x's U-Net, small; the counterpart of networks.UNET_CONFIG."""

    unet_config: ClassVar[dict[str, Any]] = {
        "image_size": 16,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "model_channels": 64,
        "num_res_blocks": [1, 1, 1],
        "channel_mult": [1, 2, 2],
        "transformer_depth": [0, 1, 1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [0, 0, 1, 1, 1, 1],
        "context_dim": CONTEXT_WIDTH,
        "adm_in_channels": None,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "use_checkpoint": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }
    unet_extra_config: ClassVar[dict[str, Any]] = {"num_heads": 4, "num_head_channels": -1}
    latent_format = DemoLatent
    memory_usage_factor = 1.0
    native_side = RATIO * 16


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
    """The VAE with pictures ENLARGEMENT times as large: [B, 3, H, W] and latents [B, 4, H/16, W/16]."""

    def moments(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent of the reduced pictures."""
        return super().moments(reduce(pictures))

    def decode(self, latents: Tensor) -> Tensor:
        """Return enlarged pictures, near [-1, 1] but not clamped."""
        return enlarge(super().decode(latents))


def load() -> tuple[Any, Any, Any]:
    """Load the embedded model as ComfyUI's (MODEL, CLIP, VAE), in float32."""
    return _model(), _clip(), _vae()


def _model() -> comfy.model_patcher.ModelPatcher:
    config = DemoConfig(DemoConfig.unet_config)
    config.set_inference_dtype(torch.float32, None)
    offload = comfy.model_management.unet_offload_device()
    weights = read_weights("unet")[0]
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    # load_model_weights would only log what is missing.
    model = config.get_model({}, "", device=offload)
    model.diffusion_model.load_state_dict({names[name]: value for name, value in weights.items()})
    return comfy.model_patcher.ModelPatcher(
        model.to(offload), load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def _clip() -> comfy.sd.CLIP:
    weights = read_weights("text")[0]
    target = comfy.supported_models_base.ClipTarget(DemoTokenizer, DemoClip)
    clip = comfy.sd.CLIP(
        target, parameters=comfy.utils.calculate_parameters(weights), model_options={"dtype": torch.float32}
    )
    clip.load_sd(weights)
    return clip


def _vae() -> comfy.sd.VAE:
    # ComfyUI's VAE class builds only architectures it knows. Its trivial pixel-space one sets every attribute of the
    # running version; then the network, and what depends on it, are ours.
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    network = LargeFaceVAE(ops=comfy.ops.disable_weight_init)
    network.load_state_dict(read_weights("vae")[0])
    vae.first_stage_model = network.eval()
    patcher = vae.patcher
    vae.patcher = type(patcher)(network, load_device=patcher.load_device, offload_device=patcher.offload_device)
    vae.latent_channels = LATENT_CHANNELS
    vae.downscale_ratio = vae.upscale_ratio = RATIO
    vae.memory_used_encode = _encode_memory
    vae.memory_used_decode = _decode_memory
    return vae


def _encode_memory(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes that encoding pictures of this shape takes, [B, 3, H, W]."""
    return VAE_MEMORY * shape[2] * shape[3] * comfy.model_management.dtype_size(dtype)


def _decode_memory(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes that decoding latents of this shape takes, [B, 4, H/16, W/16]."""
    return VAE_MEMORY * RATIO**2 * shape[2] * shape[3] * comfy.model_management.dtype_size(dtype)
