"""Learn a readout from two prompts: a regression of D_target - D_source on the bottleneck h.

The states are those that record_prediction_changes recorded (prediction_changes.py). A few of the noises are held out:
training ends when the network no longer gets better on them, and the weights that were best on them are kept. No
gradient goes through the model.

All of this is ours, not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_prompts_differ
from ..fitting import EarlyStop, OnTrainingStep, Training, fit
from ..saliency import peak
from .prediction_changes import PredictionChanges, root_mean_square, standard_deviation
from .readout import Readout

# h is divided by its standard deviation, and by no less than this.
MIN_SCALE = 1e-6
# One noise in so many is held out.
HELD_OUT = 16
# Share of itself that a weight loses at each training step, in units of the learning rate. Few noises are learned from,
# and without it the network learns them by heart: python benchmarks/learning_cost.py quality
WEIGHT_DECAY = 1.0
# Of a 4 x 4 bottleneck, the embedded U-Net's, so many training steps' states are looked at once where the held-out loss
# is computed.
HELD_OUT_BATCHES = 4
PLACES = 16


def held_out_states(batch: int, places: int) -> int:
    """Return how many states are looked at once where the held-out loss is computed, which bounds memory.

    Args:
        batch: States that a training step looks at.
        places: Places of the bottleneck, h * w.

    Returns:
        HELD_OUT_BATCHES * batch for a 4 x 4 bottleneck or a smaller one; of a larger one as many as have the same
        places in all, and no fewer than ``batch``.
    """
    return max(batch, HELD_OUT_BATCHES * batch * PLACES // max(places, PLACES))


def learn_readout(
    changes: PredictionChanges,
    training: Training,
    *,
    info: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    callback: OnTrainingStep | None = None,
) -> tuple[Readout, list[float]]:
    """Fit a readout to recorded states.

    Args:
        changes: What record_prediction_changes returned.
        training: Its batch is the states that a training step looks at, of a bottleneck of any size: places of one
            state are alike, so that those of few states tell less (python benchmarks/learning_cost.py batches). Its
            steps are the most that are made. The network learns at a tenth of its learning rate, as every network here
            does.
        info: Free text that the readout carries.
        device: Where the network computes.
        callback: Called with (training step, loss) after each.

    Returns:
        The readout, on the CPU, and the loss of every training step relative to reading nothing: 1 is no better.

    Raises:
        EditError: Both prompts predict the same.
    """
    c = changes
    # The network learns the change at unit size.
    rms = root_mean_square(c.change)
    check_prompts_differ(rms)
    generator = torch.Generator().manual_seed(training.seed)
    height, width = c.change.shape[-2:]
    # Rounded up: where downsampling rounded a side up, the last place of h covers fewer latent pixels.
    factor = -(-width // c.h.shape[-1])
    batch = training.batch
    readout = Readout.fresh(
        c.h.shape[1],
        c.change.shape[1],
        factor,
        max(standard_deviation(c.h), MIN_SCALE),
        c.sigmas,
        generator=generator,
        info={"method": "readout", **(info or {})},
    )
    held_out = _held_out(c.noise)
    learned_rows = (~held_out).nonzero().flatten()
    held_out_rows = held_out.nonzero().flatten()

    def error(rows: Tensor, dropout: torch.Generator | None) -> Tensor:
        h = c.h[rows].to(device)
        read = readout.change(h, c.sigma[rows], (height, width), dropout)
        return (read - c.change[rows].to(device).float() / rms).square().mean()

    def loss(training_step: int) -> Tensor:
        rows = learned_rows[torch.randint(len(learned_rows), (min(batch, len(learned_rows)),), generator=generator)]
        return error(rows, generator)

    states = held_out_states(batch, c.h.shape[-2] * c.h.shape[-1])

    def held_out_loss() -> float:
        parts = held_out_rows.split(states)
        return sum(float(error(rows, None)) * len(rows) for rows in parts) / len(held_out_rows)

    stop = EarlyStop(held_out_loss) if len(held_out_rows) else None
    trained = {name: tensor for name, tensor in readout.tensors.items() if name != "scale"}
    losses = fit(trained, loss, training, callback, stop=stop, weight_decay=WEIGHT_DECAY)
    return readout.with_peak(_usual_peak(readout, c, states, device)).scaled(rms), losses


@torch.no_grad()
def _usual_peak(readout: Readout, c: PredictionChanges, states: int, device: torch.device | str) -> Tensor:
    """Return the mean peak of what is read off the recorded states, [S]; so many states are looked at once.

    Few noises leave some steps without a state; these take the mean of the others.
    """
    size = (c.change.shape[-2], c.change.shape[-1])
    means = torch.full(c.sigmas.shape, torch.nan)
    for i, sigma in enumerate(c.sigmas):
        rows = (c.sigma == sigma).nonzero().flatten()
        if len(rows):
            peaks = [peak(readout.read(c.h[part].to(device), sigma, size)) for part in rows.split(states)]
            means[i] = torch.cat(peaks).mean()
    return means.nan_to_num(float(means.nanmean()))


def _held_out(noise: Tensor) -> Tensor:
    """Return which states come from noises that are held out: the last of every HELD_OUT noises, [N] booleans."""
    return noise % HELD_OUT == HELD_OUT - 1
