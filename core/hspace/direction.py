"""Directions in h-space, the U-Net's bottleneck: what to add to h, at which sigma (arXiv 2210.10960).

    difference  mean of h(target prompt) - h(source prompt), one tensor a step; no training
    global      one tensor for all steps;  vector: one number a channel, which fits any resolution
    implicit    f_t(h), a small network that answers each h with its own dh (figure 4 of the paper)
    combined    the sum of a global and an implicit one: where the attribute sits, and what this picture needs

core.combine_directions adds several into one, core.average makes a table of any, core.pca finds tables without
prompts. Directions live on the CPU in float32 and are cast where they are used; nothing mutates h.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from ..files import read, read_kind, write

METHODS = ("global", "implicit", "vector", "difference", "combined")


KINDS: dict[str, type[HDirection]] = {}  # every kind of file, by its name; subclasses enter themselves


@dataclass(frozen=True)
class HDirection(ABC):
    """``sigmas``: the steps it was learned on, descending, without the final 0. ``info``: free text by key."""

    sigmas: Tensor
    tensors: dict[str, Tensor]
    info: dict[str, str] = field(default_factory=dict)

    kind: ClassVar[str]
    layout: ClassVar[dict[str, str]]
    linear: ClassVar[tuple[str, ...]] = ()  # the tensors dh is proportional to, together
    moves_h: ClassVar[bool] = True  # False: it has no dh, but a change of the predicted picture (core.readout)

    def __init_subclass__(cls, saved: bool = True) -> None:
        super().__init_subclass__()
        if saved:
            KINDS[cls.kind] = cls

    @property
    def name(self) -> str:
        return self.info.get("name", "direction")

    @property
    def start(self) -> float:
        """The highest sigma it was learned at; there is nothing to apply above it."""
        return float(self.sigmas[0])

    @property
    @abstractmethod
    def channels(self) -> int: ...

    def delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Dh for this h [R, Ch, h, w] at this sigma, in h's device, float32, broadcastable to h. Raises EditError for another width."""
        self.check(h)
        return self._delta(h, sigma)

    def check(self, h: Tensor) -> None:
        """Raises EditError for a bottleneck [R, Ch, h, w] of another width."""
        if h.shape[1] != self.channels:
            raise EditError(
                f"direction '{self.name}' was learned on a bottleneck of {self.channels} channels but this model has "
                f"{h.shape[1]}; use the model family it was learned on."
            )

    @abstractmethod
    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor: ...

    @property
    def parts(self) -> tuple[tuple[float, HDirection], ...]:
        """(weight, direction) of what it is a sum of; for most itself alone."""
        return ((1.0, self),)

    def scaled(self, factor: float) -> HDirection:
        """The direction whose dh is factor times this one's."""
        return replace(
            self, tensors={name: factor * t if name in self.linear else t for name, t in self.tensors.items()}
        )

    def save(self, path: str | Path) -> None:
        write(path, self.kind, {"sigmas": self.sigmas, **self.tensors}, dict(self.info))

    @classmethod
    def load(cls, path: str | Path) -> HDirection:
        """Raises EditError for a file that is not a whole direction of this kind."""
        tensors, info, _ = read(path, cls.kind, cls.layout, ())
        return cls.of(tensors, info, path)

    @classmethod
    def of(cls, tensors: dict[str, Tensor], info: dict[str, str], path: str | Path) -> HDirection:
        """From what was read from a file, "sigmas" among the tensors. Raises EditError for a table of another length."""
        table = tensors.get("table")
        direction = cls(tensors["sigmas"], {name: tensor for name, tensor in tensors.items() if name != "sigmas"}, info)
        if table is not None and len(table) not in (1, len(direction.sigmas)):
            raise EditError(
                f"'{Path(path).name}' has {len(table)} directions for {len(direction.sigmas)} sigmas; save the direction again."
            )
        return direction


class TableDirection(HDirection):
    """``table`` [S, C, h, w] for as many sigmas, looked up by sigma, or [1, C, h, w] for all steps."""

    kind = "h_direction_table"
    layout = {"sigmas": "S", "table": "TChw"}
    linear = ("table",)

    @property
    def channels(self) -> int:
        return self.tensors["table"].shape[1]

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        return _resized(_lookup(self.tensors["table"], self.sigmas, float(sigma)), h)


def _resized(dh: Tensor, h: Tensor) -> Tensor:
    """[C, h, w] to the size of this h; one number a channel stays as it is: [1, C, h', w']."""
    dh = dh.to(h.device)[None]
    if dh.shape[-2:] not in ((1, 1), h.shape[-2:]):
        dh = F.interpolate(dh, size=h.shape[-2:], mode="bilinear", antialias=True)
    return dh


def _lookup(table: Tensor, sigmas: Tensor, sigma: float) -> Tensor:
    """Linear in log sigma between neighbours, constant beyond the ends: [C, h, w]."""
    if len(table) == 1:
        return table[0]
    logs = sigmas.clamp(min=1e-6).log().flip(0)
    position = torch.tensor(math.log(max(sigma, 1e-6))).clamp(logs[0], logs[-1])
    high = int(torch.searchsorted(logs, position).clamp(1, len(logs) - 1))
    weight = (position - logs[high - 1]) / (logs[high] - logs[high - 1])
    ascending = table.flip(0)
    return torch.lerp(ascending[high - 1], ascending[high], weight)


class RandomDirection(HDirection, saved=False):
    """A fixed random direction with, at every h and sigma, the norm that ``base`` has there: the baseline to beat."""

    kind = "h_direction_random"

    def __init__(self, base: HDirection, seed: int):
        super().__init__(base.sigmas, {}, dict(base.info))
        object.__setattr__(self, "base", base)
        object.__setattr__(self, "seed", seed)

    @property
    def channels(self) -> int:
        return self.base.channels

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        dh = self.base.delta(h, sigma).expand(h.shape)
        z = torch.randn(h.shape[1:], generator=torch.Generator().manual_seed(self.seed)).to(h.device)
        return z * (dh.flatten(1).norm(dim=1)[:, None, None, None] / z.norm())

    def save(self, path: str | Path) -> None:
        raise EditError("A random direction is a baseline for measurements; it is not saved.")


def load_hdirection(path: str | Path) -> HDirection:
    """Raises EditError for a file that is not a whole h-direction of a known version."""
    kind = read_kind(path)
    if kind not in KINDS:
        raise EditError(
            f"'{Path(path).name}' holds a {kind}; an h-space direction ({', '.join(KINDS)}) is accepted here."
        )
    return KINDS[kind].load(path)
