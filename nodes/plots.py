"""Plots as IMAGE. matplotlib is imported when one is drawn; without it a plain picture says so."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor

from ..core.latent_svd.attribute import SVDAttribute

SIZE = (640, 400)


def spectra(attribute: SVDAttribute) -> Tensor:
    """Singular values of source, target and edit, a colour a channel: [1, H, W, 3]."""

    def draw(axes) -> None:
        for c in range(attribute.channels):
            color = f"C{c % 10}"
            axes.plot(range(1, attribute.source_spectrum.shape[1] + 1), attribute.source_spectrum[c], color=color, lw=1)
            axes.plot(
                range(1, attribute.target_spectrum.shape[1] + 1),
                attribute.target_spectrum[c],
                color=color,
                lw=1,
                ls="--",
            )
            axes.plot(range(1, attribute.rank + 1), attribute.edit.s[c], color=color, lw=1.5, marker="o", ms=3)
        axes.set(
            xlabel="atom",
            ylabel="singular value",
            yscale="log",
            title=f"{attribute.name}: source (line), target (dashed), edit (dots)",
        )

    return _figure(draw, f"{attribute.name}: {attribute.rank} atoms")


def latent_spectra(latent: Tensor, other: Tensor | None, noise: Tensor) -> Tensor:
    """Singular values [C, r] of one or two latents beside those of Gaussian noise [r]: [1, H, W, 3]."""

    def draw(axes) -> None:
        saliency_weight = range(1, len(noise) + 1)
        axes.plot(saliency_weight, noise, color="0.6", lw=3, alpha=0.6, label="Gaussian noise")
        for c, values in enumerate(latent):
            axes.plot(
                saliency_weight,
                values,
                color=f"C{c % 10}",
                lw=1.5,
                marker="o",
                ms=3,
                label=f"channel {c + 1}" if len(latent) <= 8 else None,
            )
            if other is not None:
                axes.plot(saliency_weight, other[c], color=f"C{c % 10}", lw=1, ls="--")
        axes.set(
            xlabel="atom",
            ylabel="singular value",
            ylim=(0, None),
            title="latent (line)" + (", other (dashed)" if other is not None else "") + ", at unit variance",
        )
        axes.legend(fontsize=8)

    return _figure(draw, f"{len(latent)} channels, {len(noise)} atoms each")


def losses(values: list[float], title: str) -> Tensor:
    """A learning curve, relative to editing nothing: [1, H, W, 3]."""

    def draw(axes) -> None:
        axes.plot(values, lw=0.6, alpha=0.5)
        if len(values) > 20:
            axes.plot(
                range(9, len(values) - 10),
                np.convolve(values, np.ones(20) / 20, mode="valid")[: len(values) - 19],
                lw=2,
            )
        axes.axhline(1, color="0.6", lw=1, ls=":")
        axes.set(xlabel="step", ylabel="loss (1 = no edit)", ylim=(0, None), title=title)

    return _figure(draw, f"{title}: last loss {values[-1]:.3f}" if values else title)


def bars(values: Tensor, labels: list[str], title: str, ylabel: str) -> Tensor:
    def draw(axes) -> None:
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
    marks: dict[str, float] | None = None,
    falling: bool = False,
) -> Tensor:
    """One line a name over x; a mark stands at a place under the name of its line. falling: x runs from large to small, on a log scale."""

    def draw(axes) -> None:
        for i, (name, values) in enumerate(lines.items()):
            axes.plot(x, values, lw=1.8, marker=".", color=f"C{i}", label=name)
            if name in (marks or {}):
                axes.axvline(marks[name], color=f"C{i}", ls="--", lw=1)
        if falling:
            axes.set(xscale="log", xlim=(max(x) * 1.1, min(x) / 1.1))
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
        axes.set(
            xlabel=xlabel, ylabel=ylabel, ylim=(min(0, *(min(values) for values in lines.values())), None), title=title
        )

    return _figure(draw, title)


def _figure(draw, fallback: str) -> Tensor:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("Singular Edit: matplotlib is not installed, so plots are plain text. pip install matplotlib")
        return _text(f"{fallback}\n\nInstall matplotlib to see the plot here.")
    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    canvas.draw()
    return _image(np.asarray(canvas.buffer_rgba())[..., :3])


def _text(message: str) -> Tensor:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(picture).multiline_text((24, 24), message, fill="black")
    return _image(np.asarray(picture))


def _image(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / 255)[None]
