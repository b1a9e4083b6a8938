"""The judges of an edit: did the attribute come, did the others stay, how far is the true edited picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..faces import ATTRIBUTES, counterfactuals
from .session import Session


@dataclass(frozen=True)
class Score:
    """success, kept: shares of pictures (kept: of the other attributes, all pictures); psnr: mean dB to the counterfactual."""

    success: float
    kept: float
    psnr: float

    def row(self, label: str) -> str:
        return f"{label:<34s} {self.success:7.2f} {self.kept:7.2f} {self.psnr:8.1f}"


HEADER = f"{'':<34s} {'success':>7s} {'others':>7s} {'PSNR dB':>8s}"


def psnr(a: Tensor, b: Tensor, peak: float = 1.0) -> Tensor:
    """DB per picture over the last three axes."""
    return 10 * torch.log10(peak**2 / (a - b).square().mean(dim=(-3, -2, -1)).clamp(min=1e-20))


def score(s: Session, edited: Tensor, value: bool = True) -> Score:
    """Of pictures [B, 3, 64, 64] that were meant to gain (or lose) the session's attribute.

    PSNR is to the closest counterfactual over the attribute's own parameters, such as the hat's colour.
    """
    seen = s.model.judged(edited).cpu()
    index = ATTRIBUTES.index(s.attribute)
    others = [i for i in range(len(ATTRIBUTES)) if i != index]
    closest = psnr(counterfactuals(s.faces, s.attribute, value), edited.cpu()).max(dim=0).values
    return Score(
        (seen[:, index] == value).float().mean().item(),
        (seen == s.faces.attributes)[:, others].float().mean().item(),
        closest.mean().item(),
    )
