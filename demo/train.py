"""Train the embedded face model from nothing: ``python -m singular_edit.demo.train``.

Three stages (judge, vae, unet), each resumable: a checkpoint is kept in --work and picked up again. Faces
are drawn from seeds TRAINING_SEED and up; everything that measures uses seeds below it.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from . import faces
from .networks import AttributeClassifier, FaceVAE, TextEncoder, alphas_cumprod, unet
from .words import CONTEXT_LENGTH, TOKENS

TRAINING_SEED = 1_000_000
WEIGHTS = Path(__file__).parent / "weights"


def draw(start: int, count: int) -> tuple[Tensor, Tensor]:
    """Pictures [count, 3, 64, 64] in [0, 1] and their attributes [count, 4]."""
    drawn = faces.sample(range(TRAINING_SEED + start, TRAINING_SEED + start + count))
    return faces.render(drawn), drawn.attributes


def train(name: str, model: nn.Module, loss_of, steps: int, rate: float, work: Path, ema: float = 0.0) -> nn.Module:
    """AdamW with a one-cycle rate, a bar, and a checkpoint every 200 steps; returns the averaged model if ``ema``."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    average = copy.deepcopy(model)
    parts = dict(model=model, average=average, optimizer=optimizer, schedule=schedule)
    path, start, seconds = work / f"{name}.pt", 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        start, seconds = state.pop("step"), state.pop("seconds")
        for key, part in parts.items():
            part.load_state_dict(state[key])
    began, running = time.perf_counter() - seconds, None
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
        with torch.no_grad():
            keep = min(ema, (1 + step) / (10 + step)) if ema else 0.0
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {key: part.state_dict() for key, part in parts.items()}
            torch.save({**state, "step": step + 1, "seconds": time.perf_counter() - began}, path)
    average.training_seconds = time.perf_counter() - began
    return average.eval().requires_grad_(False)


def train_judge(work: Path, steps: int) -> nn.Module:
    """Renders with mild noise, blur and colour shifts; it sees neither the VAE nor the diffusion model."""

    def loss_of(model, step):
        pictures, labels = draw(step * 64, 64)
        soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        pictures = torch.lerp(pictures, soft, torch.rand(64, 1, 1, 1))
        pictures = pictures * (0.9 + 0.2 * torch.rand(64, 3, 1, 1)) + 0.06 * torch.randn(()) * torch.randn_like(
            pictures
        )
        return F.binary_cross_entropy_with_logits(model(pictures).float(), labels.float())

    return train("judge", AttributeClassifier(), loss_of, steps, 2e-3, work)


def train_vae(work: Path, steps: int) -> nn.Module:
    """L1 on pixels and on their differences, and a small KL."""

    def loss_of(model, step):
        target = draw(step * 24, 24)[0] * 2 - 1
        mean, log_variance = model.moments(target)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        got = model.decode(latents).float()
        gradients = sum(F.l1_loss(got.diff(dim=d), target.diff(dim=d)) for d in (2, 3))
        kl = 0.5 * (mean.float() ** 2 + log_variance.exp() - 1 - log_variance).mean()
        return F.l1_loss(got, target) + 0.5 * gradients + 5e-4 * kl

    return train("vae", FaceVAE(), loss_of, steps, 2e-3, work)


class _Conditioned(nn.Module):
    """U-Net and text encoder as one module, so that they train, average and save together."""

    def __init__(self):
        super().__init__()
        self.unet, self.text = unet(), TextEncoder()

    def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x, timestep, encoder_hidden_states=self.text(tokens)).sample


def captions(attributes: Tensor) -> Tensor:
    """Tokens [B, 8]. Each present attribute goes unmentioned half of the time, "face" one time in five.

    So "a face" is neutral, not a denial of hats, and the empty prompt says the same as "a face".
    """
    mention = attributes & (torch.rand(attributes.shape) < 0.5)
    face = torch.rand(len(attributes), 1) < 0.8
    present = torch.cat([face, mention], dim=1)
    ids = torch.where(present, torch.arange(1, len(TOKENS)), len(TOKENS)).sort(dim=1).values
    return F.pad(ids.where(ids < len(TOKENS), torch.zeros(())).long(), (0, CONTEXT_LENGTH - ids.shape[1]))


@torch.no_grad()
def encoded_faces(vae: nn.Module, work: Path, count: int) -> tuple[Tensor, Tensor, float]:
    """Latents [count, 4, 16, 16] at unit variance, attributes, and the scale that made them so."""
    path = work / "latents.pt"
    if not path.exists():
        latents, labels = [], []
        for start in tqdm(range(0, count, 128), desc="encode"):
            pictures, attributes = draw(start, 128)
            latents.append(vae.encode(pictures * 2 - 1))
            labels.append(attributes)
        torch.save((torch.cat(latents), torch.cat(labels)), path)
    latents, labels = torch.load(path, weights_only=True)
    scale = 1 / latents.std().item()
    return latents * scale, labels, scale


def train_unet(work: Path, steps: int, latents: Tensor, labels: Tensor) -> nn.Module:
    """Plain epsilon prediction on SD 1.x's schedule, batch 48."""
    schedule = alphas_cumprod().float()

    def loss_of(model, step):
        rows = torch.randint(len(latents), (48,))
        x0, noise, t = latents[rows], torch.randn(48, *latents.shape[1:]), torch.randint(1000, (48,))
        a = schedule[t, None, None, None]
        x = a.sqrt() * x0 + (1 - a).sqrt() * noise
        return F.mse_loss(model(x, t, captions(labels[rows])).float(), noise)

    return train("unet", _Conditioned(), loss_of, steps, 1e-3, work, ema=0.999)


def save(name: str, model: nn.Module, **metadata) -> None:
    from safetensors.torch import save_file

    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    save_file(
        tensors,
        WEIGHTS / f"{name}.safetensors",
        metadata={"format": "pt", **{k: json.dumps(v) for k, v in metadata.items()}},
    )


def main(argv: list[str] | None = None) -> None:
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
    save("judge", judge, training_seconds=judge.training_seconds)
    torch.manual_seed(args.seed)
    vae = train_vae(args.work, args.vae_steps)
    latents, labels, scale = encoded_faces(vae, args.work, args.faces)
    save("vae", vae, latent_scale=scale, training_seconds=vae.training_seconds)
    model = train_unet(args.work, args.unet_steps, latents, labels)
    save("unet", model.unet, training_seconds=model.training_seconds)
    save("text", model.text)


if __name__ == "__main__":
    main()
