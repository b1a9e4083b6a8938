"""Learn a readout from two prompts: a regression of D_target - D_source on the bottleneck h.

Each noise is carried under the source prompt to where the prompts branch, and is then recorded on a few steps only.
Only every third step is recorded, because a new noise is more informative than the next step of the same one. From
there on half of the trajectories drift towards the target, as an edited one will: at most of their recorded steps they
follow the target prompt. No gradient goes through the model.

All of this is ours, not the paper's. Every tensor but h is in model space.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import Denoiser, guidance_of, read_bottleneck
from ..errors import EditError, check_sigmas
from ..fitting import OnTrainingStep, Training, fit
from ..samplers import Run, euler_step
from .readout import Readout

# One step in so many is recorded. This and the next two numbers were chosen on the embedded model.
STRIDE = 3
# Probability that a trajectory is one of those that drift towards the target.
DRIFTING = 0.5
# Probability that a drifting trajectory follows the target prompt at a recorded step.
FOLLOWING = 0.8
# Root mean square of the change, below which two prompts are taken to predict the same.
MIN_CHANGE = 1e-5
# h is divided by its standard deviation, and by no less than this.
MIN_SCALE = 1e-6


@dataclass
class PredictionChanges:
    """What a readout is learned from: N recorded states. On the CPU.

    Attributes:
        sigmas: Noise levels of every step in the window, recorded or not, descending, [S].
        h: Bottleneck under the source prompt, [N, Ch, h, w].
        change: (D_target - D_source) / guidance, [N, C, H, W].
        sigma: Noise level of each state, [N].
    """

    sigmas: Tensor
    h: Tensor
    change: Tensor
    sigma: Tensor


@torch.no_grad()
def record_prediction_changes(
    source: Denoiser,
    target: Denoiser,
    noise: Tensor,
    sigmas: Tensor,
    *,
    branch_sigma: float = float("inf"),
    end_sigma: float = 0.0,
    seed: int = 0,
    run: Run = Run(),
) -> PredictionChanges:
    """Sample from noise, and record the bottleneck and what the target prompt would change.

    Args:
        source: The model under the source prompt.
        target: The model under the target prompt.
        noise: Starting noises at sigmas[0], [B, C, H, W].
        sigmas: Descending noise levels, [n + 1].
        branch_sigma: Steps above this sigma are not recorded.
        end_sigma: Steps at or below this sigma are not recorded.
        seed: Seed of which trajectories drift, and where.
        run: on_step is called for each step of each batch.

    Returns:
        The recorded states, with end_sigma < sigma <= branch_sigma.

    Raises:
        EditError: No step lies there, sigmas is not a descending schedule, or the prompt divides the picture into
            areas.
    """
    check_sigmas(sigmas)
    window = [i for i, sigma in enumerate(sigmas[:-1].tolist()) if end_sigma < sigma <= branch_sigma]
    if not window:
        raise EditError(
            f"No step of this schedule lies between sigma {branch_sigma:.4g}, where the two prompts branch, and "
            f"{end_sigma:.4g}, where learning ends; widen the window."
        )
    first = window[0]
    end = window[-1] + 1
    generator = torch.Generator().manual_seed(seed)
    bottlenecks = []
    changes = []
    levels = []
    for k, x in enumerate(noise.split(run.batch)):
        x = x.to(run.device)
        # Each batch begins one step later than the one before, so that together they record every step.
        offset = (first + k) % STRIDE
        steps = sorted({0, *range(offset, end, STRIDE)})
        drifting = torch.rand(len(x), 1, 1, 1, generator=generator) < DRIFTING
        for i, i_next in zip(steps, [*steps[1:], end], strict=True):
            if i < first:
                x = euler_step(x, source(x, sigmas[i]), sigmas[i], sigmas[i_next])
            else:
                denoised, h = read_bottleneck(source, x, sigmas[i])
                change = target(x, sigmas[i]) - denoised
                bottlenecks.append(h.float().cpu())
                changes.append(change.float().cpu() / guidance_of(source))
                levels.append(sigmas[i].float().cpu().expand(len(x)))
                follows = drifting & (torch.rand(len(x), 1, 1, 1, generator=generator) < FOLLOWING)
                x = euler_step(x, denoised + follows.to(x) * change, sigmas[i], sigmas[i_next])
            run.tick()
    return PredictionChanges(
        sigmas=sigmas[window].float().cpu(),
        h=torch.cat(bottlenecks),
        change=torch.cat(changes),
        sigma=torch.cat(levels),
    )


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
        training: Its batch is the states that a training step looks at. The network learns at a tenth of its learning
            rate, as every network here does.
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
    rms = c.change.square().mean().sqrt()
    if rms < MIN_CHANGE:
        raise EditError(
            "source and target predict the same picture, so there is nothing to learn; "
            "check that the two prompts differ."
        )
    generator = torch.Generator().manual_seed(training.seed)
    height, width = c.change.shape[-2:]
    # Rounded up: where downsampling rounded a side up, the last place of h covers fewer latent pixels.
    factor = -(-width // c.h.shape[-1])
    batch = min(training.batch, len(c.h))
    readout = Readout.fresh(
        c.h.shape[1],
        c.change.shape[1],
        factor,
        float(c.h.std().clamp(min=MIN_SCALE)),
        c.sigmas,
        generator=generator,
        info={"method": "readout", **(info or {})},
    )

    def loss(training_step: int) -> Tensor:
        rows = torch.randint(len(c.h), (batch,), generator=generator)
        read = readout.change(c.h[rows].to(device), c.sigma[rows], (height, width), generator)
        return (read - c.change[rows].to(device) / rms).square().mean()

    losses = fit(readout.tensors, loss, training, callback)
    return readout.scaled(float(rms)), losses
