"""Tables over strength, which the benchmarks of both editors print."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core.hspace.properties import linearity
from .score import Score, score
from .session import Session

# A session and a strength to edited pictures, [B, 3, side, side] in [0, 1].
Edit = Callable[[Session, float], Tensor]


def logits(s: Session, pictures: Tensor) -> Tensor:
    """Return how clearly the judge sees the session's attribute, [B]; positive where it does."""
    return s.model.logits(pictures)[:, s.model.attributes.index(s.attribute)].cpu()


def strength_curves(s: Session, strengths: tuple[float, ...], ways: dict[str, Edit]) -> dict[str, list[Score]]:
    """Print and return the scores of each way of editing at each strength."""
    print(f"\n{'success/others/PSNR dB at strength':<34s}" + "".join(f"{strength:>16g}" for strength in strengths))
    rows = {}
    for label, edit in ways.items():
        rows[label] = [score(s, edit(s, strength)) for strength in strengths]
        cells = [f"{row.success:.2f}/{row.kept:.2f}/{row.psnr:.1f}" for row in rows[label]]
        print(f"{label:<34s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)
    return rows


def strength_monotonicity(
    without: Session, having: Session, edit: Edit, strengths: Tensor = torch.linspace(-2, 2, 9)
) -> None:
    """Print the judge's mean logit over strength, and its rank correlation with strength.

    Faces without the attribute can only gain it and faces with it only lose it, so that each half of the range is
    measured on the faces it can change.

    Args:
        without: Faces without the attribute.
        having: The same faces with it.
        edit: How they are edited.
        strengths: Ascending strengths, [S], as many above 0 as below, and 0 between them. At the second of them the
            share of faces is counted in which nothing is left of the attribute.
    """
    scores = {}
    for label, s in (("without", without), ("with it", having)):
        scores[label] = torch.stack([logits(s, edit(s, strength)) for strength in strengths.tolist()])
    zero = len(strengths) // 2
    ranges = {"without": slice(zero, None), "with it": slice(0, zero + 1), "both": slice(None)}
    rows = {**scores, "both": torch.cat(list(scores.values()), dim=1)}
    print(f"\n{'mean logit at strength':<34s}" + "".join(f"{strength:>8g}" for strength in strengths.tolist()))
    for label, values in rows.items():
        part, over = values[ranges[label]], strengths[ranges[label]]
        cells = "".join(f"{value:8.1f}" for value in values.mean(dim=1).tolist())
        of_mean = linearity(part.mean(dim=1, keepdim=True), over)
        print(
            f"{f'faces {label}':<34s}{cells}   "
            f"Spearman of the mean {of_mean:.2f}, of each face {linearity(part, over):.2f}"
        )
    removed = float((scores["with it"][1] < 0).float().mean())
    print(f"removed from {removed:.2f} of the faces that have it, at strength {strengths[1]:g}\n", flush=True)
