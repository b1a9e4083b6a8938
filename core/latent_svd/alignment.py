"""Where an attribute lies in a picture: pairs whose edits lie in different places are moved onto each other.

A mean of pairs brings what they share in one place. Where heads lie elsewhere in every picture, hats share next to
nothing there. So the edits are moved onto each other (congealing: each is moved to where it agrees most with the mean
of the others, until none moves; Learned-Miller, IEEE TPAMI 2006), and the attribute is learned from the moved pairs.

To which place another picture's code is to be moved is told by a correlation filter k that is learned from the pairs'
own sources x_i, moved likewise. It answers with a peak g at the origin to each of them, by ridge regression at every
frequency, over all channels together (MOSSE: Bolme et al., CVPR 2010; several channels: Galoogahi et al., ICCV 2013):

    K = (mean of conj(X_i) X_i^T + RIDGE * power)^-1 (mean of conj(X_i) G)         power: mean of |X|^2

On another code the peak of k * x lies where that picture has what the pairs had at the origin. Whether it is found is
measured: each pair is left out once, and moved to where the filter of the others finds it. Only where it then agrees
better with the others than pairs as they lie, and than pairs that are moved by what was found for another one, is
anything moved at all. Moving a mean of pairs is ours, in neither paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .pair_notes import share_in

# Share of the mean power that is added at every frequency. From a hundredth to 1 a left-out pair agrees with the others
# alike: .28 to .32 for hats of a model where heads lie up to a quarter of the side apart, .14 where nothing is moved.
RIDGE = 1.0
# Width of the peak, as a share of the shorter side: one place of 32.
PEAK_WIDTH = 1 / 32
# How far a code is moved at most, as a share of its sides.
REACH = 1 / 4
# Standard errors by which left-out pairs must agree better: less comes by chance in one of forty.
CHANCE = 2.0
# Key of an attribute's info: the share of left-out pairs whose place was found.
FOUND = "place_found"
# Each round moves every edit once; it ends earlier where none moves any more.
MAX_ROUNDS = 16


class Alignment(NamedTuple):
    """How pairs are moved onto each other.

    Attributes:
        shifts: By how many places each pair is moved, down and to the right, [B, 2].
        correlation_filter: The correlation filter k, [C, H, W].
        found: Share of the pairs whose place the filter of the others finds, to within the width of a peak.
    """

    shifts: Tensor
    correlation_filter: Tensor
    found: float


def align_pairs(x: Tensor, edits: Tensor) -> Alignment | None:
    """Move pairs onto each other, where that lets a filter find the place of a pair that was left out.

    Args:
        x: Codes of the source prompt at unit variance, [B, C, H, W]; 3 or more.
        edits: The edit of each pair, like x.

    Returns:
        The alignment; None where left-out pairs agree with the others no better than as they lie, or as by chance.
    """
    x, edits = x.double(), edits.double()
    shifts = _congealed(edits)
    aligned = moved(x, shifts)
    aligned_edits = moved(edits, shifts)
    others = (torch.cat([aligned[:i], aligned[i + 1 :]]) for i in range(len(x)))
    found = torch.cat([find_shifts(_filter(rest), one[None]) for rest, one in zip(others, x, strict=True)])
    near = (found - shifts).abs().amax(1) <= max(1, round(PEAK_WIDTH * min(x.shape[-2:])))
    share = float(near.double().mean())
    agreement = _agreement(moved(edits, found), aligned_edits)
    for without in (_agreement(edits, edits), _by_chance(edits, found, aligned_edits)):
        gained = agreement - without
        if gained.mean() <= CHANCE * gained.std() / len(gained) ** 0.5:
            return None
    return Alignment(shifts, _filter(aligned).float(), share)


def alignment_note(info: Mapping[str, str]) -> str:
    """Return what is said of an attribute with a correlation filter, by its info."""
    text = "pairs were moved onto each other, and other pictures are moved likewise"
    found = share_in(info, FOUND)
    return text if found is None else f"{text}: the place was found in {found:.0%} of pairs left out"


def find_shifts(correlation_filter: Tensor, x: Tensor) -> Tensor:
    """Return by how much codes are to be moved to lie as the attribute's pairs do.

    Args:
        correlation_filter: The correlation filter, [C, h, w].
        x: Codes of any scale, [B, C, H, W]; of another size they are looked at in the filter's.

    Returns:
        Places down and to the right, [B, 2] integers; at most REACH of either side.
    """
    height, width = correlation_filter.shape[-2:]
    code = x.to("cpu", torch.float64)
    if code.shape[-2:] != correlation_filter.shape[-2:]:
        code = torch.nn.functional.interpolate(code, (height, width), mode="bilinear", antialias=True)
    answer = torch.fft.irfft2(
        (torch.fft.rfft2(_centred(code)) * torch.fft.rfft2(correlation_filter.double())).sum(1), s=(height, width)
    )
    # What lies farther down is to be moved up.
    shifts = -_peak(answer)
    scale = torch.tensor([x.shape[-2] / height, x.shape[-1] / width], dtype=torch.float64)
    return (shifts * scale).round().long()


def moved(x: Tensor, shifts: Tensor) -> Tensor:
    """Move each code by its own shift; what leaves at one side comes in at the other.

    Args:
        x: Codes, [B, C, H, W].
        shifts: Places down and to the right, [B, 2] integers.

    Returns:
        The moved codes, like x.
    """
    pairs = zip(x, shifts.tolist(), strict=True)
    return torch.stack([code.roll((down, right), (-2, -1)) for code, (down, right) in pairs])


def _congealed(edits: Tensor) -> Tensor:
    """Return shifts that move each edit to where it agrees most with the mean of the others, [B, 2]."""
    shifts = torch.zeros(len(edits), 2, dtype=torch.long)
    spectra = torch.fft.rfft2(edits)
    for _ in range(MAX_ROUNDS):
        aligned = moved(edits, shifts)
        others = torch.fft.rfft2(aligned.sum(0) - aligned)
        agreement = torch.fft.irfft2((spectra.conj() * others).sum(1), s=edits.shape[-2:])
        before, shifts = shifts, _peak(agreement)
        # They agree as well wherever all lie together: as near as may be to where they lay.
        shifts = shifts - shifts.double().mean(0).round().long()
        if torch.equal(before, shifts):
            break
    return shifts


def _filter(x: Tensor) -> Tensor:
    """Return the correlation filter of sources that lie alike, [C, H, W]; the formula above."""
    height, width = x.shape[-2:]
    spectra = torch.fft.rfft2(_centred(x))
    down, right = (torch.fft.fftfreq(side, 1 / side, dtype=torch.float64) for side in (height, width))
    distance = down[:, None].square() + right.square()
    peak = torch.fft.rfft2(torch.exp(-distance / (2 * (PEAK_WIDTH * min(height, width)) ** 2)))
    power = torch.einsum("bchw,bdhw->hwcd", spectra.conj(), spectra) / len(x)
    answer = (spectra.conj() * peak).mean(0).permute(1, 2, 0)
    ridge = RIDGE * power.diagonal(dim1=-2, dim2=-1).real.mean().clamp(min=1e-12)
    solved = torch.linalg.solve(power + ridge * torch.eye(x.shape[1], dtype=torch.float64), answer)
    correlation_filter: Tensor = torch.fft.irfft2(solved.permute(2, 0, 1), s=(height, width))
    return correlation_filter


def _peak(answer: Tensor) -> Tensor:
    """Return where each answer is largest within reach of the origin, [B, 2] for [B, H, W]."""
    height, width = answer.shape[-2:]
    down, right = (torch.arange(-reach, reach + 1) for reach in (int(REACH * height), int(REACH * width)))
    within = answer[:, down][:, :, right].flatten(1).argmax(1)
    return torch.stack([down[within // len(right)], right[within % len(right)]], 1)


def _agreement(edits: Tensor, aligned: Tensor) -> Tensor:
    """Return the cosine between each edit and the mean of the other aligned ones, [B]."""
    others = aligned.sum(0) - aligned
    return torch.cosine_similarity(edits.flatten(1), others.flatten(1))


def _by_chance(edits: Tensor, found: Tensor, aligned: Tensor) -> Tensor:
    """Return how each edit agrees with the others in the mean where it is moved by what was found for another, [B]."""
    turns = range(1, len(edits))
    return torch.stack([_agreement(moved(edits, found.roll(by, 0)), aligned) for by in turns]).mean(0)


def _centred(x: Tensor) -> Tensor:
    """Return codes without the mean of each channel, which says nothing of where something lies."""
    return x - x.mean((-2, -1), keepdim=True)
