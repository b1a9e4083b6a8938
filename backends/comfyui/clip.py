"""CLIP inside ComfyUI, differentiable: embeddings of predicted latents, and the difference of two texts.

CLIP Vision's and the VAE's weights are copied for as long as learning runs: autograd cannot keep the inference tensors
that ComfyUI loads, and ComfyUI's own copies are neither moved nor patched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention_for_device
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import EditError
from .frames import without_model

NO_PROJECTION = (
    "clip has no text projection, so its texts and CLIP Vision's pictures have no space in common "
    "(SD 1.5's own text encoder has none); load the text half of the same CLIP model as clip_vision with Load CLIP, "
    "for example clip-vit-large-patch14."
)


class _Decoder(nn.Module):
    """A VAE's decoder as a module whose forward is decode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents)


class _VisionEncoder(nn.Module):
    """ComfyUI's CLIPVisionModelProjection without its in-place sums, which autograd does not accept."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        vision = self.network.vision_model
        attention = optimized_attention_for_device(pixels.device, mask=False, small_input=True)
        x = vision.pre_layrnorm(vision.embeddings(pixels))
        for layer in vision.encoder.layers:
            x = x + layer.self_attn(layer.layer_norm1(x), None, attention)
            x = x + layer.mlp(layer.layer_norm2(x))
        class_token = x[:, 0]
        return self.network.visual_projection(vision.post_layernorm(class_token))


def _with_own_weights(module: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the module as a function with float32 weights of its own on this device."""
    weights = {}
    with torch.inference_mode(False):
        for name, value in (*module.named_parameters(), *module.named_buffers()):
            dtype = torch.float32 if value.is_floating_point() else value.dtype
            weights[name] = value.detach().to(device, dtype, copy=True)

    def call(x: Tensor) -> Tensor:
        return torch.func.functional_call(module, weights, (x,))

    return call


class PictureEmbedding:
    """CLIP's embedding of the pictures that latents decode to, differentiable in the latents.

    Args:
        vae: A VAE.
        clip_vision: A CLIP_VISION.
        process_latent_out: The model's way from model space to what the VAE decodes, with a frame where it has one.
        device: Where embeddings are computed.
    """

    def __init__(
        self, vae: Any, clip_vision: Any, process_latent_out: Callable[[Tensor], Tensor], device: torch.device
    ) -> None:
        self.decode = _with_own_weights(_Decoder(vae.first_stage_model), device)
        self.encode = _with_own_weights(_VisionEncoder(clip_vision.model), device)
        self.process_latent_out = process_latent_out
        self.size = clip_vision.image_size
        self.mean = torch.tensor(clip_vision.image_mean, device=device)[:, None, None]
        self.std = torch.tensor(clip_vision.image_std, device=device)[:, None, None]

    def __call__(self, latents: Tensor) -> Tensor:
        """Embed latents.

        Args:
            latents: [B, C, H, W] in model space.

        Returns:
            CLIP's picture embeddings, [B, E].
        """
        pictures = without_model(self.decode(self.process_latent_out(latents.float()))) / 2 + 0.5
        square = F.interpolate(pictures, size=(self.size, self.size), mode="bicubic", antialias=True)
        return self.encode((square - self.mean) / self.std)


def text_direction(clip: Any, source: str, target: str) -> Tensor:
    """Return the difference of two texts' unit embeddings, E_T(target) - E_T(source).

    Args:
        clip: A CLIP.
        source: Text of the source.
        target: Text of the target.

    Returns:
        [E] in float32, on the CPU.

    Raises:
        EditError: The text encoder has no text projection.
    """
    model = clip.cond_stage_model
    encoder = getattr(model, "clip_g", None) or getattr(model, getattr(model, "clip", "clip_l"), None)
    projection = getattr(getattr(encoder, "transformer", None), "text_projection", None)
    weight = getattr(projection, "weight", None)
    # ComfyUI fills in the identity where a checkpoint brings none.
    if weight is None or torch.equal(weight.float().cpu(), torch.eye(len(weight))):
        raise EditError(NO_PROJECTION)
    source_embedding = _text_embedding(clip, source)
    return _text_embedding(clip, target) - source_embedding


def _text_embedding(clip: Any, text: str) -> Tensor:
    """Return a text's unit embedding, [E]."""
    pooled = clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1]
    return F.normalize(pooled.float().cpu()[0], dim=0)


def check_same_clip(clip_vision: Any, text: Tensor) -> None:
    """Check that pictures and texts are embedded in one space.

    Args:
        clip_vision: A CLIP_VISION.
        text: A text embedding, [E].

    Raises:
        EditError: The picture encoder is no CLIP, or the two halves cannot be of one model.
    """
    projection = getattr(getattr(clip_vision.model, "visual_projection", None), "weight", None)
    if projection is None:
        raise EditError(
            f"clip_vision is a {type(clip_vision.model).__name__} without CLIP's projection; "
            "load the picture half of the same CLIP model as clip."
        )
    if len(projection) != len(text):
        raise EditError(
            f"clip's texts have {len(text)} numbers but clip_vision's pictures have {len(projection)}; "
            "load the two halves of the same CLIP model."
        )
