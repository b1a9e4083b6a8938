"""Directions in h-space: what to add to h, at which sigma (arXiv 2210.10960).

h is the bottleneck of a U-Net, as in the paper, or the image tokens of a transformer after one of its blocks, which is
ours; a direction belongs to one such layer (core/layers.py).

    difference  the mean of h(target prompt) - h(source prompt), one map a step; it needs no training
    global      one map for all steps;  vector: one number a channel, which fits any resolution
    implicit    f_t(h), a small network that answers each h with its own dh (figure 4 of the paper)
    combined    the sum of a global and an implicit one: where the attribute sits, and what this picture needs
    readout     no dh at all, but a change of the predicted picture that is read off h; ours, not the paper's

The classes are

    HDirection          what an H_DIRECTION wire or a file holds
      DeltaDirection    what adds dh to h: TableDirection, ImplicitDirection and CombinedDirection (networks.py),
                        RandomDirection (random_direction.py)
      Readout           in readout.py
      SumDirection      several of both, in combine.py

strength.py says how a direction and a strength become an edit. Directions live on the CPU in float32 and are cast where
they are used; nothing mutates h.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError, plain_text
from ..files import read, read_kind, write
from ..layers import LAYER_KEY, MIDDLE_BLOCK
from ..response import GROUPS, NAMES, Response
from .tensor_limits import LIMITS, MIN_SIGMA

# Every kind of file, by its name. Subclasses of HDirection enter themselves.
KINDS: dict[str, type[HDirection]] = {}


@dataclass(frozen=True, eq=False)
class HDirection(ABC):
    """What an H_DIRECTION wire or a file holds: a direction, a readout, or a sum of them.

    A subclass with ``saved=False`` is not a kind of file.

    Attributes:
        sigmas: The steps it was learned on, descending, without the final 0, [S].
        tensors: Its tensors by name, on the CPU in float32.
        info: Free text by key, such as "name" and "method".
        kind: The kind of its files.
        layout: The tensors of its files and their axes, as files.read takes them.
        optional: Groups of more tensors, which older files lack.
        linear: The tensors that its effect is proportional to, together.
    """

    sigmas: Tensor
    tensors: dict[str, Tensor]
    info: dict[str, str] = field(default_factory=dict)

    kind: ClassVar[str]
    layout: ClassVar[dict[str, str]]
    optional: ClassVar[tuple[dict[str, str], ...]] = ()
    linear: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, saved: bool = True) -> None:
        super().__init_subclass__()
        if saved:
            KINDS[cls.kind] = cls

    @property
    def name(self) -> str:
        """What it is called in sentences and in sums."""
        return plain_text(self.info.get("name", "direction"))

    @property
    def start(self) -> float:
        """The highest sigma it was learned at; there is nothing to apply above it."""
        return float(self.sigmas[0])

    @property
    def response(self) -> Response | None:
        """How finished pictures answer its scale; None of what was not measured, or of an older file."""
        return Response.of(self.tensors)

    def with_response(self, response: Response | None) -> Self:
        """Return the direction with a response, or without one: its strength is then its scale."""
        return self._with(NAMES, {} if response is None else response.tensors())

    def _with(self, names: Collection[str], tensors: dict[str, Tensor]) -> Self:
        """Return the direction with these tensors in place of those of these names."""
        kept = {name: tensor for name, tensor in self.tensors.items() if name not in names}
        return replace(self, tensors={**kept, **tensors})

    @property
    def layer(self) -> str:
        """Where h is that it belongs to: see core.layers. Files without the key are of a U-Net's middle block."""
        return self.info.get(LAYER_KEY, MIDDLE_BLOCK)

    @property
    @abstractmethod
    def channels(self) -> int:
        """The width of the bottleneck it was learned on."""

    @property
    def parts(self) -> tuple[tuple[float, HDirection], ...]:
        """(weight, direction) of what it is a sum of; (1, itself) unless it is a SumDirection."""
        return ((1.0, self),)

    def check_width(self, channels: int) -> None:
        """Check the width of a model's bottleneck.

        Raises:
            EditError: It was learned on a bottleneck of another width.
        """
        if channels != self.channels:
            raise EditError(
                f"direction '{self.name}' was learned on a bottleneck of {self.channels} channels but this model has "
                f"{channels}; use the model family it was learned on."
            )

    def scaled(self, factor: float) -> Self:
        """Return the direction whose effect at scale 1 is ``factor`` times this one's; it has no response."""
        tensors = {}
        for name, tensor in self.tensors.items():
            if name not in NAMES:
                tensors[name] = factor * tensor if name in self.linear else tensor
        return replace(self, tensors=tensors)

    def save(self, path: str | Path) -> None:
        """Write it to a file, whole or not at all.

        Raises:
            EditError: It holds something that is not a kind of file.
        """
        write(path, self.kind, {"sigmas": self.sigmas, **self.tensors}, dict(self.info), LIMITS)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read one of this class from a file.

        Raises:
            EditError: The file is not a whole direction of this kind.
        """
        tensors, info, _ = read(path, cls.kind, cls.layout, (), *GROUPS, *cls.optional, limits=LIMITS)
        return cls.of(tensors, info, path)

    @classmethod
    def of(cls, tensors: dict[str, Tensor], info: dict[str, str], path: str | Path) -> Self:
        """Make one from what was read from a file.

        Args:
            tensors: The tensors of ``layout``, "sigmas" among them.
            info: Free text by key.
            path: The file; its name stands in the sentence of an error.

        Returns:
            The direction.

        Raises:
            EditError: It holds a table whose length is neither 1 nor that of its sigmas.
        """
        own = dict(tensors)
        sigmas = own.pop("sigmas")
        table = own.get("table")
        if table is not None and len(table) not in (1, len(sigmas)):
            raise EditError(
                f"'{plain_text(Path(path).name)}' has {len(table)} directions for {len(sigmas)} sigmas; save the "
                "direction again."
            )
        return cls(sigmas, own, info)


class DeltaDirection(HDirection, saved=False):
    """A direction that moves h: h + dh."""

    def delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Return dh.

        Args:
            h: Bottleneck, [R, Ch, h, w].
            sigma: Noise level, a scalar tensor.

        Returns:
            dh on the device of h, in float32, broadcastable to h.

        Raises:
            EditError: It was learned on a bottleneck of another width.
        """
        self.check_width(h.shape[1])
        return self._delta(h, sigma)

    @abstractmethod
    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        """Return dh for an h of the right width."""


def moves_h(direction: HDirection) -> bool:
    """Return whether a direction, or a part of a sum, adds something to h."""
    return any(isinstance(part, DeltaDirection) for _, part in direction.parts)


class TableDirection(DeltaDirection):
    """Maps that are added to every h alike.

    ``table`` is [S, Ch, h, w] for as many sigmas, looked up by sigma, or [1, Ch, h, w] for all steps. A map of 1 x 1
    holds one number a channel and fits any resolution; any other map is resized.
    """

    kind = "h_direction_table"
    layout: ClassVar[dict[str, str]] = {"sigmas": "S", "table": "TChw"}
    linear = ("table",)

    @property
    def channels(self) -> int:
        """The width of the bottleneck it was learned on."""
        return self.tensors["table"].shape[1]

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        return resize_map(look_up(self.tensors["table"], self.sigmas, float(sigma)), h)


def resize_map(dh: Tensor, h: Tensor) -> Tensor:
    """Bring a map to the size of a bottleneck.

    Args:
        dh: Map, [Ch, h', w'].
        h: Bottleneck, [R, Ch, h, w].

    Returns:
        The map on the device of h, [1, Ch, h, w]; one number a channel stays [1, Ch, 1, 1].
    """
    dh = dh.to(h.device)[None]
    if dh.shape[-2:] not in ((1, 1), h.shape[-2:]):
        dh = F.interpolate(dh, size=h.shape[-2:], mode="bilinear", antialias=True)
    return dh


def look_up(table: Tensor, sigmas: Tensor, sigma: float) -> Tensor:
    """Return what a table holds at a noise level: linear in log sigma between neighbours, constant beyond the ends.

    Args:
        table: One entry for each of ``sigmas``, [S, ...], or one for all of them.
        sigmas: Noise levels, descending, [S].
        sigma: The noise level.

    Returns:
        The entry, [...].
    """
    if len(table) == 1:
        return table[0]
    logs = sigmas.clamp(min=MIN_SIGMA).log().flip(0)
    position = torch.tensor(math.log(max(sigma, MIN_SIGMA))).clamp(logs[0], logs[-1])
    high = int(torch.searchsorted(logs, position).clamp(1, len(logs) - 1))
    low = high - 1
    weight = (position - logs[low]) / (logs[high] - logs[low])
    ascending = table.flip(0)
    return torch.lerp(ascending[low], ascending[high], weight)


def load_hdirection(path: str | Path) -> HDirection:
    """Read a direction, a readout or a sum from a file.

    Args:
        path: A file that ``save`` wrote.

    Returns:
        The direction, of the class that its kind names.

    Raises:
        EditError: The file is not a whole h-direction of a known version.
    """
    kind = read_kind(path)
    if kind not in KINDS:
        raise EditError(
            f"'{plain_text(Path(path).name)}' holds a {plain_text(kind)}; an h-space direction "
            f"({', '.join(KINDS)}) is accepted here."
        )
    return KINDS[kind].load(path)
