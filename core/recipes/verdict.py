"""How well a direction or a readout was learned, in one sentence."""

from __future__ import annotations

# What comes less than this share of the way was learned badly, and reports say what may help.
ENOUGH = 0.5
# From this share on, the attribute is there in most pictures.
WELL = 0.7


def verdict_of(progress: float | None) -> str:
    """Return what a file's info says as "verdict".

    Args:
        progress: The share of the way from the source prompt's picture to the target prompt's that it comes, or None
            where it was not measured.
    """
    if progress is None:
        return "Learned; how far it goes was not measured."
    if progress >= WELL:
        return "Learned well."
    word = "in part" if progress >= ENOUGH else "badly"
    return f"Learned {word}: it comes {progress:.0%} of the way from one text to the other."
