"""Attribute files that ship with the embedded model, by the name of the attribute."""

from __future__ import annotations

from pathlib import Path

# The folder whose files nodes list as "demo/NAME".
SHIPPED = Path(__file__).parent / "weights" / "attributes"
FOLDER = SHIPPED / "demo"


def svd_path(name: str) -> Path:
    """Return the SVD attribute's file: the mean of 24 pairs."""
    return FOLDER / f"{name}.svd.safetensors"


def readout_path(name: str) -> Path:
    """Return the readout's file, learned at the shipped settings and kept in fp16."""
    return FOLDER / f"{name}.readout.safetensors"
