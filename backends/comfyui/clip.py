"""CLIP inside ComfyUI, differentiable: predicted latents to picture embeddings, and a pair of texts to their difference.

CLIP Vision's and the VAE's weights are copied for as long as learning runs: autograd cannot keep the inference tensors
that ComfyUI loads, and ComfyUI's own copies are neither moved nor patched.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from comfy.ldm.modules.attention import optimized_attention_for_device
from torch import Tensor, nn
from torch.nn import functional as F

from ...core.errors import EditError

NO_PROJECTION = (
    "clip has no text projection, so its texts and CLIP Vision's pictures have no space in common (SD 1.5's own text encoder has none); "
    "load the text half of the same CLIP model as clip_vision with Load CLIP, for example clip-vit-large-patch14."
)


class _Decoder(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, latents: Tensor) -> Tensor:
        return self.network.decode(latents)


class _Eye(nn.Module):
    """ComfyUI's CLIPVisionModelProjection without its in-place sums, which autograd does not accept."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        vision = self.network.vision_model
        attention = optimized_attention_for_device(pixels.device, mask=False, small_input=True)
        x = vision.pre_layrnorm(vision.embeddings(pixels))
        for layer in vision.encoder.layers:
            x = x + layer.self_attn(layer.layer_norm1(x), None, attention)
            x = x + layer.mlp(layer.layer_norm2(x))
        return self.network.visual_projection(vision.post_layernorm(x[:, 0]))


def _copied(module: nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The module as a function with float32 weights of its own on this device."""
    with torch.inference_mode(False):
        weights = {
            name: value.detach().to(device, torch.float32, copy=True)
            if value.is_floating_point()
            else value.detach().to(device, copy=True)
            for name, value in (*module.named_parameters(), *module.named_buffers())
        }
    return lambda x: torch.func.functional_call(module, weights, (x,))


class PictureEmbedding:
    """Latents in model space [B, C, H, W] to CLIP's picture embeddings [B, E]."""

    def __init__(self, vae, clip_vision, process_latent_out: Callable[[Tensor], Tensor], device: torch.device):
        self.decode = _copied(_Decoder(vae.first_stage_model), device)
        self.see = _copied(_Eye(clip_vision.model), device)
        self.process_latent_out, self.size = process_latent_out, clip_vision.image_size
        self.mean, self.std = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (clip_vision.image_mean, clip_vision.image_std)
        )

    def __call__(self, latents: Tensor) -> Tensor:
        pictures = self.decode(self.process_latent_out(latents.float())) / 2 + 0.5
        square = F.interpolate(pictures, size=(self.size, self.size), mode="bicubic", antialias=True)
        return self.see((square - self.mean) / self.std)


def text_direction(clip, source: str, target: str) -> Tensor:
    """E_T(target) - E_T(source), of unit embeddings: [E]. Raises EditError for a text encoder without a text projection."""
    model = clip.cond_stage_model
    encoder = getattr(model, "clip_g", None) or getattr(model, getattr(model, "clip", "clip_l"), None)
    projection = getattr(getattr(encoder, "transformer", None), "text_projection", None)
    weight = getattr(projection, "weight", None)
    # ComfyUI fills in the identity where a checkpoint brings none.
    if weight is None or torch.equal(weight.float().cpu(), torch.eye(len(weight))):
        raise EditError(NO_PROJECTION)
    embeddings = [
        F.normalize(clip.encode_from_tokens(clip.tokenize(text), return_pooled=True)[1].float().cpu()[0], dim=0)
        for text in (source, target)
    ]
    return embeddings[1] - embeddings[0]


def check_same_clip(clip_vision, text: Tensor) -> None:
    """Raises EditError for a picture encoder that is no CLIP, and where the two halves cannot be of one model."""
    projection = getattr(getattr(clip_vision.model, "visual_projection", None), "weight", None)
    if projection is None:
        raise EditError(
            f"clip_vision is a {type(clip_vision.model).__name__} without CLIP's projection; load the picture half of the same CLIP model as clip."
        )
    if len(projection) != len(text):
        raise EditError(
            f"clip's texts have {len(text)} numbers but clip_vision's pictures have {len(projection)}; load the two halves of the same CLIP model."
        )
