"""The embedded models as pipelines of diffusers, so that what is written for pipelines runs on them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from diffusers import (
    ConfigMixin,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from .architectures import TRANSFORMER, UNET
from .families import FAMILIES
from .loader import load
from .networks import (
    FLOW_SHIFT,
    FaceVAE,
    TextEncoder,
)
from .words import CONTEXT_LENGTH, tokenize


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
    def __init__(
        self,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (64, 64, 64),
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = FaceVAE()

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        """Encode pictures [B, 3, H, W] from -1 to 1; a ``latent_dist`` whose ``mode()`` is the mean."""
        latents = self.network.encode(pictures)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents, sample=lambda generator=None: latents))

    def decode(self, latents: Tensor, return_dict: bool = True, generator: Any = None) -> tuple[Tensor]:
        """Decode latents as pictures from -1 to 1, which come in a tuple."""
        return (self.network.decode(latents).clamp(-1, 1),)


class DemoTransformerPipeline(StableDiffusion3Pipeline):
    """The embedded transformer, whose one text encoder stands for the three of its family."""

    def encode_prompt(
        self, prompt: str | list[str], *args: Any, negative_prompt: str | list[str] | None = None, **asked: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embed a prompt and a negative one, as the pipelines of the family return them.

        Args:
            prompt: A text, or several.
            *args: What else pipelines ask for; not read.
            negative_prompt: The negative prompt.
            **asked: As args.

        Returns:
            The contexts of both, [B, 8, 64], and their means over the words, [B, 64].
        """
        embedded = []
        for texts in (prompt, negative_prompt or ""):
            tokens = self.tokenizer(texts).input_ids.to(self._execution_device)
            embedded.append(self.text_encoder(tokens)[0])
        positive, negative = embedded
        negative = negative.expand(len(positive), -1, -1)
        return positive, negative, positive.mean(dim=1), negative.mean(dim=1)


DemoPipeline = StableDiffusionPipeline | DemoTransformerPipeline


def load_pipeline(device: str | torch.device = "cpu", name: str = UNET.name) -> DemoPipeline:
    """Load an embedded model as a pipeline, in float32.

    Args:
        device: Where to.
        name: "unet", whose pictures are 64 x 64, or "transformer", whose pictures are 128 x 128.

    Returns:
        The pipeline, with the scheduler of SD 1.x or of SD3. It knows few words (words.py).

    Raises:
        EditError: There is no embedded model of that name.
    """
    parts = load("cpu", name)
    vae = DemoVAE(parts.latent_scale)
    vae.network = parts.vae
    text = DemoTextEncoder()
    text.text = parts.text
    for part in (vae, text):
        part.eval().requires_grad_(False)
    pipe: DemoPipeline
    if name == TRANSFORMER.name:
        scheduler = FlowMatchEulerDiscreteScheduler(shift=FLOW_SHIFT)
        absent = dict.fromkeys(("text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"))
        pipe = DemoTransformerPipeline(parts.network, scheduler, vae, text, DemoTokenizer(), **absent)
    else:
        betas = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
        scheduler = EulerDiscreteScheduler(**betas, steps_offset=1)
        pipe = StableDiffusionPipeline(
            vae, text, DemoTokenizer(), parts.network, scheduler, None, None, requires_safety_checker=False
        )
    pipe.model_family = FAMILIES[name]
    return pipe.to(device)
