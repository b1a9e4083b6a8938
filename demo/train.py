"""Train the embedded face model from nothing: ``python -m singular_edit.demo.train``.

Three stages (judge, vae, unet), each resumable: a checkpoint is kept in --work and picked up again. Faces
are drawn from seeds TRAINING_SEED and up; everything that measures uses seeds below it. Every step here is a
training step.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from . import faces
from .networks import AttributeClassifier, FaceVAE, TextEncoder, alphas_cumprod, unet
from .words import CONTEXT_LENGTH, TOKENS

TRAINING_SEED = 1_000_000
WEIGHTS = Path(__file__).parent / "weights"

SAVE_EVERY = 200  # steps between two checkpoints
ENCODE_BATCH = 128

# How these were chosen is not recorded. weights/README.md says how good the model is that came of them.
JUDGE_BATCH = 64
JUDGE_RATE = 2e-3
VAE_BATCH = 24
VAE_RATE = 2e-3
VAE_DIFFERENCE_WEIGHT = 0.5
VAE_KL_WEIGHT = 5e-4
UNET_BATCH = 48
UNET_RATE = 1e-3
UNET_EMA = 0.999
MENTION_PROBABILITY = 0.5  # of an attribute that is present
FACE_PROBABILITY = 0.8  # of the word "face"

# (model, step) -> loss
LossOf = Callable[[Any, int], Tensor]


class Trained(NamedTuple):
    """A trained model, frozen, and the seconds that its training took."""

    model: nn.Module
    seconds: float


def draw(start: int, count: int) -> tuple[Tensor, Tensor]:
    """Draw training faces.

    Args:
        start: The first face, counted from TRAINING_SEED.
        count: How many.

    Returns:
        Pictures, [count, 3, 64, 64] in [0, 1], and their attributes, booleans [count, 4].
    """
    drawn = faces.sample(range(TRAINING_SEED + start, TRAINING_SEED + start + count))
    return faces.render(drawn), drawn.attributes


def train(
    name: str, model: nn.Module, loss_of: LossOf, *, steps: int, rate: float, work: Path, ema: float = 0.0
) -> Trained:
    """Train by AdamW with a one-cycle rate, with a bar and a checkpoint every SAVE_EVERY steps.

    Args:
        name: Of the checkpoint and the bar.
        model: What is trained, in place.
        loss_of: Called with (model, step) under bf16 autocast, after torch's generator was seeded with the step.
        steps: Steps in all, those of a checkpoint included.
        rate: Peak learning rate.
        work: Folder of the checkpoint.
        ema: Decay of the moving average of the weights; 0 keeps the last weights.

    Returns:
        The averaged model.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    average = copy.deepcopy(model)
    parts = dict(model=model, average=average, optimizer=optimizer, schedule=schedule)
    path = work / f"{name}.pt"
    start = 0
    seconds = 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        start = state.pop("step")
        seconds = state.pop("seconds")
        for key, part in parts.items():
            part.load_state_dict(state[key])
    began = time.perf_counter() - seconds
    running = None
    bar = tqdm(range(start, steps), desc=name, initial=start, total=steps, mininterval=5)
    for step in bar:
        torch.manual_seed(step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        _update_average(average, model, step, ema)
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            state = {key: part.state_dict() for key, part in parts.items()}
            torch.save({**state, "step": step + 1, "seconds": time.perf_counter() - began}, path)
    return Trained(average.eval().requires_grad_(False), time.perf_counter() - began)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, step: int, ema: float) -> None:
    """Move the average towards the model; early steps are averaged over fewer weights."""
    decay = min(ema, (1 + step) / (10 + step)) if ema else 0.0
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


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


def captions(attributes: Tensor) -> Tensor:
    """Draw captions, which leave out much of what is there.

    Each present attribute goes unmentioned half of the time, "face" one time in five. So "a face" is neutral, not a
    denial of hats, and the empty prompt says the same as "a face".

    Args:
        attributes: Booleans, [B, 4].

    Returns:
        Tokens, [B, 8].
    """
    mention = attributes & (torch.rand(attributes.shape) < MENTION_PROBABILITY)
    face = torch.rand(len(attributes), 1) < FACE_PROBABILITY
    present = torch.cat([face, mention], dim=1)
    # Tokens that are absent sort to the end, where padding takes their place.
    ids = torch.where(present, torch.arange(1, len(TOKENS)), len(TOKENS)).sort(dim=1).values
    tokens = ids.where(ids < len(TOKENS), torch.zeros(())).long()
    return F.pad(tokens, (0, CONTEXT_LENGTH - ids.shape[1]))


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


def save(name: str, model: nn.Module, **metadata: Any) -> None:
    """Save a model's weights in fp16 as a file of WEIGHTS, with metadata as JSON."""
    from safetensors.torch import save_file

    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    encoded = {key: json.dumps(value) for key, value in metadata.items()}
    save_file(tensors, WEIGHTS / f"{name}.safetensors", metadata={"format": "pt", **encoded})


def main(argv: list[str] | None = None) -> None:
    """Train all three stages and save their weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("demo-training"), help="checkpoints; delete to start over")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    parser.add_argument("--judge-steps", type=int, default=600)
    parser.add_argument("--vae-steps", type=int, default=4000)
    parser.add_argument("--unet-steps", type=int, default=4000)
    parser.add_argument("--faces", type=int, default=24576, help="training pictures for the U-Net")
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    WEIGHTS.mkdir(exist_ok=True)
    torch.manual_seed(args.seed)
    judge = train_judge(args.work, args.judge_steps)
    save("judge", judge.model, training_seconds=judge.seconds)
    torch.manual_seed(args.seed)
    vae = train_vae(args.work, args.vae_steps)
    latents, labels, scale = encoded_faces(vae.model, args.work, args.faces)
    save("vae", vae.model, latent_scale=scale, training_seconds=vae.seconds)
    both = train_unet(args.work, args.unet_steps, latents, labels)
    save("unet", both.model.unet, training_seconds=both.seconds)
    save("text", both.model.text)


if __name__ == "__main__":
    main()
