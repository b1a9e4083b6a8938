"""The contact sheet: one row a face, with the picture, its edits at rising strength, and the true edited picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .score import nearest
from .session import Session

DPI = 100
TILE = 1.25  # inches


class SheetRows(NamedTuple):
    """The rows of one edit, a row a face.

    Attributes:
        label: What stands beside the rows.
        session: The faces.
        edits: Their pictures at each strength, [B, 3, side, side] in [0, 1] each.
    """

    label: str
    session: Session
    edits: list[Tensor]


def contact_sheet(rows: Sequence[SheetRows], strengths: Sequence[float], path: Path) -> None:
    """Draw the contact sheet.

    Args:
        rows: What is shown, an edit each.
        strengths: The strengths of each edit.
        path: The PNG that is written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = ["picture", *(f"strength {strength:g}" for strength in strengths), "true edit"]
    count = sum(len(row.session.faces) for row in rows)
    size = (TILE * len(columns) + 1, TILE * count + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, len(columns), squeeze=False)
    lines = iter(axes)
    for row in rows:
        truths = _nearest_truths(row)
        for face in range(len(row.session.faces)):
            tiles = [row.session.pictures[face], *(edit[face] for edit in row.edits), truths[face]]
            line = next(lines)
            for axis, tile in zip(line, tiles, strict=True):
                axis.imshow(tile.detach().cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
            line[0].set_ylabel(row.label, fontsize=8)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    figure.savefig(path)


def _nearest_truths(row: SheetRows) -> list[Tensor]:
    """Return each face's counterfactual: of a hat of any colour the one nearest to the strongest edit."""
    s = row.session
    truths = s.model.counterfactuals(s.faces, s.attribute, not s.has_attribute)
    return list(nearest(truths, row.edits[-1].cpu()))
