"""The two embedded models by name: a U-Net of the SD 1.x family, and a transformer of the SD3 family.

Both know the same faces and the same words, and share one VAE. Everything in which they differ stands here, in the
networks, and in the two classes of ``loader``.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import faces
from .enlarge import SHOWN_SIDE
from .networks import BOTTLENECK, DOWNSCALE, HEAD_WIDTH, HEADS, LATENT_CHANNELS, TOKENS_SIDE


@dataclass(frozen=True)
class Architecture:
    """What an embedded model is made of.

    Attributes:
        name: Of the model, where one chooses it.
        network: Name of its diffusion network's weight file, inside weights/.
        text: Name of its text encoder's weight file.
        side: Pixels along a side of its pictures.
        bottleneck: Shape of one picture's h, (Ch, h, w): the bottleneck's output, or the image tokens of a block.
        latent_format: What SVD attributes that are learned outside ComfyUI say that their latents are.
    """

    name: str
    network: str
    text: str
    side: int
    bottleneck: tuple[int, int, int]
    latent_format: str

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of one picture's latent, (channels, h, w)."""
        return LATENT_CHANNELS, self.side // DOWNSCALE, self.side // DOWNSCALE

    @property
    def enlargement(self) -> int:
        """How many times as large its pictures are inside ComfyUI."""
        return SHOWN_SIDE // self.side

    @property
    def pixels_per_latent(self) -> int:
        """Pixels of an enlarged picture along a side of one latent pixel."""
        return DOWNSCALE * self.enlargement


UNET = Architecture(
    name="unet",
    network="unet",
    text="text",
    side=faces.SIZE,
    bottleneck=BOTTLENECK,
    latent_format="singular_edit demo",
)
TRANSFORMER = Architecture(
    name="transformer",
    network="transformer/transformer",
    text="transformer/text",
    side=2 * faces.SIZE,
    bottleneck=(HEADS * HEAD_WIDTH, TOKENS_SIDE, TOKENS_SIDE),
    latent_format="singular_edit demo transformer",
)
ARCHITECTURES = {architecture.name: architecture for architecture in (UNET, TRANSFORMER)}
