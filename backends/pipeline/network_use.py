"""Who uses a network: one call at a time, and none while a slider's hooks are on it.

Inversion, learning and edits read and change a network by hooks, which every other run of the same network would call
too. So they wait for one another, in whatever thread they are, and through whichever attached pipeline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from torch import nn

from ...core.errors import EditError


class NetworkUse:
    """What is done with one network.

    Attributes:
        lock: Held while hooks come to the network, and as long as a call computes with it.
        sliders: Sliders whose hooks are on it.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.sliders: WeakSet[Any] = WeakSet()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody else computes, and keep others waiting for the length of a block.

        Raises:
            EditError: A slider is open, which would edit what is computed.
        """
        with self.lock:
            if self.sliders:
                raise EditError(
                    "a slider of this pipeline is open; calls of invert, learn and edit are accepted outside of its "
                    "with block."
                )
            yield


_USES: WeakKeyDictionary[nn.Module, NetworkUse] = WeakKeyDictionary()
_USES_LOCK = Lock()


def use_of(network: Any) -> NetworkUse:
    """Return the use of a network, one for all that were attached to it; a compiled network is what was compiled."""
    with _USES_LOCK:
        return _USES.setdefault(getattr(network, "_orig_mod", network), NetworkUse())
