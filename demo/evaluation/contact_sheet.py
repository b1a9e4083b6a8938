"""The contact sheet: one row a face, source, edits at rising strength, counterfactual."""

from __future__ import annotations

from pathlib import Path

from ...core.recipes.defaults import H_STRENGTH
from ..faces import counterfactuals
from .score import psnr


def contact_sheet(rows, strengths, path: Path) -> None:
    """rows: (label, session, [pictures at each strength]); writes a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = sum(len(session.faces) for _, session, _ in rows)
    columns = ["picture", *(f"strength {s:g}" for s in strengths), "counterfactual"]
    figure = Figure(figsize=(1.25 * len(columns) + 1, 1.25 * count + 0.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, len(columns), squeeze=False)
    line = 0
    for label, session, edits in rows:
        truths = counterfactuals(session.faces, session.attribute)
        # Of a hat of any colour show the one nearest to the edit at the shipped strength.
        nearest = psnr(truths, edits[strengths.index(H_STRENGTH)].cpu()).argmax(dim=0)
        for face in range(len(session.faces)):
            pictures = [session.pictures[face], *(edit[face] for edit in edits), truths[nearest[face], face]]
            for axis, picture, title in zip(axes[line], pictures, columns):
                axis.imshow(picture.detach().cpu().permute(1, 2, 0).numpy(), interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
                if line == 0:
                    axis.set_title(title, fontsize=9)
            axes[line][0].set_ylabel(label, fontsize=8)
            line += 1
    figure.savefig(path)
