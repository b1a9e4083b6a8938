"""What callers give to an attached pipeline, checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...core.errors import EditError
from ...core.hspace.direction import HDirection
from ...core.hspace.readout import Readout
from ...core.latent_svd.attribute import SVDAttribute
from ...core.recipes.attributes import Attribute, advised_strength

# Attributes and their strengths, or one attribute alone.
Weighted = Attribute | Mapping[Attribute, float] | None


def weighted_of(attributes: Weighted, alone: float | None = None) -> list[tuple[Attribute, float]]:
    """Return attributes with their strengths.

    Args:
        attributes: What was given; None is no attribute.
        alone: The strength of one attribute alone; None takes what its file advises.

    Raises:
        EditError: Something is no attribute, or a strength is no finite number.
    """
    if attributes is None:
        return []
    if isinstance(attributes, SVDAttribute | HDirection):
        attributes = {attributes: advised_strength(attributes) if alone is None else alone}
    if not isinstance(attributes, Mapping):
        raise EditError(
            f"attributes is a {type(attributes).__name__}; what learn or load returns, "
            "or a dictionary of them and their strengths, is accepted."
        )
    for one, strength in attributes.items():
        if not isinstance(one, SVDAttribute | HDirection):
            raise EditError(f"attributes holds a {type(one).__name__}; what learn or load returns is accepted.")
        if not isinstance(strength, int | float) or not abs(strength) < float("inf"):
            raise EditError(f"the strength of '{one.name}' is {strength!r}; a finite number is accepted.")
    return [(one, float(strength)) for one, strength in attributes.items()]


def readouts_of(attributes: Weighted) -> list[tuple[HDirection, float]]:
    """Return readouts with their strengths, at least one.

    Raises:
        EditError: Something is no readout, or there is none.
    """
    readouts: list[tuple[HDirection, float]] = []
    for one, strength in weighted_of(attributes):
        if isinstance(one, SVDAttribute) or not all(isinstance(part, Readout) for _, part in one.parts):
            raise EditError(
                f"'{one.name}' is no readout, and a slider applies readouts; give an attribute of method svd to "
                "callback, and other directions to an edit of an inverted picture."
            )
        readouts.append((one, strength))
    if not readouts:
        raise EditError("a slider was given no readout; one or more are accepted.")
    return readouts


def check_steps(steps: int) -> None:
    """Raise an EditError for a number of sampling steps that is none."""
    if not isinstance(steps, int) or steps < 1:
        raise EditError(f"steps is {steps!r}; a whole number of sampling steps, 1 or more, is accepted.")


def check_rows(rows: Tensor, count: int, name: str) -> None:
    """Raise an EditError for prompts or masks that are not one, or one for each picture.

    Args:
        rows: The prompts or masks, [B, ...].
        count: The pictures.
        name: What they are called.
    """
    if len(rows) not in (1, count):
        raise EditError(f"{name} has {len(rows)} rows for {count} pictures; one for all, or one for each, is accepted.")
