"""Train an embedded model from nothing: ``python -m singular_edit.demo.train --model unet`` or ``transformer``.

Each stage (judge, vae and unet; transformer) is resumable: a checkpoint is kept in --work and picked up again. The
transformer is trained on the latents of the VAE that is there already, and judged by the same judge. The command writes
the weight files; on a folder whose training is done it does that alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from . import train_transformer
from .architectures import ARCHITECTURES, TRANSFORMER, UNET
from .networks import AttributeClassifier, FaceVAE, TextEncoder, alphas_cumprod, unet
from .training import ENCODE_BATCH, Trained, captions, draw, save, train

# How these were chosen is not recorded. weights/README.md says how good the model is that came of them.
JUDGE_BATCH = 64
JUDGE_RATE = 2e-3
JUDGE_STEPS = 600
VAE_BATCH = 24
VAE_RATE = 2e-3
VAE_DIFFERENCE_WEIGHT = 0.5
VAE_KL_WEIGHT = 5e-4
VAE_STEPS = 4000
UNET_BATCH = 48
UNET_RATE = 1e-3
UNET_EMA = 0.999
UNET_STEPS = 4000
UNET_FACES = 24576


def train_judge(work: Path, steps: int) -> Trained:
    """Train the judge on renders with mild noise, blur and colour shifts; it sees neither VAE nor diffusion model."""

    def loss_of(model: nn.Module, step: int) -> Tensor:
        pictures, labels = draw(step * JUDGE_BATCH, JUDGE_BATCH)
        blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        pictures = torch.lerp(pictures, blurred, torch.rand(JUDGE_BATCH, 1, 1, 1))
        gain = 0.9 + 0.2 * torch.rand(JUDGE_BATCH, 3, 1, 1)
        noise = 0.06 * torch.randn(()) * torch.randn_like(pictures)
        pictures = pictures * gain + noise
        return F.binary_cross_entropy_with_logits(model(pictures).float(), labels.float())

    return train("judge", AttributeClassifier(), loss_of, steps=steps, rate=JUDGE_RATE, work=work)


def train_vae(work: Path, steps: int) -> Trained:
    """Train the VAE with L1 on pixels and on their differences, and a small KL divergence."""

    def loss_of(model: FaceVAE, step: int) -> Tensor:
        target = draw(step * VAE_BATCH, VAE_BATCH)[0] * 2 - 1
        mean, log_variance = model.moments(target)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        rebuilt = model.decode(latents).float()
        differences = sum(F.l1_loss(rebuilt.diff(dim=dim), target.diff(dim=dim)) for dim in (2, 3))
        kl = 0.5 * (mean.float() ** 2 + log_variance.exp() - 1 - log_variance).mean()
        return F.l1_loss(rebuilt, target) + VAE_DIFFERENCE_WEIGHT * differences + VAE_KL_WEIGHT * kl

    return train("vae", FaceVAE(), loss_of, steps=steps, rate=VAE_RATE, work=work)


class _Conditioned(nn.Module):
    """U-Net and text encoder as one module, so that they train, average and save together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = unet()
        self.text = TextEncoder()

    def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x, timestep, encoder_hidden_states=self.text(tokens)).sample


@torch.no_grad()
def encoded_faces(vae: nn.Module, work: Path, count: int) -> tuple[Tensor, Tensor, float]:
    """Encode training faces, once for each work folder.

    Args:
        vae: The trained VAE.
        work: Folder that keeps the latents.
        count: How many faces, a multiple of ENCODE_BATCH.

    Returns:
        Latents in model space, [count, 4, 16, 16] at unit variance, their attributes, and the scale that made them so.
    """
    path = work / "latents.pt"
    if not path.exists():
        latents = []
        labels = []
        for start in tqdm(range(0, count, ENCODE_BATCH), desc="encode"):
            pictures, attributes = draw(start, ENCODE_BATCH)
            latents.append(vae.encode(pictures * 2 - 1))
            labels.append(attributes)
        torch.save((torch.cat(latents), torch.cat(labels)), path)
    latents, labels = torch.load(path, weights_only=True)
    scale = 1 / latents.std().item()
    return latents * scale, labels, scale


def train_unet(work: Path, steps: int, latents: Tensor, labels: Tensor) -> Trained:
    """Train U-Net and text encoder by plain epsilon prediction on SD 1.x's schedule.

    Args:
        work: Folder of the checkpoint.
        steps: Steps in all.
        latents: Encoded faces in model space, [N, 4, 16, 16].
        labels: Their attributes, booleans [N, 4].

    Returns:
        Both networks as one module, with attributes unet and text.
    """
    schedule = alphas_cumprod().float()

    def loss_of(model: nn.Module, step: int) -> Tensor:
        rows = torch.randint(len(latents), (UNET_BATCH,))
        x0 = latents[rows]
        noise = torch.randn(UNET_BATCH, *latents.shape[1:])
        t = torch.randint(1000, (UNET_BATCH,))
        a = schedule[t, None, None, None]
        x = a.sqrt() * x0 + (1 - a).sqrt() * noise
        return F.mse_loss(model(x, t, captions(labels[rows])).float(), noise)

    return train("unet", _Conditioned(), loss_of, steps=steps, rate=UNET_RATE, work=work, ema=UNET_EMA)


def _unet(args: argparse.Namespace) -> None:
    """Train the judge and the U-Net's three parts, and save their weights."""
    torch.manual_seed(args.seed)
    judge = train_judge(args.work, args.judge_steps)
    save("judge", judge.model, training_seconds=judge.seconds)
    torch.manual_seed(args.seed)
    vae = train_vae(args.work, args.vae_steps)
    latents, labels, scale = encoded_faces(vae.model, args.work, args.faces or UNET_FACES)
    save("vae", vae.model, latent_scale=scale, training_seconds=vae.seconds)
    both = train_unet(args.work, args.unet_steps, latents, labels)
    save(UNET.network, both.model.unet, training_seconds=both.seconds)
    save(UNET.text, both.model.text)


def _transformer(args: argparse.Namespace) -> None:
    """Train the transformer and its text encoder, and save their weights."""
    latents, labels = train_transformer.encoded_faces(args.work, args.faces or train_transformer.FACES)
    torch.manual_seed(args.seed)
    both = train_transformer.train_transformer(args.work, args.transformer_steps, latents, labels)
    save(TRANSFORMER.network, both.model.transformer, training_seconds=both.seconds)
    save(TRANSFORMER.text, both.model.text)


def main(argv: list[str] | None = None) -> None:
    """Train all stages of one model and save their weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=ARCHITECTURES, default=UNET.name)
    parser.add_argument("--work", type=Path, help="folder of the checkpoints; delete it to start over")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    parser.add_argument("--judge-steps", type=int, default=JUDGE_STEPS)
    parser.add_argument("--vae-steps", type=int, default=VAE_STEPS)
    parser.add_argument("--unet-steps", type=int, default=UNET_STEPS)
    parser.add_argument("--transformer-steps", type=int, default=train_transformer.STEPS)
    parser.add_argument(
        "--faces",
        type=int,
        help=f"training pictures, {UNET_FACES} for the U-Net and {train_transformer.FACES} by default",
    )
    args = parser.parse_args(argv)
    # Both keep a file of the name latents.pt.
    folder = {UNET.name: "demo-training", TRANSFORMER.name: "demo-training-transformer"}
    args.work = args.work or Path(folder[args.model])
    args.work.mkdir(parents=True, exist_ok=True)
    {UNET.name: _unet, TRANSFORMER.name: _transformer}[args.model](args)


if __name__ == "__main__":
    main()
