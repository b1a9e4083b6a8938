"""Read a safetensors file that anybody may have made.

Every number in its header is checked against the file before anything is allocated. Tensors are read from the one open
file; none of it is mapped into memory, so that a file which is cut short or replaced meanwhile gives a sentence, never
other values. The format: 8 bytes with the header's length, the header in JSON, and the tensors one behind the other.
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, NoReturn, Self

import torch
from torch import Tensor

from .errors import EditError, plain_text

# Bytes of a header, at most. An attribute's own is under 100 kB, most of it the preview; a sum holds several.
MAX_HEADER = 3 * 2**20
# Names and values in a header, at most, and how deeply they may lie in each other.
MAX_ITEMS = 60_000
MAX_DEPTH = 6
MAX_AXES = 8
# What files of attributes hold; others have no use here, and some cannot be compared or checked.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class BadFileError(ValueError):
    """A file is not what it says; TensorFile makes an EditError of it."""


class Entry(NamedTuple):
    """One tensor of a header: its dtype's name, its shape, and the bytes behind the header from begin up to end."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def parse_json(text: str) -> Any:
    """Parse JSON of which nothing is known.

    Args:
        text: The JSON.

    Returns:
        What it holds.

    Raises:
        BadFileError: It is no JSON; it is deeper or longer than MAX_DEPTH and MAX_ITEMS; an object has a name twice; or
            it holds NaN or infinity.
    """
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    if unescaped.count('"') > 2 * MAX_ITEMS:
        raise BadFileError("too many texts")
    outside = "".join(unescaped.split('"')[::2])
    if sum(map(outside.count, "[{,")) > MAX_ITEMS:
        raise BadFileError("too many values")
    depth = 0
    for character in outside:
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            raise BadFileError("too deep")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except ValueError as error:
        raise BadFileError("no JSON") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadFileError("a name twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise BadFileError(constant)


class TensorFile:
    """An open safetensors file, as a context that closes it.

    Args:
        path: The file. A link to a file is followed; folders, pipes and devices are refused without reading them.

    Attributes:
        label: Its name for sentences.
        metadata: The texts of its header.
        entries: Its tensors by name.

    Raises:
        EditError: There is no such file, or it is not a whole safetensors file.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.label = plain_text(path.name)
        self.metadata: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self._file = _open(path, self.label)
        try:
            self._start = self._read_header()
        except BadFileError:
            self._file.close()
            self._refuse()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def tensor(self, name: str) -> Tensor:
        """Read one tensor.

        Args:
            name: A key of ``entries``.

        Returns:
            The tensor in float32.

        Raises:
            EditError: Its dtype is no floating point number, it has no values, or the file was cut short meanwhile.
        """
        entry = self.entries[name]
        if entry.dtype not in DTYPES or 0 in entry.shape:
            self.refuse_tensor(name)
        data = bytearray(entry.end - entry.begin)
        self._file.seek(self._start + entry.begin)
        if self._file.readinto(data) != len(data):  # type: ignore[attr-defined]
            self._refuse()
        return torch.frombuffer(data, dtype=DTYPES[entry.dtype]).reshape(entry.shape).float()

    def refuse_tensor(self, name: str) -> NoReturn:
        """Raise the EditError for a tensor that is not what the file's kind asks for."""
        shape = plain_text(self.entries[name].shape)
        raise EditError(f"'{self.label}' has a damaged tensor '{plain_text(name)}' {shape}; save the attribute again.")

    def _refuse(self) -> NoReturn:
        raise EditError(
            f"'{self.label}' is not a readable safetensors file; it may be cut short or of another kind."
        ) from None

    def _read_header(self) -> int:
        """Read and check the header; return where the tensors begin."""
        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8), "little")
        if length > min(MAX_HEADER, size - 8):
            raise BadFileError("no header")
        try:
            header = parse_json(self._file.read(length).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise BadFileError("no text") from error
        if not isinstance(header, dict):
            raise BadFileError("no names")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise BadFileError("no texts")
        self.metadata = metadata
        self.entries = {name: _entry(value) for name, value in header.items()}
        # One behind the other, without gaps, up to the end of the file.
        place = 0
        for entry in sorted(self.entries.values(), key=lambda one: (one.begin, one.end)):
            if entry.begin != place:
                raise BadFileError("a gap")
            place = entry.end
        if 8 + length + place != size:
            raise BadFileError("another size")
        return 8 + length


def _open(path: Path, label: str) -> BinaryIO:
    """Open a plain file without waiting for anything."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            # Should a pipe take the file's place just now, opening it does not wait for a writer.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
            file = os.fdopen(handle, "rb")
            if stat.S_ISREG(os.fstat(handle).st_mode):
                return file
            file.close()
    except PermissionError:
        raise EditError(f"'{label}' may not be read by this program; change the file's permissions.") from None
    except (OSError, ValueError):
        # No such file, a link to itself, or a name that no file can have.
        pass
    raise EditError(f"No file '{label}' in its folder; a plain file is accepted.")


def _entry(value: Any) -> Entry:
    """Check one tensor of a header."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise BadFileError("no tensor")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or not _whole_numbers(shape) or not _whole_numbers(offsets):
        raise BadFileError("no numbers")
    if len(shape) > MAX_AXES or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadFileError("no shape")
    if dtype in DTYPES and math.prod(shape) * DTYPES[dtype].itemsize != offsets[1] - offsets[0]:
        raise BadFileError("a shape of another size")
    return Entry(dtype, tuple(shape), offsets[0], offsets[1])


def _whole_numbers(values: Any) -> bool:
    """Return whether these are whole numbers of at most 2^53, none below 0."""
    return isinstance(values, list) and all(type(one) is int and 0 <= one <= 2**53 for one in values)
