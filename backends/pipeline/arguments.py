"""What callers give to an attached pipeline, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...core.errors import EditError, plain_text
from ...core.hspace.direction import HDirection
from ...core.hspace.readout import Readout
from ...core.latent_svd.attribute import SVDAttribute
from ...core.recipes.attributes import Attribute, advised_strength

# More are taken for a mistake, here and in the nodes.
MAX_STEPS = 1000
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
    for one in attributes:
        if not isinstance(one, SVDAttribute | HDirection):
            raise EditError(f"attributes holds a {type(one).__name__}; what learn or load returns is accepted.")
    return [(one, check_number(strength, f"the strength of '{one.name}'")) for one, strength in attributes.items()]


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


def found(value: object) -> str:
    """Return what was given as a sentence quotes it: on one line, and short."""
    return plain_text(repr(value))


def check_number(value: Any, name: str) -> float:
    """Check a number of any library: Python's, NumPy's or a tensor of one.

    Args:
        value: What is to be a number.
        name: What it is called.

    Returns:
        The number.

    Raises:
        EditError: It is no number, or not a finite one.
    """
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise EditError(f"{name} is {found(value)}; a finite number is accepted.")
    return number


def check_numbers(values: Any, name: str) -> list[float]:
    """Check several numbers, in a list or in whatever else holds them.

    Args:
        values: What is to be numbers.
        name: What they are called.

    Returns:
        The numbers.

    Raises:
        EditError: They are no numbers, or not finite.
    """
    try:
        several = None if isinstance(values, str | bytes) else list(values)
    except TypeError:
        several = None
    if several is None:
        raise EditError(f"{name} is {found(values)}; a list of finite numbers is accepted.")
    return [check_number(value, f"one of {name}") for value in several]


def whole_number(value: Any) -> int | None:
    """Return a whole number of any library as Python's; None for what is none, as True and 8.0 are."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def whole_pair(value: Any) -> tuple[int, int] | None:
    """Return two whole numbers above 0, in a tuple, a list or an array, as Python's; None for anything else."""
    try:
        sides = [whole_number(side) for side in value]
    except TypeError:
        return None
    pair = [side for side in sides if side is not None and side > 0]
    return (pair[0], pair[1]) if len(pair) == len(sides) == 2 else None


def check_seed(value: Any) -> int:
    """Check a seed.

    Args:
        value: What is to be a seed.

    Returns:
        The seed.

    Raises:
        EditError: It is no whole number that PyTorch's generators take.
    """
    seed = whole_number(value)
    if seed is None or not -(2**63) <= seed < 2**64:
        raise EditError(f"seed is {found(value)}; a whole number of 64 bits is accepted.")
    return seed


def check_whole(value: Any, name: str, lowest: int, highest: int) -> int:
    """Check a whole number.

    Args:
        value: What is to be one.
        name: What it is called.
        lowest: The lowest that is accepted.
        highest: The highest.

    Returns:
        The number.

    Raises:
        EditError: It is no whole number, or outside of the range.
    """
    number = whole_number(value)
    if number is None or not lowest <= number <= highest:
        raise EditError(f"{name} is {found(value)}; a whole number from {lowest} to {highest} is accepted.")
    return number


def check_steps(steps: Any, lowest: int = 1) -> int:
    """Check a number of sampling steps, as check_whole does."""
    return check_whole(steps, "steps", lowest, MAX_STEPS)


def check_texts(prompt: Any, name: str) -> list[str]:
    """Check a prompt that is not encoded yet.

    Args:
        prompt: What is to be a text, or several.
        name: What it is called.

    Returns:
        The texts, at least one.

    Raises:
        EditError: It is something else.
    """
    several = isinstance(prompt, list | tuple)
    texts = [prompt] if isinstance(prompt, str) else list(prompt) if several else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise EditError(f"{name} is {found(prompt)}; a text, a list of texts, or a tensor of embeddings is accepted.")
    return texts


def check_rows(rows: Tensor, count: int, name: str) -> None:
    """Raise an EditError for prompts or masks that are not one, or one for each picture.

    Args:
        rows: The prompts or masks, [B, ...].
        count: The pictures.
        name: What they are called.
    """
    if len(rows) not in (1, count):
        raise EditError(f"{name} has {len(rows)} rows for {count} pictures; one for all, or one for each, is accepted.")
