"""The small random models of benchmarks/, for the tests."""

from small_models import (
    CONTEXT,
    FAMILIES,
    SD3,
    UNETS,
    VIDEO_FRAMES,
    FrameVAE,
    LinearVAE,
    RandomClip,
    conditioning,
    fill,
    latent,
    patcher,
    tiny,
)

__all__ = [
    "CONTEXT",
    "FAMILIES",
    "SD3",
    "UNETS",
    "VIDEO_FRAMES",
    "FrameVAE",
    "LinearVAE",
    "RandomClip",
    "conditioning",
    "fill",
    "latent",
    "patcher",
    "tiny",
]
