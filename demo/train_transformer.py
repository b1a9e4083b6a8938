"""The training of the transformer: rectified flow on latents of 128-pixel faces, from the U-Net's VAE."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from . import faces
from .architectures import TRANSFORMER
from .loader import load
from .networks import TextEncoder, transformer
from .training import ENCODE_BATCH, TRAINING_SEED, Trained, captions, draw, train

# How these were chosen is not recorded. weights/README.md says how good the model is that came of them.
FACES = 20480
BATCH = 64
RATE = 1e-3
EMA = 0.999
STEPS = 4600
# Training sees noise levels by a logit-normal density (Esser et al., arXiv 2403.03206), shifted towards noise by this.
TRAINING_SHIFT = 1.5
TIMESTEPS = 1000  # the network is told the noise level times this


@torch.no_grad()
def encoded_faces(work: Path, count: int) -> tuple[Tensor, Tensor]:
    """Draw and encode training faces, once for each work folder.

    Pictures are rounded to bytes before they are encoded, as a saved picture is.

    Args:
        work: Folder that keeps the latents.
        count: How many faces, a multiple of ENCODE_BATCH.

    Returns:
        Latents in model space, [count, 4, 32, 32], and their attributes, booleans [count, 4].
    """
    model = load("cpu")
    path = work / "latents.pt"
    if not path.exists():
        parts = []
        for start in tqdm(range(0, count, ENCODE_BATCH), desc="encode"):
            pictures, _ = draw(start, ENCODE_BATCH, TRANSFORMER.side)
            parts.append(model.vae.encode((pictures * 255).round() / 127.5 - 1))
        torch.save(torch.cat(parts), path)
    latents = torch.load(path, weights_only=True) * model.latent_scale
    return latents, faces.sample(range(TRAINING_SEED, TRAINING_SEED + len(latents))).attributes


class _Conditioned(nn.Module):
    """Transformer and text encoder as one module, so that they train, average and save together."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = transformer()
        self.text = TextEncoder()

    def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        context = self.text(tokens)
        return self.transformer(
            x, encoder_hidden_states=context, pooled_projections=context.mean(1), timestep=timestep
        ).sample


def train_transformer(work: Path, steps: int, latents: Tensor, labels: Tensor) -> Trained:
    """Train transformer and text encoder by rectified flow: the state is x = (1 - s) x0 + s n, the answer n - x0.

    Args:
        work: Folder of the checkpoint.
        steps: Steps in all.
        latents: Encoded faces in model space, [N, 4, 32, 32].
        labels: Their attributes, booleans [N, 4].

    Returns:
        Both networks as one module, with attributes transformer and text.
    """

    def loss_of(model: nn.Module, step: int) -> Tensor:
        rows = torch.randint(len(latents), (BATCH,))
        x0 = latents[rows]
        noise = torch.randn_like(x0)
        s = torch.sigmoid(torch.randn(BATCH))
        s = TRAINING_SHIFT * s / (1 + (TRAINING_SHIFT - 1) * s)
        share = s[:, None, None, None]
        x = (1 - share) * x0 + share * noise
        return F.mse_loss(model(x, TIMESTEPS * s, captions(labels[rows])).float(), noise - x0)

    return train("transformer", _Conditioned(), loss_of, steps=steps, rate=RATE, work=work, ema=EMA)
