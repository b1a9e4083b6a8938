"""Latent SVD Spectrum: the singular values of a latent, and how far apart the subspaces of two latents are."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.latents import latent_of
from ..core.errors import check_same_shape
from ..core.latent_svd.subspaces import band_energy, leading_angles, random_leading_distance
from ..core.latent_svd.svd import BANDS, channel_svd, standardise
from . import plots
from .inputs import ADVANCED

NOISE_CHANNELS = 8  # channels of the Gaussian noise that a latent is shown beside


class Spectrum(io.ComfyNode):
    """Singular values as a plot and as text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditSpectrum",
            display_name="Latent SVD Spectrum",
            category=ADVANCED,
            description=(
                "For the curious: how much of a latent is coarse and how much is fine (its singular values), "
                "as a plot and as numbers. With a second latent it also shows how alike their largest patterns are, "
                "compared with two random ones."
            ),
            inputs=[
                io.Latent.Input("latent", tooltip="Any latent: a picture's, or a half-finished one."),
                io.Int.Input(
                    "rank",
                    default=4,
                    min=1,
                    max=256,
                    tooltip="How many of the largest patterns (singular atoms) are compared with the other latent.",
                ),
                io.Latent.Input(
                    "other",
                    optional=True,
                    tooltip="Another latent of the same size: another step, another prompt or another seed.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip=(
                        "Singular values, one colour for each channel. "
                        "Dashed: the other latent. "
                        "Grey: Gaussian noise of the same size."
                    ),
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip=(
                        "How much is coarse, medium and fine. With other: "
                        "how far apart the two are (geodesic distances)."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], rank: int, other: dict[str, Any] | None = None) -> io.NodeOutput:
        """Plot the values and report the distances."""
        x, _ = standardise(latent_of(latent, "latent"))
        z = None
        if other is not None:
            z, _ = standardise(latent_of(other, "other"))
            # One picture is compared with each of the batch.
            z = z.expand(len(x), -1, -1, -1) if len(z) == 1 else z
            check_same_shape(x, z, "latent", "other")
        noise = torch.randn(1, NOISE_CHANNELS, *x.shape[-2:], generator=torch.Generator().manual_seed(0))
        plot = plots.latent_spectra(_spectrum(x), None if z is None else _spectrum(z), _spectrum(noise).mean(0))
        return io.NodeOutput(plot, _report(x, z, noise, rank))


def _spectrum(x: Tensor) -> Tensor:
    """Return the singular values of each channel, mean over the batch, [C, r]."""
    return channel_svd(x.double()).s.mean(0)


def _report(x: Tensor, z: Tensor | None, noise: Tensor, rank: int) -> str:
    """Return the energy in each band and channel, and the distances; means over the batch."""
    channels, height, width = x.shape[1:]
    lines = [
        f"{len(x)} x {channels} channels of {height} x {width}, at unit variance",
        "energy      " + "".join(f"{band:>8s}" for band in BANDS[1:]),
    ]
    for i, shares in enumerate(band_energy(x).mean(0), 1):
        lines.append(_energy_line(f"channel {i}", shares))
    lines.append(_energy_line("noise", band_energy(noise).mean((0, 1))))
    if z is not None:
        lines += ["", *_distance_lines(x, z, min(rank, height, width))]
    return "\n".join(lines)


def _energy_line(label: str, shares: Tensor) -> str:
    return f"{label:<12s}" + "".join(f"{share:8.1%}" for share in shares.tolist())


def _distance_lines(x: Tensor, z: Tensor, rank: int) -> list[str]:
    """Return how far apart the leading subspaces of x and z are, in each channel and on average."""
    channels, height, width = x.shape[1:]
    angles = leading_angles(x, z, rank)
    distances = angles.norm(dim=-1).mean((0, 1))
    chance = random_leading_distance(height, width, rank)
    lines = [
        f"leading {rank} atoms of latent and other: geodesic distance (0 = the same subspace), "
        "smallest and largest principal angle"
    ]
    for i in range(channels):
        degrees = angles[:, :, i].rad2deg()
        smallest = degrees[..., 0].mean()
        largest = degrees[..., -1].mean()
        lines.append(f"channel {i + 1:<4d}{distances[i]:8.3f}   {smallest:5.1f} to {largest:5.1f} degrees")
    share = distances.mean() / chance if chance else 0.0
    lines.append(f"mean        {distances.mean():8.3f}   {share:.0%} of the {chance:.3f} between two random subspaces")
    return lines


NODES = [Spectrum]
