"""Several h-space directions as one: dh = sum of weight * dh, which is how attributes add up (compositionality)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import EditError
from ..files import read, write
from .direction import KINDS, HDirection
from .window import EditWindow


@dataclass(frozen=True)
class SumDirection(HDirection):
    """``members`` with ``weights`` [P]. Each keeps its kind, its sigmas and its start; a negative weight takes away.

    A file of a sum holds all of its members whole, so that it needs no other file.
    """

    members: tuple[HDirection, ...] = ()

    kind = "h_direction_sum"
    layout = {"weights": "P"}
    linear = ("weights",)

    @property
    def channels(self) -> int:
        return self.members[0].channels

    @property
    def parts(self) -> tuple[tuple[float, HDirection], ...]:
        return tuple(zip(self.tensors["weights"].tolist(), self.members))

    def _delta(self, h: Tensor, sigma: Tensor) -> Tensor:
        started = [
            weight * part.delta(h, sigma)
            for weight, part in self.parts
            if EditWindow(edit_from=part.start).edits(sigma)
        ]
        return sum(started, torch.zeros_like(h, dtype=torch.float32))

    def save(self, path: str | Path) -> None:
        held = [part for part in self.members if KINDS.get(part.kind) is not type(part)]
        if held:
            held[0].save(path)  # says why it cannot be saved
        tensors = {
            f"{i}.{name}": tensor.clone()
            for i, part in enumerate(self.members)
            for name, tensor in {"sigmas": part.sigmas, **part.tensors}.items()
        }
        members = json.dumps([{"kind": part.kind, "info": part.info} for part in self.members])
        write(path, self.kind, {"weights": self.tensors["weights"], **tensors}, {**self.info, "members": members})

    @classmethod
    def load(cls, path: str | Path) -> SumDirection:
        _, info, _ = read(path, cls.kind, {}, ())
        try:
            members = [
                (KINDS[member["kind"]], {str(k): str(v) for k, v in member["info"].items()})
                for member in json.loads(info.pop("members"))
            ]
        except (KeyError, TypeError, AttributeError, ValueError):
            raise EditError(f"'{Path(path).name}' has a damaged header; save the direction again.") from None
        layout = dict(cls.layout)
        for i, (kind, _) in enumerate(members):
            layout |= {f"{i}.{name}": tuple(f"{i}{axis}" for axis in axes) for name, axes in kind.layout.items()}
        tensors, _, _ = read(path, cls.kind, layout, ())
        weights = tensors.pop("weights")
        if not members or len(weights) != len(members):
            raise EditError(
                f"'{Path(path).name}' has {len(weights)} weights for {len(members)} directions; save the direction again."
            )
        parts = [
            kind.of({name: tensors[f"{i}.{name}"] for name in kind.layout}, own, path)
            for i, (kind, own) in enumerate(members)
        ]
        return replace(combine_directions(list(zip(weights.tolist(), parts))), info=info)


def combine_directions(weighted: list[tuple[float, HDirection]], name: str | None = None) -> SumDirection:
    """The sum of weight * direction, sums among them taken apart. Raises EditError when their bottlenecks differ in width."""
    parts = [(weight * inner, part) for weight, direction in weighted for inner, part in direction.parts]
    first = parts[0][1]
    for _, part in parts[1:]:
        if part.channels != first.channels:
            raise EditError(
                f"direction '{part.name}' was learned on a bottleneck of {part.channels} channels but '{first.name}' on {first.channels}; "
                "directions of one model family can be combined."
            )
    weights = torch.tensor([weight for weight, _ in parts], dtype=torch.float32)
    sigmas = torch.cat([part.sigmas for _, part in parts]).unique().flip(0)
    label = name or " ".join(f"{weight:+g} {part.name}" for weight, part in parts)
    return SumDirection(
        sigmas, {"weights": weights}, {"name": label, "method": "sum"}, tuple(part for _, part in parts)
    )
