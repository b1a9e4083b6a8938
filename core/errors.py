"""One exception for bad input, and the checks that raise it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# No latent comes near this; noise of the strongest schedules is about 1e5.
LARGEST_LATENT = 1e6
# No change of a latent or of a prediction, whose values are about 1, comes near this at any strength.
LARGEST_EFFECT = 1e4
# Predictions that differ by less in the mean are the same.
LEAST_CHANGE = 1e-5
# Characters of a name or a text of somebody else's that a sentence quotes, at most.
QUOTED = 60


class EditError(ValueError):
    """Bad input, said in one sentence: which input, what was found, what is accepted."""


def plain_text(text: object, longest: int = QUOTED) -> str:
    """Return a text of which nothing is known as one that can be shown: on one line, printable and short.

    Args:
        text: A name, or anything else that a sentence quotes.
        longest: How many characters there may be.

    Returns:
        The text without control characters, lone surrogates and marks that turn the direction of writing; runs of white
        space are one space, and what is too long ends in "...".
    """
    words = "".join(character if character.isprintable() else " " for character in str(text)).split()
    plain = " ".join(words)
    return plain if len(plain) <= longest else plain[: longest - 3].rstrip() + "..."


def is_computable(x: Tensor) -> bool:
    """Return whether torch computes with a tensor's numbers: with floats of 16 bits and more."""
    return x.is_floating_point() and x.element_size() > 1


def check_latent(x: Tensor, name: str, *, video: bool = False) -> Tensor:
    """Check that x is a latent of finite numbers.

    Args:
        x: What is to be a latent, [B, C, H, W] in any space.
        name: The name of the input, for the error.
        video: Whether [B, C, T, H, W] is accepted too.

    Returns:
        x itself.

    Raises:
        EditError: x is something else; it says what.
    """
    if not isinstance(x, Tensor) or getattr(x, "is_nested", False) or not is_computable(x):
        kind = x.dtype if isinstance(x, Tensor) else plain_text(type(x).__name__)
        raise EditError(f"{name} is a {kind}; a plain latent tensor [batch, channels, height, width] is accepted.")
    if x.ndim != 4 and not (video and x.ndim == 5):
        raise EditError(
            f"{name} has {x.ndim} dimensions {plain_text(tuple(x.shape))}; "
            "a picture latent has 4 [batch, channels, height, width]."
        )
    if x.numel() == 0:
        raise EditError(f"{name} is empty {tuple(x.shape)}; at least one picture is needed.")
    # The largest of NaN is NaN, of which no comparison is true.
    if not float(x.detach().float().abs().max()) <= LARGEST_LATENT:
        raise EditError(f"{name} contains NaN, infinite or enormous values; check the node it comes from.")
    return x


def check_prediction(denoised: Tensor, sigma: Tensor) -> Tensor:
    """Check that a model predicts finite numbers, because nothing can be learned or drawn from others.

    Args:
        denoised: What a model predicts, of any shape.
        sigma: The noise level, a tensor of one value or several.

    Returns:
        The prediction itself.

    Raises:
        EditError: It holds NaN or infinite values.
    """
    if not torch.isfinite(denoised).all():
        raise EditError(
            f"The model predicts NaN or infinite values at sigma {float(sigma.flatten()[0]):.4g}; "
            "check that a plain KSampler draws pictures with it, its LoRAs and its precision."
        )
    return denoised


def check_prompts_differ(change: float | Tensor) -> None:
    """Check that two prompts make a difference to a model.

    Args:
        change: How much the predictions under both differ in the mean, root mean square.

    Raises:
        EditError: They do not, or NaN.
    """
    if not change >= LEAST_CHANGE:
        raise EditError(
            "source and target predict the same picture, so there is nothing to learn; "
            "check that the two prompts differ."
        )


def check_branch_steps(branch_steps: Sequence[int], end: int) -> None:
    """Check the steps where two prompts may branch.

    Args:
        branch_steps: The steps.
        end: The step that they must lie before.

    Raises:
        EditError: There is none, or one lies elsewhere.
    """
    if not branch_steps or not all(0 <= step < end for step in branch_steps):
        raise EditError(
            f"prompts are to branch at {', '.join(map(str, branch_steps)) or 'no step'}; steps from 0 to {end - 1} are "
            "accepted."
        )


def check_effect(effect: Tensor) -> Tensor:
    """Check what an edit would add to a prediction or to a latent.

    Args:
        effect: The change, or what it leads to, of any shape.

    Returns:
        The effect itself.

    Raises:
        EditError: It holds NaN, infinite values, or values that are larger than any latent's.
    """
    if not float(effect.detach().float().abs().max()) <= LARGEST_EFFECT:
        raise EditError(
            "The edit gives NaN, infinite or enormous values; use a smaller strength or weight, or another attribute."
        )
    return effect


def check_same_shape(a: Tensor, b: Tensor, name_a: str, name_b: str) -> None:
    """Check that two tensors are of one shape.

    Args:
        a: The first tensor.
        b: The second tensor.
        name_a: The name of the first, for the error.
        name_b: The name of the second, for the error.

    Raises:
        EditError: The shapes differ.
    """
    if a.shape != b.shape:
        raise EditError(
            f"{name_b} has shape {tuple(b.shape)} but {name_a} has {tuple(a.shape)}; the two must be the same size."
        )


def check_sigmas(sigmas: Tensor, name: str = "sigmas") -> Tensor:
    """Check that a tensor is a schedule: two or more finite, strictly descending, non-negative noise levels.

    Args:
        sigmas: What is to be a schedule, [n + 1].
        name: The name of the input, for the error.

    Returns:
        The sigmas themselves.

    Raises:
        EditError: They are no schedule; it says why.
    """
    if sigmas.ndim != 1 or len(sigmas) < 2:
        raise EditError(f"{name} holds {sigmas.numel()} values; a schedule needs at least two (one step).")
    if not torch.isfinite(sigmas).all() or sigmas[-1] < 0:
        raise EditError(f"{name} contains negative, NaN or infinite values; wire the sampler's own SIGMAS.")
    if (sigmas[1:] >= sigmas[:-1]).any():
        raise EditError(
            f"{name} does not descend strictly ({sigmas[0]:.3g} to {sigmas[-1]:.3g}); "
            "wire the sampler's own SIGMAS, not flipped ones."
        )
    return sigmas
