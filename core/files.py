"""Attribute files: safetensors with a format version, checked in full before anything is used.

tensor_file.py reads what may be anybody's file; limits.py says which values a tensor can have.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .errors import EditError, plain_text
from .file_names import cannot_save
from .limits import FINITE, LARGEST, Limits
from .tensor_file import MAX_HEADER, BadFileError, TensorFile, parse_json

FORMAT = "singular_edit"
VERSION = 1

# Names of tensors and their axes: one letter an axis, the same letter the same length ("CHr")
Layout = dict[str, str]
# Names of tensors and their limits; those that are not named have limits.FINITE.
TensorLimits = Mapping[str, Limits]
NO_LIMITS: TensorLimits = {}
# Names that a sentence lists, at most.
MAX_NAMES = 3


def write(
    path: str | Path,
    kind: str,
    tensors: dict[str, Tensor],
    info: dict[str, str],
    limits: TensorLimits = NO_LIMITS,
    **numbers: float,
) -> None:
    """Write a file whole or not at all: it appears under its name only when it is complete.

    Args:
        path: Where to; missing folders are made.
        kind: What the file holds, by which it is read again.
        tensors: Its tensors, on any device.
        info: Words about it: its name, its prompts.
        limits: What the values of its tensors can be.
        **numbers: Numbers that reading it asks for by name.

    Raises:
        EditError: A tensor's values are outside its limits, the words are too long, or the file cannot be written.
    """
    path = Path(path)
    label = plain_text(path.name)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "info": json.dumps(info),
        "numbers": json.dumps(numbers),
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in plain.items():
        if not limits.get(name, FINITE).allow(tensor.float()):
            raise EditError(
                f"'{label}' is not saved, because its '{plain_text(name)}' holds NaN, or values that nothing "
                "learned has; learn the attribute again."
            )
    # Half of what may be read, because quotes get a stroke each on the way into the header.
    if sum(map(len, metadata.values())) > MAX_HEADER // 2:
        raise EditError(f"'{label}' is not saved, because its texts and its preview are too long; shorten them.")
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        os.close(handle)
        save_file(plain, temporary, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError, ValueError) as error:
        raise cannot_save(path.name, error) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def read_kind(path: str | Path) -> str:
    """Read what a file holds, from its header alone.

    Args:
        path: The file.

    Returns:
        Its kind.

    Raises:
        EditError: It is no Singular Edit file of this version.
    """
    with TensorFile(path) as file:
        return _checked_kind(file)


def read_info(path: str | Path, kind: str) -> dict[str, str]:
    """Read the info of a file of one kind, from its header alone.

    Args:
        path: The file.
        kind: The kind that is accepted.

    Returns:
        Its info.

    Raises:
        EditError: It is no Singular Edit file of this version, of another kind, or its header is damaged.
    """
    with TensorFile(path) as file:
        _check_kind(file, kind)
        return _info_and_numbers(file, ())[0]


def read(
    path: str | Path,
    kind: str,
    layout: Layout,
    numbers: tuple[str, ...],
    *optional: Layout,
    limits: TensorLimits = NO_LIMITS,
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, float]]:
    """Read a file of one kind.

    Args:
        path: The file.
        kind: The kind that is accepted.
        layout: The tensors that it must hold, and their axes.
        numbers: The numbers that it must hold, none of them below 0.
        *optional: Groups of more tensors; a file has all of a group or none.
        limits: What the values of its tensors can be.

    Returns:
        Its tensors in float32, its info, and its numbers.

    Raises:
        EditError: It is no Singular Edit file of this version, of another kind, or damaged.
    """
    with TensorFile(path) as file:
        _check_kind(file, kind)
        info, values = _info_and_numbers(file, numbers)
        found = set(file.entries)
        for group in optional:
            if found & set(group):
                layout = {**layout, **group}
        missing = sorted(set(layout) - found)
        if missing:
            raise EditError(f"'{file.label}' lacks {_listed(missing)}; save the attribute again.")
        more = sorted(found - set(layout))
        if more:
            raise EditError(
                f"'{file.label}' has tensors that a file of kind {plain_text(kind)} does not have "
                f"({_listed(more)}); save the attribute again."
            )
        _check_axes(file, layout)
        return {name: _checked(file, name, limits.get(name, FINITE)) for name in layout}, info, values


def _checked_kind(file: TensorFile) -> str:
    """Return the kind of an open file, after a check that it is a Singular Edit file of this version."""
    if file.metadata.get("format") != FORMAT or "kind" not in file.metadata:
        raise EditError(
            f"'{file.label}' is a safetensors file but not a Singular Edit attribute (a LoRA or checkpoint, perhaps)."
        )
    version = file.metadata.get("version")
    if version != str(VERSION):
        raise EditError(
            f"'{file.label}' has format version {plain_text(version)}; this version of Singular Edit reads {VERSION}."
        )
    return file.metadata["kind"]


def _check_kind(file: TensorFile, kind: str) -> None:
    """Raise an EditError for a file of another kind."""
    found = _checked_kind(file)
    if found != kind:
        raise EditError(f"'{file.label}' holds a {plain_text(found)}; a file of kind {kind} is accepted here.")


def _info_and_numbers(file: TensorFile, names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, float]]:
    """Read the info and the numbers of these names out of a header."""
    try:
        info = {str(key): str(value) for key, value in parse_json(file.metadata["info"]).items()}
        found = parse_json(file.metadata["numbers"])
        numbers = {name: float(found[name]) for name in names}
    except (AttributeError, BadFileError, KeyError, OverflowError, TypeError, ValueError):
        raise EditError(f"'{file.label}' has a damaged header; save the attribute again.") from None
    if not all(math.isfinite(number) and 0 <= number <= LARGEST for number in numbers.values()):
        raise EditError(f"'{file.label}' has a damaged header; save the attribute again.")
    return info, numbers


def _check_axes(file: TensorFile, layout: Layout) -> None:
    """Raise an EditError where the shapes of a file's tensors do not fit their axes."""
    lengths: dict[str, int] = {}
    for name, axes in layout.items():
        shape = file.entries[name].shape
        if len(shape) != len(axes):
            file.refuse_tensor(name)
        for axis, size in zip(axes, shape, strict=True):
            # "1" is a length, every other character a name of one.
            if lengths.setdefault(axis, 1 if axis == "1" else size) != size:
                file.refuse_tensor(name)


def _checked(file: TensorFile, name: str, limits: Limits) -> Tensor:
    """Read a tensor whose values must be within its limits."""
    tensor = file.tensor(name)
    if not limits.allow(tensor):
        file.refuse_tensor(name)
    return tensor


def _listed(names: list[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(plain_text(name, 20) for name in names[:MAX_NAMES])
    return shown if len(names) <= MAX_NAMES else f"{shown} and {len(names) - MAX_NAMES} more"
