"""The embedded model as a diffusers ``StableDiffusionPipeline``, so that what is written for pipelines runs on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, EulerDiscreteScheduler, ModelMixin, StableDiffusionPipeline
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from ..core.model_family import ModelFamily
from .loader import read_weights
from .networks import BOTTLENECK, CONTEXT_WIDTH, UNET_CONFIG, FaceVAE, TextEncoder, unet
from .words import CONTEXT_LENGTH, tokenize

# The names that the embedded model has inside ComfyUI, so that files of attributes fit on both sides.
FAMILY = ModelFamily(
    model_class="DemoConfig",
    latent_format="DemoLatent",
    prediction="eps",
    bottleneck_channels=BOTTLENECK[0],
    place_size=UNET_CONFIG["sample_size"] // BOTTLENECK[-1],
    text_width=CONTEXT_WIDTH,
)


class DemoTokenizer:
    """The words' tokenizer, as a pipeline calls it."""

    model_max_length = CONTEXT_LENGTH
    added_tokens_encoder: ClassVar[dict[str, int]] = {}

    def tokenize(self, text: str) -> list[str]:
        """Split a text into words; pipelines look for learned embeddings among them."""
        return text.split()

    def __call__(self, text: str | list[str], **asked: Any) -> SimpleNamespace:
        """Tokenize texts; how they are padded and cut is fixed.

        Args:
            text: A text, or several.
            **asked: What pipelines ask for beside it; not read.

        Returns:
            ``input_ids`` [B, 8] and ``attention_mask``, which is None.
        """
        texts = [text] if isinstance(text, str) else text
        return SimpleNamespace(input_ids=torch.tensor([tokenize(one) for one in texts]), attention_mask=None)


class DemoTextEncoder(ModelMixin, ConfigMixin):
    """The text encoder, as a pipeline calls it."""

    @register_to_config
    def __init__(self, use_attention_mask: bool = False) -> None:
        super().__init__()
        self.text = TextEncoder()

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor]:
        """Embed tokens [B, 8] as a context [B, 8, 64]."""
        return (self.text(tokens),)


class DemoVAE(ModelMixin, ConfigMixin):
    """The VAE, as a pipeline calls it."""

    @register_to_config
    def __init__(self, scaling_factor: float = 1.0, block_out_channels: tuple[int, ...] = (64, 64, 64)) -> None:
        super().__init__()
        self.network = FaceVAE()

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """Encode pictures [B, 3, H, W] from -1 to 1; a ``latent_dist`` whose ``mode()`` is the mean."""
        latents = self.network.encode(pictures)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents, sample=lambda generator=None: latents))

    def decode(self, latents: Tensor, return_dict: bool = True, generator: Any = None) -> tuple[Tensor]:
        """Decode latents as pictures from -1 to 1, which come in a tuple."""
        return (self.network.decode(latents).clamp(-1, 1),)


def load_pipeline(device: str | torch.device = "cpu") -> StableDiffusionPipeline:
    """Load the embedded model as a pipeline, in float32.

    Args:
        device: Where to.

    Returns:
        The pipeline, with the scheduler of SD 1.x. Its pictures are 64 x 64, and it knows few words (words.py).
    """
    weights, metadata = read_weights("vae")
    vae = DemoVAE(metadata["latent_scale"])
    vae.network.load_state_dict(weights)
    text = DemoTextEncoder()
    text.text.load_state_dict(read_weights("text")[0])
    network = unet()
    network.load_state_dict(read_weights("unet")[0])
    betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler = EulerDiscreteScheduler(**betas, steps_offset=1)
    for part in (vae, text, network):
        part.eval().requires_grad_(False)
    pipe = StableDiffusionPipeline(
        vae, text, DemoTokenizer(), network, scheduler, None, None, requires_safety_checker=False
    )
    pipe.model_family = FAMILY
    return pipe.to(device)
