"""Several h-space directions as one: dh = sum of weight * dh, which is how attributes add up (compositionality).

The paper adds directions up (arXiv 2210.10960); sums that hold readouts are ours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar, Self

import torch

from ..errors import EditError, plain_text
from ..files import read, read_info, write
from ..layers import layer_info, layer_text
from ..limits import Limits
from ..response import GROUPS, Response, scale_of
from ..tensor_file import BadFileError, parse_json
from .direction import KINDS, HDirection, moves_h
from .readout import Readout
from .tensor_limits import LIMITS

# The letters of a layout are ASCII: this many further on, another member's begin.
ASCII_SIZE = 128


@dataclass(frozen=True, eq=False)
class SumDirection(HDirection):
    """Several directions and readouts, ``members``, with ``weights`` [P]; a negative weight takes away.

    Each member keeps its kind, its sigmas and its start. strength.bottleneck_delta gives the dh of a sum, and
    ReadoutChange what its readouts add. A file of a sum holds all of its members whole, so that it needs no other file.

    Attributes:
        members: What is summed; none of them is a sum itself.
    """

    members: tuple[HDirection, ...] = ()

    kind = "h_direction_sum"
    layout: ClassVar[dict[str, str]] = {"weights": "P"}
    linear = ("weights",)

    @property
    def layer(self) -> str:
        """Where h is that all members belong to."""
        return self.members[0].layer

    @property
    def channels(self) -> int:
        """The width of the bottleneck that all members were learned on."""
        return self.members[0].channels

    @property
    def parts(self) -> tuple[tuple[float, HDirection], ...]:
        """(weight, member) of each member."""
        return tuple(zip(self.tensors["weights"].tolist(), self.members, strict=True))

    def save(self, path: str | Path) -> None:
        """Write it to a file, whole or not at all.

        Raises:
            EditError: A member is not a kind of file.
        """
        for part in self.members:
            if KINDS.get(part.kind) is not type(part):
                # Its own save raises the sentence that says why.
                part.save(path)
        tensors = dict(self.tensors)
        for i, part in enumerate(self.members):
            for name, tensor in {"sigmas": part.sigmas, **part.tensors}.items():
                # Members may share a tensor, and safetensors holds no tensor twice.
                tensors[f"{i}.{name}"] = tensor.clone()
        members = json.dumps([{"kind": part.kind, "info": part.info} for part in self.members])
        limits = _own_limits(len(self.members))
        write(path, self.kind, tensors, {**self.info, "members": members}, limits)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a sum from a file.

        Raises:
            EditError: The file is not a whole sum.
        """
        # The header says which members there are, and they say which tensors the file must hold.
        info = read_info(path, cls.kind)
        members = _members_of(info.pop("members", ""), path)
        layout = dict(cls.layout)
        groups = [*GROUPS]
        for i, (kind, _) in enumerate(members):
            layout |= _own_layout(kind.layout, i)
            groups += [_own_layout(group, i) for group in kind.optional]
        tensors, _, _ = read(path, cls.kind, layout, (), *groups, limits=_own_limits(len(members)))
        weights = tensors.pop("weights")
        if not members or len(weights) != len(members):
            raise EditError(
                f"'{plain_text(Path(path).name)}' has {len(weights)} weights for {len(members)} directions; "
                "save the direction again."
            )
        weighted: list[tuple[float, HDirection]] = []
        for i, (kind, own_info) in enumerate(members):
            names = chain(kind.layout, *kind.optional)
            own_tensors = {name: tensors[f"{i}.{name}"] for name in names if f"{i}.{name}" in tensors}
            weighted.append((float(weights[i]), kind.of(own_tensors, own_info, path)))
        whole = combine_directions(weighted)
        return cls(whole.sigmas, whole.tensors, info, whole.members).with_response(Response.of(tensors))


def _own_layout(layout: dict[str, str], member: int) -> dict[str, str]:
    """Return the layout of a member's tensors in a file of the sum.

    Its axes are letters that no other member has, so that their lengths may differ.
    """
    return {
        f"{member}.{name}": "".join(chr(ord(axis) + ASCII_SIZE * (member + 1)) for axis in axes)
        for name, axes in layout.items()
    }


def _members_of(text: str, path: str | Path) -> list[tuple[type[HDirection], dict[str, str]]]:
    """Return the class and the info of each member, from the header of a file of a sum."""
    members = []
    try:
        for member in parse_json(text):
            info = {str(key): str(value) for key, value in member["info"].items()}
            kind = KINDS[member["kind"]]
            if issubclass(kind, SumDirection):
                raise BadFileError("a sum in a sum")
            members.append((kind, info))
    except (KeyError, TypeError, AttributeError, BadFileError):
        raise EditError(f"'{plain_text(Path(path).name)}' has a damaged header; save the direction again.") from None
    return members


def _own_limits(count: int) -> dict[str, Limits]:
    """Return the limits of a sum's tensors, those of each of ``count`` members among them."""
    limits = dict(LIMITS)
    for i in range(count):
        limits |= {f"{i}.{name}": one for name, one in LIMITS.items()}
    return limits


def combine_directions(weighted: Sequence[tuple[float, HDirection]]) -> SumDirection:
    """Add up directions and readouts.

    Args:
        weighted: (weight, direction) of each, at least one. The members of a sum are taken out of it. Where all
            have a response, weights are shares of their full scales, and the sum is there at strength 1; else weights
            multiply scales, and the sum has no response.

    Returns:
        The sum, whose name lists weights and names.

    Raises:
        EditError: They belong to different layers, their widths differ, or their readouts are for different latents.
    """
    # Weight 0 leaves a direction out, with what it does not know.
    weighted = [one for one in weighted if one[0]] or weighted
    all_respond = all(direction.response is not None for _, direction in weighted)
    scales = [scale_of(direction.response, weight) if all_respond else weight for weight, direction in weighted]
    # What moves h acts in a sum as it does alone: beyond scale 1 its effect is multiplied, not dh (strength.py).
    full = max([1.0, *(abs(scale) for scale, (_, one) in zip(scales, weighted, strict=True) if moves_h(one))])
    full = full if all_respond else 1.0
    parts = []
    for scale, (_, direction) in zip(scales, weighted, strict=True):
        parts += [(scale / full * inner, part.with_response(None)) for inner, part in direction.parts]
    first = parts[0][1]
    for _, part in parts[1:]:
        if part.layer != first.layer:
            raise EditError(
                f"direction '{part.name}' was learned at {layer_text(part.layer)} but '{first.name}' at "
                f"{layer_text(first.layer)}; directions of one layer can be combined."
            )
        if part.channels != first.channels:
            raise EditError(
                f"direction '{part.name}' was learned on a bottleneck of {part.channels} channels "
                f"but '{first.name}' on {first.channels}; directions of one model family can be combined."
            )
    _check_readouts([part for _, part in parts if isinstance(part, Readout)])
    weights = torch.tensor([weight for weight, _ in parts], dtype=torch.float32)
    sigmas = torch.cat([part.sigmas for _, part in parts]).unique().flip(0)
    label = " ".join(f"{weight:+g} {direction.name}" for weight, direction in weighted)
    return SumDirection(
        sigmas,
        {"weights": weights},
        {"name": label, "method": "sum", **layer_info(first.layer)},
        tuple(part for _, part in parts),
    ).with_response(Response((full,), (1.0,)) if all_respond else None)


def _check_readouts(readouts: Sequence[Readout]) -> None:
    """Raise an EditError for readouts whose changes are of different sizes."""
    for one in readouts[1:]:
        first = readouts[0]
        if (one.latent_channels, one.place_size) != (first.latent_channels, first.place_size):
            raise EditError(
                f"readout '{one.name}' changes {one.latent_channels} channels of {one.place_size} x {one.place_size} "
                f"latent pixels for each place but '{first.name}' {first.latent_channels} of {first.place_size} x "
                f"{first.place_size}; readouts of one model family can be combined."
            )
