"""Load an embedded model for use with diffusers: diffusion network, text encoder, VAE and the judge."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..backends import diffusers_transformer
from ..backends.diffusers import DiffusersDenoiser, normal_sigmas, percent_to_sigma
from ..core.denoiser import Denoiser
from ..core.errors import EditError
from ..core.layers import AUTO
from . import faces
from .architectures import ARCHITECTURES, TRANSFORMER, UNET, Architecture
from .enlarge import reduce
from .networks import (
    FLOW_SHIFT,
    AttributeClassifier,
    FaceVAE,
    TextEncoder,
    alphas_cumprod,
    transformer,
    unet,
)
from .words import caption, tokenize

WEIGHTS = Path(__file__).parent / "weights"

Network = TypeVar("Network", bound=nn.Module)


def read_weights(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read one weight file.

    Args:
        name: The file's name without its ending, from the folder WEIGHTS on.

    Returns:
        Its tensors, in float32 (they are stored in fp16), and its metadata.
    """
    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items() if key != "format"}
        names = file.keys()
        return {key: file.get_tensor(key).float() for key in names}, metadata


def _load(name: str, module: Network) -> Network:
    """Fill a module with the weights of that name, and freeze it; it keeps what it computed itself, its buffers."""
    module.load_state_dict({**dict(module.named_buffers()), **read_weights(name)[0]})
    return module.eval().requires_grad_(False)


@dataclass
class DemoModel(ABC):
    """An embedded model, with what its latents and noise levels mean.

    Latents are in model space: the VAE's latents times ``latent_scale``, so that their variance is about one.

    Attributes:
        architecture: Which of the two it is.
        network: diffusers' network.
        text: The text encoder.
        vae: The VAE.
        latent_scale: From the VAE's latents to model space.
        device: Where the networks are.
    """

    architecture: Architecture
    network: nn.Module
    text: nn.Module
    vae: FaceVAE
    latent_scale: float
    device: torch.device

    @abstractmethod
    def _denoiser(self, context: Tensor, negative: Tensor, cfg: float, **options: Any) -> Denoiser:
        """Return the model under embedded prompts, [1 or B, 8, 64] each; options: edit_uncond and layer."""

    def denoiser(
        self, prompt: str, negative: str = "", cfg: float = 1.0, edit_uncond: bool = False, layer: str = AUTO
    ) -> Denoiser:
        """Return the model under two prompts as a denoiser.

        Args:
            prompt: The prompt.
            negative: The negative prompt.
            cfg: Guidance.
            edit_uncond: Whether an edit of h gets the rows of the negative prompt too.
            layer: Where h of a transformer is (core/layers.py).

        Returns:
            The denoiser.
        """
        return self._denoiser(self.context(prompt), self.context(negative), cfg, edit_uncond=edit_uncond, layer=layer)

    def captioned(self, drawn: faces.Faces, cfg: float = 1.0) -> Denoiser:
        """Return the model for a batch of these faces, each under the caption that names all its attributes."""
        contexts = torch.cat([self.context(caption(names)) for names in drawn.names()])
        return self._denoiser(contexts, self.context(""), cfg)

    @abstractmethod
    def sigmas(self, steps: int) -> Tensor:
        """Return ComfyUI's "normal" schedule, descending to 0, [steps + 1]."""

    @abstractmethod
    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a share of the way through sampling."""

    @abstractmethod
    def scaled(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """Scale unit noise to the state of a noise level, as ComfyUI does for full denoising."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes, in the order of the judge's answers."""
        return faces.ATTRIBUTES

    @property
    def source(self) -> str:
        """The prompt that names no attribute."""
        return caption([])

    def target(self, attribute: str) -> str:
        """Return the prompt that names one attribute."""
        return caption([attribute])

    def sample(self, seeds: Iterable[int]) -> faces.Faces:
        """Draw one face per seed."""
        return faces.sample(seeds)

    @property
    def side(self) -> int:
        """Pixels along a side of its pictures."""
        return self.architecture.side

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one picture's latent, (channels, h, w)."""
        return self.architecture.latent_shape

    @property
    def bottleneck(self) -> tuple[int, int, int]:
        """Shape of one picture's h, (Ch, h, w)."""
        return self.architecture.bottleneck

    @property
    def latent_format(self) -> str:
        """What SVD attributes learned outside ComfyUI say that their latents are."""
        return self.architecture.latent_format

    def render(self, drawn: faces.Faces) -> Tensor:
        """Paint faces at the model's size, [B, 3, side, side] in [0, 1]."""
        return faces.render(drawn, size=self.side)

    def counterfactuals(self, drawn: faces.Faces, attribute: str, value: bool = True) -> Tensor:
        """Paint the true edited pictures at the model's size; see faces.counterfactuals."""
        return faces.counterfactuals(drawn, attribute, value, self.side)

    @cached_property
    def judge(self) -> AttributeClassifier:
        """The attribute classifier, loaded on first use."""
        return _load("judge", AttributeClassifier()).to(self.device)

    def context(self, prompt: str) -> Tensor:
        """Embed a prompt, [1, 8, 64]."""
        return self.text(torch.tensor([tokenize(prompt)], device=self.device))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures [B, 3, side, side] in [0, 1] as latents in model space, [B, *latent_shape]."""
        return self.vae.encode(pictures.to(self.device) * 2 - 1) * self.latent_scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents in model space, [B, *latent_shape], as pictures [B, 3, side, side] in [0, 1]."""
        return (self.vae.decode(latents / self.latent_scale) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """Return how clearly the judge sees each attribute: [B, 4] in ATTRIBUTES order, positive where it does.

        The judge looks at pictures [B, 3, 64, 64]; larger ones are reduced to their mean colours.
        """
        return self.judge(reduce(pictures.to(self.device), self.side // faces.SIZE))

    def judged(self, pictures: Tensor) -> Tensor:
        """Return which attributes the judge sees: booleans [B, 4] in ATTRIBUTES order."""
        return self.logits(pictures) > 0


class UNetModel(DemoModel):
    """The U-Net of the SD 1.x family."""

    @property
    def unet(self) -> nn.Module:
        """The U-Net."""
        return self.network

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """The noise schedule, [1000] in float64."""
        return alphas_cumprod()

    def _denoiser(
        self, context: Tensor, negative: Tensor, cfg: float, *, edit_uncond: bool = False, layer: str = AUTO
    ) -> DiffusersDenoiser:
        return DiffusersDenoiser(
            self.unet, context, negative, cfg, alphas_cumprod=self.alphas_cumprod, edit_uncond=edit_uncond
        )

    def sigmas(self, steps: int) -> Tensor:
        """Return ComfyUI's "normal" schedule; see DemoModel."""
        return normal_sigmas(self.alphas_cumprod, steps).to(self.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a share of the way; see DemoModel."""
        return percent_to_sigma(self.alphas_cumprod, percent)

    def scaled(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """Scale unit noise; see DemoModel."""
        return noise * torch.sqrt(1 + sigma**2)


class TransformerModel(DemoModel):
    """The transformer of the SD3 family: rectified flow with SD3's shift."""

    def _denoiser(
        self, context: Tensor, negative: Tensor, cfg: float, **options: Any
    ) -> diffusers_transformer.TransformerDenoiser:
        return diffusers_transformer.TransformerDenoiser(
            self.network,
            context,
            negative,
            cfg,
            pooled=context.mean(dim=1),
            negative_pooled=negative.mean(dim=1),
            **options,
        )

    def sigmas(self, steps: int) -> Tensor:
        """Return ComfyUI's "normal" schedule; see DemoModel."""
        return diffusers_transformer.normal_sigmas(FLOW_SHIFT, steps).to(self.device)

    def percent_to_sigma(self, percent: float) -> float:
        """Return the noise level at a share of the way; see DemoModel."""
        return diffusers_transformer.percent_to_sigma(FLOW_SHIFT, percent)

    def scaled(self, noise: Tensor, sigma: Tensor) -> Tensor:
        """Scale unit noise; see DemoModel."""
        return sigma * noise


# By the name of their architecture: the class of a model, and how its diffusion network is made.
MODELS: dict[str, tuple[type[DemoModel], Callable[[], nn.Module]]] = {
    UNET.name: (UNetModel, unet),
    TRANSFORMER.name: (TransformerModel, transformer),
}


def load(device: str | torch.device | None = None, name: str = UNET.name) -> DemoModel:
    """Load an embedded model, in float32.

    Args:
        device: Where to; None means CUDA where there is one, else the CPU.
        name: One of ARCHITECTURES: "unet" or "transformer".

    Returns:
        The model, frozen.

    Raises:
        EditError: There is no embedded model of that name.
    """
    if name not in MODELS:
        raise EditError(f"There is no embedded model '{name}'; {' and '.join(MODELS)} are accepted.")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    architecture = ARCHITECTURES[name]
    kind, network = MODELS[name]
    return kind(
        architecture,
        _load(architecture.network, network()).to(device),
        text=_load(architecture.text, TextEncoder()).to(device),
        vae=_load("vae", FaceVAE()).to(device),
        latent_scale=read_weights("vae")[1]["latent_scale"],
        device=device,
    )
