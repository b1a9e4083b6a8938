"""Attribute files: safetensors with a format version, checked in full before anything is used."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import EditError

FORMAT = "singular_edit"
VERSION = 1


def write(path: str | Path, kind: str, tensors: dict[str, Tensor], info: dict[str, str], **numbers: float) -> None:
    """Write whole or not at all: the file appears under its name only when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": kind,
        "info": json.dumps(info),
        "numbers": json.dumps(numbers),
    }
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    os.close(handle)
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_kind(path: str | Path) -> str:
    """The kind of a Singular Edit file, from its header alone. Raises EditError for any other file."""
    return _header(Path(path))["kind"]


def read(
    path: str | Path, kind: str, layout: dict[str, str], numbers: tuple[str, ...], *optional: dict[str, str]
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, float]]:
    """Tensors, info and numbers of a file of this kind.

    layout names the tensors and their axes: one letter an axis, the same letter the same length ("CHr"). optional: groups of
    more of them; a file has all of a group or none.
    """
    path = Path(path)
    header = _header(path)
    if header["kind"] != kind:
        raise EditError(f"'{path.name}' holds a {header['kind']}; a file of kind {kind} is accepted here.")
    try:
        info, found = json.loads(header["info"]), json.loads(header["numbers"])
        values = {name: float(found[name]) for name in numbers}
    except (KeyError, TypeError, ValueError):
        raise EditError(f"'{path.name}' has a damaged header; save the attribute again.") from None
    if not isinstance(info, dict):
        raise EditError(f"'{path.name}' has a damaged header; save the attribute again.")
    with safe_open(path, "pt") as file:
        for group in optional:
            if set(group) & set(file.keys()):
                layout = {**layout, **group}
        missing = sorted(set(layout) - set(file.keys()))
        if missing:
            raise EditError(f"'{path.name}' lacks {', '.join(missing)}; save the attribute again.")
        tensors = {name: file.get_tensor(name) for name in layout}
    lengths: dict[str, int] = {}
    for name, axes in layout.items():
        tensor = tensors[name]
        fits = (
            tensor.ndim == len(axes)
            and tensor.numel() > 0
            and all(lengths.setdefault(axis, size) == size for axis, size in zip(axes, tensor.shape))
        )
        if not fits or not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise EditError(
                f"'{path.name}' has a damaged tensor '{name}' {tuple(tensor.shape)}; save the attribute again."
            )
    return {name: tensor.float() for name, tensor in tensors.items()}, {str(k): str(v) for k, v in info.items()}, values


def _header(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise EditError(f"No file '{path.name}' in {path.parent}.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        raise EditError(
            f"'{path.name}' is not a readable safetensors file; it may be cut short or of another kind."
        ) from None
    if metadata.get("format") != FORMAT or "kind" not in metadata:
        raise EditError(
            f"'{path.name}' is a safetensors file but not a Singular Edit attribute (a LoRA or checkpoint, perhaps)."
        )
    if metadata.get("version") != str(VERSION):
        raise EditError(
            f"'{path.name}' has format version {metadata.get('version')}; this version of Singular Edit reads {VERSION}."
        )
    return metadata
