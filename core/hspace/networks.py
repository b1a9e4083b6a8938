"""Directions that answer each h with its own dh: the implicit function of Asyrp (arXiv 2210.10960, figure 4).

    f_t(h) = conv1x1(swish(GroupNorm(conv1x1(h) + Linear(swish(temb(sigma))))))

The time embedding is ours: sinusoidal in log sigma, because no model hands over the one that it uses. The sum of f_t
and a map, CombinedDirection, is ours too.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from .direction import DeltaDirection, resize_map
from .tensor_limits import GROUPS, MIN_SIGMA, TIME_WIDTH

# The lowest and the highest frequency, in radians a unit of log sigma.
FREQUENCIES = (0.1, 10.0)


def time_embedding(sigma: Tensor) -> Tensor:
    """Embed noise levels as sines and cosines of log sigma.

    Args:
        sigma: Noise levels, of any shape [...].

    Returns:
        The embedding, [..., TIME_WIDTH], on the CPU.
    """
    lowest, highest = FREQUENCIES
    frequencies = torch.exp(torch.linspace(math.log(lowest), math.log(highest), TIME_WIDTH // 2))
    log_sigma = sigma.cpu().double().clamp(min=MIN_SIGMA).log().float()
    angles = log_sigma[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ImplicitDirection(DeltaDirection):
    """f_t(h), a network of two 1 x 1 convolutions. It answers each place of h on its own."""

    kind = "h_direction_implicit"
    layout: ClassVar[dict[str, str]] = {
        "sigmas": "S",
        "in.weight": "CH",
        "in.bias": "C",
        "time.weight": "CE",
        "time.bias": "C",
        "norm.weight": "C",
        "norm.bias": "C",
        "out.weight": "HC",
        "out.bias": "H",
    }
    linear: ClassVar[tuple[str, ...]] = ("out.weight", "out.bias")

    @classmethod
    def fresh(cls, channels: int, sigmas: Tensor, generator: torch.Generator, info: dict[str, str]) -> Self:
        """Draw fresh weights. The last layer is zero, so that learning starts from no edit at all.

        Args:
            channels: Width of the bottleneck, a multiple of GROUPS.
            sigmas: The steps it will be learned on, [S].
            generator: What the weights are drawn from.
            info: Free text by key.

        Returns:
            The direction, whose dh is 0.

        Raises:
            EditError: The width does not divide into GROUPS groups.
        """
        if channels % GROUPS:
            raise EditError(
                f"The bottleneck has {channels} channels, which do not divide into {GROUPS} groups; "
                "use method global or vector."
            )

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

        tensors = {
            "in.weight": normal(channels, channels),
            "in.bias": torch.zeros(channels),
            "time.weight": normal(channels, TIME_WIDTH),
            "time.bias": torch.zeros(channels),
            "norm.weight": torch.ones(channels),
            "norm.bias": torch.zeros(channels),
            "out.weight": torch.zeros(channels, channels),
            "out.bias": torch.zeros(channels),
        }
        return cls(sigmas, tensors, info)

    @property
    def channels(self) -> int:
        """The width of the bottleneck it was learned on."""
        return self.tensors["in.weight"].shape[1]

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        w = {name: tensor.to(h.device) for name, tensor in self.tensors.items()}
        embedding = time_embedding(torch.as_tensor(float(sigma))).to(h.device)
        time = F.linear(F.silu(embedding), w["time.weight"], w["time.bias"])
        y = F.conv2d(h.float(), w["in.weight"][:, :, None, None], w["in.bias"])
        y = y + time[:, None, None]
        y = F.silu(F.group_norm(y, GROUPS, w["norm.weight"], w["norm.bias"]))
        return F.conv2d(y, w["out.weight"][:, :, None, None], w["out.bias"])


class CombinedDirection(ImplicitDirection):
    """f_t(h) + ``table`` [1, Ch, h, w]: the network sees one place at a time, the map knows where places are."""

    kind = "h_direction_combined"
    layout: ClassVar[dict[str, str]] = {**ImplicitDirection.layout, "table": "1Hhw"}
    linear = (*ImplicitDirection.linear, "table")

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        return super()._delta(h, sigma) + resize_map(self.tensors["table"][0], h)
