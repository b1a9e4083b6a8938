"""A hash of a MODEL with its patches, and of anything that is made of tensors and plain values.

Two MODELs with one hash give the same predictions. The reverse does not hold: a patch of another pack may keep values
that change without an effect, so that the same question gets another hash and is answered once more.
"""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

# Numbers of a large tensor that are looked at, evenly spread. Weights of two models differ in all of them.
LOOKED_AT = 1024
# How deep values are followed into objects; deeper ones count by their class alone.
MAX_DEPTH = 12


def fingerprint(*values: Any) -> str:
    """Return a hash of values, equal in every process.

    Args:
        *values: Tensors, numbers, strings, containers, modules, functions with what they hold, and objects of them.
            Large tensors are hashed by LOOKED_AT of their numbers.

    Returns:
        64 hexadecimal digits.
    """
    digest = _Digest()
    for value in values:
        digest.add(value, 0)
    return digest.hash.hexdigest()


def full_fingerprint(tensor: Tensor) -> str:
    """Return a hash of all numbers of a tensor; pictures that differ in a few pixels get another one."""
    plain = tensor.detach().to("cpu", torch.float32).contiguous()
    return f"{tuple(plain.shape)} {hashlib.sha256(plain.numpy().tobytes()).hexdigest()}"


def model_fingerprint(model: Any) -> str:
    """Return a hash of a MODEL's weights, patches, options and hooks.

    Args:
        model: A MODEL. Patches that are applied to its weights just now do not count twice.
    """
    # ComfyUI keeps what a loaded LoRA replaced in ``backup``.
    weights = dict(model.model.state_dict())
    for name, backup in getattr(model, "backup", {}).items():
        if name in weights:
            weights[name] = getattr(backup, "weight", backup)
    options = {name: value for name, value in model.model_options.items() if name != "transformer_options"}
    transformer = {
        name: value
        for name, value in model.model_options.get("transformer_options", {}).items()
        if name not in ("callbacks", "sample_sigmas", "sigmas")
    }
    return fingerprint(
        type(model.model).__name__,
        vars(model.model.model_config).get("unet_config"),
        weights,
        model.patches,
        getattr(model, "object_patches", {}),
        getattr(model, "weight_wrapper_patches", {}),
        getattr(model, "hook_patches", {}),
        options,
        transformer,
    )


class _Digest:
    """A running hash of values."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.open: set[int] = set()

    def add(self, value: Any, depth: int) -> None:
        """Take a value into the hash."""
        # A weight is a Parameter in one place and a plain Tensor in another.
        self._word("Tensor" if isinstance(value, Tensor) else type(value).__qualname__)
        if value is None or isinstance(value, (bool, int, float, str, bytes, complex, torch.dtype, torch.device)):
            self._word(repr(value))
        elif isinstance(value, Enum):
            self._word(value.name)
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif depth > MAX_DEPTH or id(value) in self.open:
            return
        else:
            # A value that holds itself is followed once.
            self.open.add(id(value))
            for part in _parts_of(value):
                self.add(part, depth + 1)
            self.open.discard(id(value))

    def _tensor(self, tensor: Tensor) -> None:
        self._word(f"{tuple(tensor.shape)} {tensor.dtype}")
        flat = tensor.detach().reshape(-1)
        if len(flat) > LOOKED_AT:
            flat = flat[torch.linspace(0, len(flat) - 1, LOOKED_AT, dtype=torch.float64).long().to(flat.device)]
        self.hash.update(flat.to("cpu", torch.float64).numpy().tobytes())

    def _word(self, text: str) -> None:
        self.hash.update(f"{len(text)}:{text};".encode())


def _parts_of(value: Any) -> list[Any]:
    """Return what a container, a function or an object is made of, in an order that does not depend on the process."""
    if isinstance(value, Mapping):
        return [(str(key), value[key]) for key in sorted(value, key=str)]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, nn.Module):
        return [value.state_dict()]
    if isinstance(value, (type, types.ModuleType, types.BuiltinFunctionType)):
        return [value.__name__]
    return _parts_of_callable(value)


def _parts_of_callable(value: Any) -> list[Any]:
    """Return what a function is, with what it holds; the attributes of any other object."""
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.FunctionType):
        name = f"{value.__module__}.{value.__qualname__}"
        code = value.__code__
        constants = [constant for constant in code.co_consts if not isinstance(constant, types.CodeType)]
        held = [_contents(value.__closure__ or ()), value.__defaults__, value.__kwdefaults__]
        return [name, code.co_code, code.co_names, constants, *held]
    attributes = dict(getattr(value, "__dict__", {}))
    for name in getattr(type(value), "__slots__", ()):
        attributes[name] = getattr(value, name, None)
    return [attributes]


def _contents(cells: tuple[Any, ...]) -> list[Any]:
    """Return what the cells of a closure hold; a cell that is not filled yet counts as None."""
    contents = []
    for cell in cells:
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(None)
    return contents
