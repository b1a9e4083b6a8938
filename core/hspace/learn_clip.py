"""Learning an h-space direction from CLIP alone, as the paper does (arXiv 2210.10960, equation 8).

    loss = 1 - cos(E(P_edit) - E(P_source), text)  +  identity * |P_edit - P_source|

E embeds a predicted picture, text is E_T(target) - E_T(source) (directional CLIP loss, Gal et al. 2022). The edited
trajectory advances with the direction as it is at that moment, beside a recorded trajectory of the source. Model space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser
from ..errors import EditError
from ..fitting import fit
from .asyrp import step_asyrp
from .direction import HDirection
from .learn_direction import init_direction
from .trajectories import Trajectories

Embed = Callable[[Tensor], Tensor]  # predicted x0 [B, C, H, W], model space -> [B, E], differentiable


def directional_loss(edited: Tensor, source: Tensor, text: Tensor) -> Tensor:
    """1 - cosine of the change of pictures' embeddings [B, E] with that of the texts [E]: mean over the batch, 0 to 2."""
    return (
        1
        - F.cosine_similarity(
            F.normalize(edited, dim=1) - F.normalize(source, dim=1), text[None], dim=1, eps=1e-6
        ).mean()
    )


def learn_clip_direction(
    denoise: Denoiser,
    trajectories: Trajectories,
    embed: Embed,
    text: Tensor,
    method: str = "implicit",
    steps: int = 500,
    batch: int = 8,
    learning_rate: float = 3e-2,
    identity: float = 3.0,
    seed: int = 0,
    flow: bool = False,
    end: float = 0.0,
    device: torch.device | str = "cpu",
    info: dict[str, str] | None = None,
    callback: Callable[[int, float], None] | None = None,
) -> tuple[HDirection, list[float]]:
    """The direction (on the CPU) and the loss of every update; it begins around 1, no angle at all.

    denoise: under the source prompt, differentiable in h. trajectories: only their source half is used. text: [E].
    learning_rate: of maps; networks learn at a tenth of it. end: sigmas at or below it are not learned on. Raises
    EditError when the texts embed the same.
    """
    if text.norm() < 1e-6:
        raise EditError(
            "Source and target texts have the same CLIP embedding, so there is nothing to learn; check that the two differ."
        )
    t, generator = trajectories, torch.Generator().manual_seed(seed)
    direction = init_direction(
        method, t.h_difference.shape[1:], t.sigmas[:-1], generator, {"method": f"clip, {method}", **(info or {})}
    )
    # From no change at all the loss has no slope: the network's last layer starts a little off zero.
    for name in set(direction.linear) & {"table", "out.weight"}:
        direction.tensors[name].add_(1e-3 * torch.randn(direction.tensors[name].shape, generator=generator))
    used, count = max(1, int((t.sigmas[:-1] > end).sum())), t.x.shape[1] // 2
    text, rows, x = text.to(device), None, None

    def loss(step: int) -> Tensor:
        nonlocal rows, x
        i = step % used
        if i == 0:
            rows = torch.randperm(count, generator=generator)[:batch]
            x = t.x[0, rows].to(device)
        sigma, sigma_next, source = (part.to(device) for part in (t.sigmas[i], t.sigmas[i + 1], t.source[i, rows]))
        with torch.no_grad():
            plain, seen = denoise(x, sigma), embed(source)
        edited = denoise(x, sigma, lambda h: h + direction.delta(h, sigma).to(h)).float()
        x = step_asyrp(x, plain, edited.detach(), sigma, sigma_next, flow)
        return directional_loss(embed(edited), seen, text) + identity * F.l1_loss(edited, source)

    return direction, fit(direction.tensors, loss, steps, learning_rate, callback)
