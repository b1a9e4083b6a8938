"""Plots as IMAGE, [1, H, W, 3].

matplotlib is imported when a plot is drawn. Without it, a plain picture says what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.errors import plain_text
from ..core.latent_svd.attribute import SVDAttribute

SIZE = (640, 400)
MAX_TITLE = 100
DPI = 100
SMOOTHING = 20  # training steps that the thick line of a learning curve averages
MAX_LABELS = 8  # channels that get a line in the legend


def spectra(attribute: SVDAttribute) -> Tensor:
    """Plot the singular values of source, target and edit, one colour for each channel."""

    def draw(axes: Any) -> None:
        source = attribute.source_spectrum
        target = attribute.target_spectrum
        for c in range(attribute.channels):
            color = f"C{c % 10}"
            axes.plot(range(1, source.shape[1] + 1), source[c], color=color, lw=1)
            axes.plot(range(1, target.shape[1] + 1), target[c], color=color, lw=1, ls="--")
            axes.plot(range(1, attribute.rank + 1), attribute.edit.s[c], color=color, lw=1.5, marker="o", ms=3)
        title = f"{attribute.name}: source (line), target (dashed), edit (dots)"
        axes.set(xlabel="atom", ylabel="singular value", yscale="log", title=title)

    return _figure(draw, f"{attribute.name}: {attribute.rank} atoms")


def latent_spectra(latent: Tensor, other: Tensor | None, noise: Tensor) -> Tensor:
    """Plot the singular values of one or two latents, [C, r], beside those of Gaussian noise, [r]."""

    def draw(axes: Any) -> None:
        atoms = range(1, len(noise) + 1)
        axes.plot(atoms, noise, color="0.6", lw=3, alpha=0.6, label="Gaussian noise")
        for c, values in enumerate(latent):
            color = f"C{c % 10}"
            label = f"channel {c + 1}" if len(latent) <= MAX_LABELS else None
            axes.plot(atoms, values, color=color, lw=1.5, marker="o", ms=3, label=label)
            if other is not None:
                axes.plot(atoms, other[c], color=color, lw=1, ls="--")
        what = "latent (line)" if other is None else "latent (line), other (dashed)"
        axes.set(xlabel="atom", ylabel="singular value", ylim=(0, None), title=f"{what}, at unit variance")
        axes.legend(fontsize=8)

    return _figure(draw, f"{len(latent)} channels, {len(noise)} atoms each")


def losses(values: list[float], title: str) -> Tensor:
    """Plot a learning curve, whose loss is relative to editing nothing."""

    def draw(axes: Any) -> None:
        axes.plot(values, lw=0.6, alpha=0.5)
        if len(values) > SMOOTHING:
            smooth = np.convolve(values, np.ones(SMOOTHING) / SMOOTHING, mode="valid")
            middle = range(SMOOTHING // 2 - 1, len(values) - SMOOTHING // 2)
            axes.plot(middle, smooth[: len(middle)], lw=2)
        axes.axhline(1, color="0.6", lw=1, ls=":")
        axes.set(xlabel="training step", ylabel="loss (1 = no edit)", ylim=(0, None), title=title)

    return _figure(draw, f"{title}: last loss {values[-1]:.3f}" if values else title)


def bars(values: Tensor, labels: list[str], title: str, ylabel: str) -> Tensor:
    """Plot one bar for each value [n], with its label below."""

    def draw(axes: Any) -> None:
        axes.bar(range(len(values)), values.numpy(), tick_label=labels)
        axes.tick_params(axis="x", rotation=60, labelsize=7)
        axes.set(ylabel=ylabel, title=title)

    return _figure(draw, title)


def curves(
    x: list[float],
    lines: dict[str, list[float]],
    title: str,
    xlabel: str,
    ylabel: str,
    *,
    marks: dict[str, float] | None = None,
    falling: bool = False,
) -> Tensor:
    """Plot several lines over x.

    Args:
        x: Where the values of each line stand.
        lines: Values by the name of the line.
        title: Title of the plot.
        xlabel: What x is.
        ylabel: What the values are.
        marks: Places on x that are marked in the colour of a line, by the name of the line.
        falling: Whether x runs from large to small, on a log scale.

    Returns:
        The plot.
    """
    marks = marks or {}

    def draw(axes: Any) -> None:
        for i, (name, values) in enumerate(lines.items()):
            axes.plot(x, values, lw=1.8, marker=".", color=f"C{i}", label=name)
            if name in marks:
                axes.axvline(marks[name], color=f"C{i}", ls="--", lw=1)
        if falling:
            axes.set(xscale="log", xlim=(max(x) * 1.1, min(x) / 1.1))
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
        lowest = min(min(values) for values in lines.values())
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(min(0, lowest), None), title=title)

    return _figure(draw, title)


def _figure(draw: Callable[[Any], None], fallback: str) -> Tensor:
    """Return what ``draw`` puts on a figure's axes; without matplotlib, the fallback as text."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("Singular Edit: matplotlib is not installed, so plots are plain text. pip install matplotlib")
        return _text(f"{fallback}\n\nInstall matplotlib to see the plot here.")
    figure = Figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    # Names come from people and from files; matplotlib would read "$" and "^" in them as formulas.
    axes.set_title(plain_text(axes.get_title(), MAX_TITLE), parse_math=False)
    for text in [] if axes.get_legend() is None else axes.get_legend().get_texts():
        text.set_parse_math(False)
    canvas.draw()
    return _image(np.asarray(canvas.buffer_rgba())[..., :3])


def _text(message: str) -> Tensor:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).multiline_text((24, 24), message, fill="black")
    return _image(np.asarray(picture))


def _image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]
