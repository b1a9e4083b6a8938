"""networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from .direction import HDirection, _resized

GROUPS = 32


TIME_WIDTH = 64


class ImplicitDirection(HDirection):
    """f_t(h) = conv1x1(swish(GroupNorm(conv1x1(h) + Linear(swish(temb(sigma)))))): the paper's implicit function.

    Its time embedding is its own, sinusoidal in log sigma, for no model hands over the one it uses.
    """

    kind = "h_direction_implicit"
    layout = {
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
    linear = ("out.weight", "out.bias")

    @classmethod
    def fresh(
        cls, channels: int, sigmas: Tensor, generator: torch.Generator, info: dict[str, str]
    ) -> ImplicitDirection:
        """Fresh weights; the last layer is zero, so learning starts from no edit at all."""
        if channels % GROUPS:
            raise EditError(
                f"The bottleneck has {channels} channels, which do not divide into {GROUPS} groups; use method global or vector."
            )

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / math.sqrt(shape[-1])

        return cls(
            sigmas,
            {
                "in.weight": normal(channels, channels),
                "in.bias": torch.zeros(channels),
                "time.weight": normal(channels, TIME_WIDTH),
                "time.bias": torch.zeros(channels),
                "norm.weight": torch.ones(channels),
                "norm.bias": torch.zeros(channels),
                "out.weight": torch.zeros(channels, channels),
                "out.bias": torch.zeros(channels),
            },
            info,
        )

    @property
    def channels(self) -> int:
        return self.tensors["in.weight"].shape[1]

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        w = {name: tensor.to(h.device) for name, tensor in self.tensors.items()}
        time = F.linear(
            F.silu(time_embedding(torch.as_tensor(float(sigma))).to(h.device)), w["time.weight"], w["time.bias"]
        )
        y = F.conv2d(h.float(), w["in.weight"][:, :, None, None], w["in.bias"]) + time[:, None, None]
        y = F.silu(F.group_norm(y, GROUPS, w["norm.weight"], w["norm.bias"]))
        return F.conv2d(y, w["out.weight"][:, :, None, None], w["out.bias"])


class CombinedDirection(ImplicitDirection):
    """f_t(h) + ``table`` [1, H, h, w]: the network sees one place at a time, the table knows where places are."""

    kind = "h_direction_combined"
    layout = {**ImplicitDirection.layout, "table": "1Hhw"}
    linear = (*ImplicitDirection.linear, "table")

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        return super()._delta(h, sigma) + _resized(self.tensors["table"][0], h)


def time_embedding(sigma: Tensor) -> Tensor:
    """Sines and cosines of log sigma [...]: [..., TIME_WIDTH], on the CPU."""
    frequencies = torch.exp(torch.linspace(math.log(0.1), math.log(10.0), TIME_WIDTH // 2))
    angles = sigma.cpu().double().clamp(min=1e-6).log().float()[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
