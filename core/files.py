"""Attribute files: safetensors with a format version, checked in full before anything is used."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import EditError

FORMAT = "singular_edit"
VERSION = 1

# Names of tensors and their axes: one letter an axis, the same letter the same length ("CHr")
Layout = dict[str, str]


def write(path: str | Path, kind: str, tensors: dict[str, Tensor], info: dict[str, str], **numbers: float) -> None:
    """Write a file whole or not at all: it appears under its name only when it is complete.

    Args:
        path: Where to; missing folders are made.
        kind: What the file holds, by which it is read again.
        tensors: Its tensors, on any device.
        info: Words about it: its name, its prompts.
        **numbers: Numbers that reading it asks for by name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "info": json.dumps(info),
        "numbers": json.dumps(numbers),
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    try:
        save_file(plain, temporary, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
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
    path = Path(path)
    with _open(path) as file:
        return _header(file, path)["kind"]


def read(
    path: str | Path, kind: str, layout: Layout, numbers: tuple[str, ...], *optional: Layout
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, float]]:
    """Read a file of one kind.

    Args:
        path: The file.
        kind: The kind that is accepted.
        layout: The tensors that it must hold, and their axes.
        numbers: The numbers that it must hold.
        *optional: Groups of more tensors; a file has all of a group or none.

    Returns:
        Its tensors in float32, its info, and its numbers.

    Raises:
        EditError: It is no Singular Edit file of this version, of another kind, or damaged.
    """
    path = Path(path)
    with _open(path) as file:
        header = _header(file, path)
        if header["kind"] != kind:
            raise EditError(f"'{path.name}' holds a {header['kind']}; a file of kind {kind} is accepted here.")
        info, values = _info_and_numbers(header, numbers, path)
        found = set(file.keys())
        for group in optional:
            if found & set(group):
                layout = {**layout, **group}
        missing = sorted(set(layout) - found)
        if missing:
            raise EditError(f"'{path.name}' lacks {', '.join(missing)}; save the attribute again.")
        tensors = {name: file.get_tensor(name) for name in layout}
    lengths: dict[str, int] = {}
    for name, axes in layout.items():
        if not _fits(tensors[name], axes, lengths):
            shape = tuple(tensors[name].shape)
            raise EditError(f"'{path.name}' has a damaged tensor '{name}' {shape}; save the attribute again.")
    return {name: tensor.float() for name, tensor in tensors.items()}, info, values


def _open(path: Path) -> Any:
    """Open a safetensors file, as a context that closes it."""
    if not path.is_file():
        raise EditError(f"No file '{path.name}' in {path.parent}.")
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError):
        raise EditError(
            f"'{path.name}' is not a readable safetensors file; it may be cut short or of another kind."
        ) from None


def _header(file: Any, path: Path) -> dict[str, str]:
    """Return the metadata of an open file, after a check that they are a Singular Edit file's of this version."""
    metadata: dict[str, str] = file.metadata() or {}
    if metadata.get("format") != FORMAT or "kind" not in metadata:
        raise EditError(
            f"'{path.name}' is a safetensors file but not a Singular Edit attribute (a LoRA or checkpoint, perhaps)."
        )
    version = metadata.get("version")
    if version != str(VERSION):
        raise EditError(f"'{path.name}' has format version {version}; this version of Singular Edit reads {VERSION}.")
    return metadata


def _info_and_numbers(
    header: dict[str, str], names: tuple[str, ...], path: Path
) -> tuple[dict[str, str], dict[str, float]]:
    """Read the info and the numbers of these names out of a header."""
    try:
        info = {str(key): str(value) for key, value in json.loads(header["info"]).items()}
        found = json.loads(header["numbers"])
        numbers = {name: float(found[name]) for name in names}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EditError(f"'{path.name}' has a damaged header; save the attribute again.") from None
    return info, numbers


def _fits(tensor: Tensor, axes: str, lengths: dict[str, int]) -> bool:
    """Return whether a tensor is finite and has these axes; ``lengths`` holds those seen so far and takes new ones."""
    if tensor.ndim != len(axes) or tensor.numel() == 0:
        return False
    for axis, size in zip(axes, tensor.shape, strict=True):
        if lengths.setdefault(axis, size) != size:
            return False
    return tensor.is_floating_point() and bool(torch.isfinite(tensor).all())
