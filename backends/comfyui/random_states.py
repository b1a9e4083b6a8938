"""The random numbers that other nodes will draw: as they would be if a node had not run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import comfy.model_management
import numpy as np
import torch


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Put the global random states of torch, numpy and Python back where they were.

    ComfyUI's own noise seeds torch's, and its previews draw a file's name from Python's.
    """
    device = comfy.model_management.get_torch_device()
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
