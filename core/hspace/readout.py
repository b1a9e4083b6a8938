"""Readouts: what another prompt would change, read off the bottleneck.

Asyrp (arXiv 2210.10960) adds dh to h and lets the decoder answer; the answer brings what nobody asked for, and colours
drift. A readout leaves h alone. A small convolutional network tells from h how the predicted picture would change under
the target prompt, and that is added to the prediction itself:

    D_edit = D + strength * guidance * w R(h, sigma),    R(h, sigma) ~ D_target - D_source

The bottleneck is Asyrp's, and so is the sampler; the decoder is not asked. It costs no second model call, and learning
needs no gradient through the model (core.changes). R is a regression: where h leaves the change open it answers with
the mean, which is why its unit is measured (core.calibration), and a little of everything, which w leaves out (core.focus).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from ..saliency import FOCUS, saliency_weight
from .direction import HDirection
from .networks import TIME_WIDTH, time_embedding

WIDTH = 128
DROPOUT = 0.1


class Readout(HDirection):
    """``scale``: what h is divided by. ``out.weight`` [C, r, r, W]: r latent pixels for each place of the bottleneck."""

    kind = "h_direction_readout"
    layout = {
        "sigmas": "S",
        "scale": "1",
        "in.weight": "WH",
        "in.bias": "W",
        "time.weight": "WE",
        "time.bias": "W",
        "conv1.weight": "WWkk",
        "conv1.bias": "W",
        "conv2.weight": "WWkk",
        "conv2.bias": "W",
        "out.weight": "CrrW",
        "out.bias": "Crr",
    }
    linear = ("out.weight", "out.bias")
    moves_h = False

    @classmethod
    def fresh(
        cls,
        channels: int,
        latent_channels: int,
        factor: int,
        scale: float,
        sigmas: Tensor,
        generator: torch.Generator,
        info: dict[str, str],
    ) -> Readout:
        """Fresh weights for a bottleneck of ``channels``, ``factor`` times smaller than the latent; the last layer is zero."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))

        return cls(
            sigmas,
            {
                "scale": torch.tensor([scale]),
                "in.weight": normal(WIDTH, channels),
                "in.bias": torch.zeros(WIDTH),
                "time.weight": normal(WIDTH, TIME_WIDTH),
                "time.bias": torch.zeros(WIDTH),
                "conv1.weight": normal(WIDTH, WIDTH, 3, 3),
                "conv1.bias": torch.zeros(WIDTH),
                "conv2.weight": normal(WIDTH, WIDTH, 3, 3),
                "conv2.bias": torch.zeros(WIDTH),
                "out.weight": torch.zeros(latent_channels, factor, factor, WIDTH),
                "out.bias": torch.zeros(latent_channels, factor, factor),
            },
            info,
        )

    @property
    def channels(self) -> int:
        return self.tensors["in.weight"].shape[1]

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        raise EditError(
            f"direction '{self.name}' is a readout: it changes the predicted picture and has no dh; use a direction of method combined, implicit or global here."
        )

    def read(self, h: Tensor, sigma: Tensor, size: tuple[int, int]) -> Tensor:
        """W R(h, sigma), what a sampler is to add at strength 1; as ``change`` takes and gives it. w: of core.focus, brought to at most 1."""
        change = self.change(h, sigma, size)
        return saliency_weight(change) / (1 + FOCUS) * change

    def change(self, h: Tensor, sigma: Tensor, size: tuple[int, int], dropout: torch.Generator | None = None) -> Tensor:
        """R(h, sigma) for h [R, Ch, h, w]: [R, C, *size] in float32. sigma: one, or [R]. dropout: while learning, what it is drawn from.

        Raises EditError for a bottleneck of another width.
        """
        self.check(h)
        w = {name: tensor.to(h.device) for name, tensor in self.tensors.items()}
        time = time_embedding(sigma.reshape(-1)).to(h.device)
        y = F.conv2d(h.float() / w["scale"], w["in.weight"][:, :, None, None], w["in.bias"])
        y = F.silu(y + F.linear(time, w["time.weight"], w["time.bias"])[:, :, None, None])
        for name in ("conv1", "conv2"):
            y = y + F.silu(F.conv2d(_dropped(y, dropout), w[f"{name}.weight"], w[f"{name}.bias"], padding="same"))
        factor = w["out.weight"].shape[1]
        y = F.conv2d(_dropped(y, dropout), w["out.weight"].flatten(0, 2)[:, :, None, None], w["out.bias"].flatten())
        # A side that the model's downsampling rounds up has a margin.
        return F.pixel_shuffle(y, factor)[..., : size[0], : size[1]]


def _dropped(y: Tensor, generator: torch.Generator | None) -> Tensor:
    """With a tenth of the values left out."""
    if generator is None:
        return y
    return y * (torch.rand(y.shape, generator=generator) >= DROPOUT).to(y) / (1 - DROPOUT)
