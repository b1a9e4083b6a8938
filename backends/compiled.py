"""Compiled networks: what was compiled calls no hooks that were added later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def uncompiled(network: nn.Module) -> Callable[..., Any]:
    """Return what runs a network as it was written, which calls every hook.

    Args:
        network: A network, compiled by torch.compile, by its own ``compile``, or not at all.
    """
    network = getattr(network, "_orig_mod", network)
    return network if network._compiled_call_impl is None else network._call_impl
