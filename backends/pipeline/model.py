"""A loaded diffusers pipeline as what the recipes ask for: a denoiser, a schedule, noise, prompts and a VAE.

The pipeline's own parts are used where they are and as they are: weights, LoRAs, precision, offloading. What belongs to
one kind of network stands in unet_model.py and flow_model.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ...core.denoiser import Denoiser
from ...core.errors import EditError
from ...core.layers import AUTO
from ...core.model_family import ModelFamily
from ...core.recipes.latent_svd import LatentSpace
from ...core.samplers import Schedule
from ..conditioning import Conditioning
from .arguments import check_texts
from .pictures import Sides

# A text, several, or what the pipeline's text encoders made of them.
Prompt = str | Sequence[str] | Tensor | Conditioning


class PipelineModel(ABC):
    """A pipeline as what the recipes ask for.

    Args:
        pipe: The pipeline.
        family: Its family; None recognises it.

    Raises:
        EditError: Its network takes more than latents, as that of an inpainting pipeline.

    Attributes:
        flow: Whether it is a flow model.
        network_name: The name of the pipeline's network, "unet" or "transformer".
    """

    flow: bool
    network_name: str

    def __init__(self, pipe: Any, family: ModelFamily | None = None) -> None:
        self.pipe = pipe
        made = int(pipe.vae.config.get("latent_channels", self.latent_channels))
        if made != self.latent_channels:
            raise EditError(
                f"the pipeline's network takes latents of {self.latent_channels} channels but its VAE makes {made}; "
                "a network that is conditioned on a text alone is accepted."
            )
        # A pipeline may say its own family, as the embedded model's does.
        self.family: ModelFamily = family or getattr(pipe, "model_family", None) or self._recognised_family()

    @abstractmethod
    def _recognised_family(self) -> ModelFamily:
        """Return the family, by the names that ComfyUI gives it, so that files fit on both sides."""

    @abstractmethod
    def schedule(self, steps: int) -> Schedule:
        """Return ComfyUI's "normal" schedule of so many steps."""

    @abstractmethod
    def denoiser(self, prompt: Conditioning, negative: Conditioning, guidance: float, layer: str = AUTO) -> Denoiser:
        """Return the model under a prompt.

        Args:
            prompt: The encoded prompt.
            negative: The encoded negative prompt.
            guidance: Guidance; with 1 the negative prompt is not evaluated.
            layer: Where h is in a transformer (core/layers.py).

        Raises:
            EditError: A transformer has no such layer.
        """

    @abstractmethod
    def _encoded(self, texts: list[str]) -> Conditioning:
        """Return what the pipeline's text encoders make of texts."""

    @property
    @abstractmethod
    def sides(self) -> Sides:
        """The sizes of pictures that it takes."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of its latents."""

    @property
    def network(self) -> Any:
        """The pipeline's U-Net or transformer, with whatever is loaded into it now."""
        return getattr(self.pipe, self.network_name)

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes, also where its parts are offloaded."""
        device: torch.device = self.pipe._execution_device
        return device

    @property
    def pixels_per_latent(self) -> int:
        """Pixels along a side of a latent pixel."""
        return int(self.pipe.vae_scale_factor)

    @property
    def space(self) -> LatentSpace:
        """How LATENT space lies to model space."""
        config = self.pipe.vae.config
        return LatentSpace(float(config.scaling_factor), float(config.get("shift_factor") or 0.0), self.flow)

    def encode_prompt(self, prompt: Prompt, name: str = "prompt") -> Conditioning:
        """Encode a prompt with the pipeline's own text encoders.

        Args:
            prompt: A text, several, or what was encoded already.
            name: What it is called, for the error.

        Raises:
            EditError: It is none of these.
        """
        if isinstance(prompt, Tensor | Conditioning):
            return Conditioning.of(prompt)
        texts = check_texts(prompt, name)
        with torch.no_grad():
            return self._encoded(texts)

    def starting_noise(self, count: int, size: tuple[int, int], sigma: Tensor, seed: int) -> Tensor:
        """Draw the pure noises that sampling starts from, as ComfyUI draws them.

        Args:
            count: How many.
            size: Height and width of the latent.
            sigma: The first noise level.
            seed: Seed of the noise.

        Returns:
            [count, C, height, width] in model space at sigma, on the CPU.
        """
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((count, self.latent_channels, *size), generator=generator)
        sigma = sigma.cpu()
        return sigma * noise if self.flow else noise * torch.sqrt(1 + sigma**2)

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Encode pictures.

        Args:
            pictures: [B, 3, height, width], from 0 to 1.

        Returns:
            The mean of their latents, [B, C, h, w] in model space and float32.
        """
        with self._vae() as vae:
            encoded = vae.encode((2 * pictures - 1).to(self.device, vae.dtype))
            latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        return (latents.float() - self.space.shift) * self.space.scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents [B, C, h, w] in model space as pictures, [B, 3, height, width] from 0 to 1, on the CPU."""
        with self._vae() as vae:
            raw = latents.to(self.device).float() / self.space.scale + self.space.shift
            pictures = vae.decode(raw.to(vae.dtype), return_dict=False)[0]
        return (pictures.float().cpu() / 2 + 0.5).clamp(0, 1)

    @contextmanager
    def _vae(self) -> Iterator[Any]:
        """Lend the VAE, in float32 where its own half precision would overflow, as the pipelines do (SDXL)."""
        vae = self.pipe.vae
        upcast = vae.dtype == torch.float16 and vae.config.get("force_upcast", False)
        if upcast:
            vae.to(dtype=torch.float32)
        try:
            yield vae
        finally:
            if upcast:
                vae.to(dtype=torch.float16)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no gradient be kept for the network's weights, which are then as they were."""
        wanted = {name for name, weight in self.network.named_parameters() if weight.requires_grad}
        self._require_gradients(wanted, False)
        try:
            yield
        finally:
            self._require_gradients(wanted, True)

    def _require_gradients(self, names: set[str], wanted: bool) -> None:
        """Set whether weights of these names keep gradients; offloading may have put others in their place."""
        for name, weight in self.network.named_parameters():
            if name in names:
                weight.requires_grad_(wanted)

    def rest(self) -> None:
        """Let the pipeline put its parts where they are between calls, where it offloads them."""
        self.pipe.maybe_free_model_hooks()
