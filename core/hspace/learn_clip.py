"""Learn an h-space direction from CLIP alone, as the paper does (arXiv 2210.10960, equation 8).

    loss = 1 - cos(E(P_edit) - E(P_source), text)  +  identity * |P_edit - P_source|

E embeds a predicted picture, and text is E_T(target) - E_T(source): the directional CLIP loss of Gal et al. (2022).
The edited trajectory advances with the direction as it is at that moment, beside a recorded trajectory of the source.
Every tensor is in model space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser, is_flow
from ..errors import EditError
from ..fitting import OnTrainingStep, Training, fit
from .asyrp import step_asyrp
from .direction import DeltaDirection
from .learn_direction import init_direction
from .trajectories import Trajectories

# Predicted x0 [B, C, H, W] in model space -> its embedding [B, E], differentiable
Embed = Callable[[Tensor], Tensor]
# Norm of the difference of the texts' embeddings, below which they are taken to be the same.
MIN_TEXT_NORM = 1e-6
# Tensors that begin at 0, and the deviation of the noise that moves them off it.
ZERO_TENSORS = ("table", "out.weight")
INITIAL_DEVIATION = 1e-3
# The weight of the distance from the source picture that is used where none is given. No benchmark chose it.
IDENTITY_WEIGHT = 3.0


class ClipObjective(NamedTuple):
    """What CLIP is to see in an edited picture.

    Attributes:
        embed: Embeds a predicted picture; see Embed.
        text: Embedding of the target text minus that of the source text, [E].
        identity: Weight of the distance from the source picture; higher changes less of the picture.
    """

    embed: Embed
    text: Tensor
    identity: float = IDENTITY_WEIGHT


def directional_loss(edited: Tensor, source: Tensor, text: Tensor) -> Tensor:
    """Compare the change of pictures with the change of texts (Gal et al. 2022).

    Args:
        edited: Embeddings of edited pictures, [B, E].
        source: Embeddings of their source pictures, [B, E].
        text: Embedding of the target text minus that of the source text, [E].

    Returns:
        1 - cosine, the mean over the batch, 0 to 2. Embeddings of pictures count at unit length.
    """
    change = F.normalize(edited, dim=1) - F.normalize(source, dim=1)
    return 1 - F.cosine_similarity(change, text[None], dim=1, eps=1e-6).mean()


def learn_clip_direction(  # noqa: PLR0913
    denoise: Denoiser,
    trajectories: Trajectories,
    objective: ClipObjective,
    method: str,
    training: Training,
    *,
    end_sigma: float = 0.0,
    info: dict[str, str] | None = None,
    device: torch.device | str = "cpu",
    callback: OnTrainingStep | None = None,
) -> tuple[DeltaDirection, list[float]]:
    """Fit one direction to what a text says.

    Args:
        denoise: The model under the source prompt, differentiable in its bottleneck.
        trajectories: What record_trajectories returned; only the rows that follow the source prompt are used.
        objective: What CLIP is to see.
        method: A kind of direction, as init_direction takes it; the paper's is "implicit".
        training: Its learning rate is that of maps; networks learn at a tenth of it.
        end_sigma: Nothing is learned at this sigma and below.
        info: Free text that the direction carries.
        device: Where the model computes.
        callback: Called with (training step, loss) after each.

    Returns:
        The direction, on the CPU, and the loss of every training step. It begins near 1: at first,
        pictures change at a right angle to the text.

    Raises:
        EditError: The two texts have the same embedding, or the method is unknown.
    """
    if objective.text.norm() < MIN_TEXT_NORM:
        raise EditError(
            "Source and target texts have the same CLIP embedding, so there is nothing to learn; "
            "check that the two differ."
        )
    t = trajectories
    generator = torch.Generator().manual_seed(training.seed)
    info = {"method": f"clip, {method}", **(info or {})}
    direction = init_direction(method, t.h_difference.shape[1:], t.sigmas[:-1], generator, info)
    # Where the edited picture is the source itself, the cosine has no slope to follow.
    for name in ZERO_TENSORS:
        if name in direction.linear:
            tensor = direction.tensors[name]
            tensor.add_(INITIAL_DEVIATION * torch.randn(tensor.shape, generator=generator))

    embed = objective.embed
    text = objective.text.to(device)
    flow = is_flow(denoise)
    source_count = t.x.shape[1] // 2
    learned_steps = max(1, int((t.sigmas[:-1] > end_sigma).sum()))
    # The trajectories that are being followed: their rows, and their edited states.
    rows = torch.arange(0)
    x = t.x[0, rows].float()

    def loss(training_step: int) -> Tensor:
        nonlocal rows, x
        i = training_step % learned_steps
        if i == 0:
            rows = torch.randperm(source_count, generator=generator)[: training.batch]
            x = t.x[0, rows].float().to(device)
        sigma = t.sigmas[i].to(device)
        sigma_next = t.sigmas[i + 1].to(device)
        source = t.source[i, rows].float().to(device)
        with torch.no_grad():
            denoised = denoise(x, sigma)
            source_embedding = embed(source)
        edited = denoise(x, sigma, lambda h: h + direction.delta(h, sigma).to(h)).float()
        x = step_asyrp(x, denoised, edited.detach(), sigma, sigma_next, flow=flow)
        clip_loss = directional_loss(embed(edited), source_embedding, text)
        return clip_loss + objective.identity * F.l1_loss(edited, source)

    losses = fit(direction.tensors, loss, training, callback)
    return direction, losses
