"""Tables over strength that the benchmarks of both editors print."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...core.hspace.properties import linearity
from .. import faces
from .score import Score, score
from .session import Session

Edit = Callable[[Session, float], Tensor]  # pictures edited at a strength


def logits(s: Session, pictures: Tensor) -> Tensor:
    """How clearly the judge sees the attribute: [B]."""
    return s.model.logits(pictures)[:, faces.ATTRIBUTES.index(s.attribute)].cpu()


def courses(s: Session, strengths: tuple[float, ...], ways: dict[str, Edit]) -> dict[str, list[Score]]:
    """Scores of each way at each strength, printed."""
    print(f"\n{'success/others/PSNR dB at strength':<34s}" + "".join(f"{strength:>16g}" for strength in strengths))
    rows = {label: [score(s, edit(s, strength)) for strength in strengths] for label, edit in ways.items()}
    for label, scores in rows.items():
        print(
            f"{label:<34s}" + "".join(f"{f'{r.success:.2f}/{r.kept:.2f}/{r.psnr:.1f}':>16s}" for r in scores),
            flush=True,
        )
    return rows


def strength_monotonicity(without: Session, has_attribute: Session, edit: Edit) -> None:
    """The judge's mean logit from strength -2 to 2: faces without the attribute can only gain it, faces with it only lose it."""
    strengths = torch.linspace(-2, 2, 9)
    scores = {
        label: torch.stack([logits(s, edit(s, strength)) for strength in strengths.tolist()])
        for label, s in (("without", without), ("with it", has_attribute))
    }
    both = torch.cat(list(scores.values()), dim=1)
    print(f"\n{'mean logit at strength':<34s}" + "".join(f"{strength:>8g}" for strength in strengths.tolist()))
    for label, values in {**scores, "both": both}.items():
        half = slice(None) if label == "both" else slice(4, None) if label == "without" else slice(0, 5)
        print(
            f"{f'faces {label}':<34s}"
            + "".join(f"{value:8.1f}" for value in values.mean(dim=1).tolist())
            + f"   Spearman of the mean {linearity(values[half].mean(dim=1, keepdim=True), strengths[half]):.2f}, of each face {linearity(values[half], strengths[half]):.2f}"
        )
    print(
        f"removed from {float((scores['with it'][1] < 0).float().mean()):.2f} of the faces that wear it, at strength {strengths[1]:g}\n",
        flush=True,
    )
