"""What the trainings of both embedded models share: faces, captions, the loop, the files.

Faces are drawn from seeds TRAINING_SEED and up; everything that measures uses seeds below it. Every step here is a
training step.
"""

from __future__ import annotations

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
from .loader import WEIGHTS
from .words import CONTEXT_LENGTH, TOKENS

TRAINING_SEED = 1_000_000

SAVE_EVERY = 200  # steps between two checkpoints
ENCODE_BATCH = 128

# How these were chosen is not recorded. weights/README.md says how good the models are that came of them.
MENTION_PROBABILITY = 0.5  # of an attribute that is present
FACE_PROBABILITY = 0.8  # of the word "face"

# (model, step) -> loss
LossOf = Callable[[Any, int], Tensor]


class Trained(NamedTuple):
    """A trained model, frozen, and the seconds that its training took."""

    model: nn.Module
    seconds: float


def draw(start: int, count: int, size: int = faces.SIZE) -> tuple[Tensor, Tensor]:
    """Draw training faces.

    Args:
        start: The first face, counted from TRAINING_SEED.
        count: How many.
        size: Pixels along a side.

    Returns:
        Pictures, [count, 3, size, size] in [0, 1], and their attributes, booleans [count, 4].
    """
    drawn = faces.sample(range(TRAINING_SEED + start, TRAINING_SEED + start + count))
    return faces.render(drawn, size=size), drawn.attributes


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


def save(name: str, model: nn.Module, **metadata: Any) -> None:
    """Save a model's parameters in fp16 as a file of WEIGHTS, with metadata as JSON."""
    from safetensors.torch import save_file

    tensors = {key: value.half().contiguous() for key, value in model.named_parameters()}
    encoded = {key: json.dumps(value) for key, value in metadata.items()}
    path = WEIGHTS / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt", **encoded})
