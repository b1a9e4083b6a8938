"""The judges of an edit: did the attribute come, did the others stay, how near is the true edited picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core import Denoiser
from ...core.recipes.inversion import invert
from .session import Session

LATENT_PEAK = 4.0  # peak to peak of a latent, for its PSNR
HEADER = f"{'':<34s} {'success':>7s} {'others':>7s} {'PSNR dB':>8s}"


@dataclass(frozen=True)
class Score:
    """How good edits of some pictures are.

    Attributes:
        success: Share of the pictures in which the judge sees the attribute (or no longer sees it).
        kept: Share of the other attributes that the judge sees as before.
        psnr: Mean PSNR to the counterfactual, in dB.
    """

    success: float
    kept: float
    psnr: float

    def row(self, label: str) -> str:
        """Return a line of the table under HEADER."""
        return f"{label:<34s} {self.success:7.2f} {self.kept:7.2f} {self.psnr:8.1f}"


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """Return the peak signal-to-noise ratio in dB over the last three axes of a - b."""
    return 10 * torch.log10(peak**2 / (a - b).square().mean(dim=(-3, -2, -1)).clamp(min=1e-20))


def nearest(truth: Tensor, pictures: Tensor) -> Tensor:
    """Return the nearest of several true pictures to each picture.

    Args:
        truth: True pictures, [K, B, 3, side, side] in [0, 1].
        pictures: [B, 3, side, side] in [0, 1], on the same device.

    Returns:
        One true picture for each of ``pictures``, like them.
    """
    return truth[psnr(truth, pictures).argmax(dim=0), torch.arange(len(pictures))]


def round_trip(method: str, denoise: Denoiser, latents: Tensor, sigmas: Tensor) -> tuple[float, float]:
    """Invert latents and rebuild them.

    Args:
        method: One of INVERSION_METHODS; traced is rebuilt along its trace, the others by euler.
        denoise: The model.
        latents: Pictures as latents, [B, *latent_shape] in model space.
        sigmas: Descending noise levels, [n + 1].

    Returns:
        The mean PSNR of the rebuilt latents in dB, and the model calls a step that the inversion took.
    """
    report = invert(denoise, latents, sigmas, method).report
    decibels = cast(Tensor, report.round_trip).mean()
    return float(decibels), report.calls / report.steps


def others(s: Session) -> list[int]:
    """Return the columns of the attributes beside the session's."""
    return [i for i, name in enumerate(s.model.attributes) if name != s.attribute]


def score(s: Session, edited: Tensor, value: bool = True) -> Score:
    """Judge edited pictures.

    Args:
        s: The session they were edited in.
        edited: Pictures, [B, 3, side, side] in [0, 1].
        value: Whether the pictures were meant to gain the session's attribute, or to lose it.

    Returns:
        The score. PSNR is to the closest counterfactual over the attribute's own parameters, such as the hat's colour.
    """
    seen = s.model.judged(edited).cpu()
    success = seen[:, s.model.attributes.index(s.attribute)] == value
    kept = (seen == s.faces.attributes)[:, others(s)]
    closest = psnr(s.model.counterfactuals(s.faces, s.attribute, value), edited.cpu()).max(dim=0).values
    return Score(success.float().mean().item(), kept.float().mean().item(), closest.mean().item())
