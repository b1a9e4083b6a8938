"""Measure whether moving the edit of one foreign pair to where the other picture wants it would help.

The shift is found in two ways: by trying shifts and taking the one whose picture is nearest to the true edit, which
nobody can do without knowing the true edit, and by correlating the two faces' predictions at T_x. This is a command of
benchmarks/latent_svd.py.
"""

from __future__ import annotations

import argparse
from itertools import product

import torch
from latent_svd_edits import SINGLE_PAIR_SEED
from singular_edit.core import learn_attribute
from singular_edit.core.latent_svd.apply import restore_channel_norm
from singular_edit.core.latent_svd.svd import channel_norm, compose, standardise
from singular_edit.core.latent_svd.transfer_gain import FOREIGN_GAIN
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.core.saliency import saliency_weight
from singular_edit.demo.evaluation import learning
from singular_edit.demo.evaluation.learned_files import SINGLE_PAIRS
from singular_edit.demo.evaluation.score import HEADER, psnr, score
from singular_edit.demo.evaluation.session import Session
from singular_edit.demo.faces import Faces
from singular_edit.demo.loader import DemoModel
from torch import Tensor
from torch.nn import functional as F

# Shifts that are tried along each axis, as shares of the latent's side; corners of the square are left out.
TRIED = (-1 / 16, -1 / 32, 0.0, 1 / 32, 1 / 16)
CORNER = 3 / 32
# Shifts that are correlated, likewise.
STEP = 1 / 64
REACH = 8
SMOOTHING = 1 / 32  # standard deviation of the blur before edges are taken
WINDOW = 1 / 8  # and of the blur of the weight that says where to compare
GAINS = (FOREIGN_GAIN, FOREIGN_GAIN / 2)


def run(model: DemoModel, drawn: Faces, args: argparse.Namespace) -> None:
    """Print the scores of one foreign pair without a shift, at the best one and at the one that correlation finds.

    Args:
        model: An embedded model.
        drawn: Held-out faces.
        args: attributes of the command line.
    """
    for name in args.attributes:
        s = Session(model, drawn, name)
        x = s.source_code(defaults.T_X_STEP)
        sources, targets = learning.accepted_pairs(model, name, SINGLE_PAIR_SEED, PairSettings(count=SINGLE_PAIRS))
        attributes = [learn_attribute(a[None], b[None]) for a, b in zip(sources, targets, strict=True)]
        owner = torch.cat([torch.full((len(part),), i) for i, part in enumerate(x.tensor_split(SINGLE_PAIRS))])
        change = torch.cat([compose(attribute.edit)[None] for attribute in attributes])[owner].to(x)
        shifts = {
            "no shift": torch.zeros(len(x), 2),
            "best shift": best_shift(s, x, change),
            "shift by correlation": correlated_shift(s, x, sources[owner.to(sources.device)], change),
        }
        print(f"{name + ', one foreign pair':<34s}" + HEADER[34:], flush=True)
        for gain in GAINS:
            for label, shift in shifts.items():
                edited = s.finish(add(x, gain * moved(change, shift)), defaults.T_X_STEP)
                print(score(s, edited).row(f"{label}, gain {gain:g}"), flush=True)


def moved(image: Tensor, shift: Tensor, padding: str = "zeros") -> Tensor:
    """Move latents [B, C, H, W] by shifts of (y, x) in shares of the side, [B, 2]; bicubic."""
    affine = torch.eye(2, 3).repeat(len(image), 1, 1)
    affine[:, :, 2] = -2 * shift.flip(-1)
    grid = F.affine_grid(affine, list(image.shape), align_corners=False).to(image)
    return F.grid_sample(image, grid, mode="bicubic", padding_mode=padding, align_corners=False)


def add(x: Tensor, change: Tensor) -> Tensor:
    """Add an edit of unit-variance codes to a code, as apply_attribute does; both [B, C, H, W]."""
    code, std = standardise(x)
    return restore_channel_norm(code + change, channel_norm(code), saliency_weight(change).clamp(max=1)) * std


def best_shift(s: Session, x: Tensor, change: Tensor) -> Tensor:
    """Return the shift of each picture whose edit is nearest to its true edit, [B, 2]."""
    true = s.model.counterfactuals(s.faces, s.attribute, True)
    tried = [shift for shift in product(TRIED, TRIED) if sum(map(abs, shift)) <= CORNER]
    found = []
    for shift in tried:
        there = torch.tensor([shift]).expand(len(x), 2)
        edited = s.finish(add(x, FOREIGN_GAIN * moved(change, there)), defaults.T_X_STEP)
        found.append(psnr(true, edited.cpu()).max(dim=0).values)
    return torch.tensor(tried)[torch.stack(found).argmax(dim=0)]


def correlated_shift(s: Session, x: Tensor, donors: Tensor, change: Tensor) -> Tensor:
    """Return the shift from the donor's face to the other one, by edges of both predictions near the edit, [B, 2]."""
    denoise, sigma = s.denoiser(), s.sigmas[defaults.T_X_STEP]
    wanted, given = (edges(standardise(denoise(code, sigma))[0]) for code in (x, donors))
    where = blurred(saliency_weight(change).clamp(max=1), WINDOW)
    tried = [(STEP * i, STEP * j) for i in range(-REACH, REACH + 1) for j in range(-REACH, REACH + 1)]
    found = []
    for shift in tried:
        there = torch.tensor([shift]).expand(len(x), 2)
        weight, seen = moved(where, there).clamp(min=0), moved(given, there, "border")
        energies = [(weight * part.square()).flatten(1).sum(1) for part in (seen, wanted)]
        along = (weight * seen * wanted).flatten(1).sum(1)
        found.append(along / (energies[0] * energies[1]).sqrt())
    return torch.tensor(tried)[torch.stack(found).argmax(dim=0).cpu()]


def edges(x: Tensor) -> Tensor:
    """Return the size of each channel's slope after a blur, about its mean; like x [B, C, H, W]."""
    slopes = torch.gradient(blurred(x, SMOOTHING), dim=(-2, -1))
    size = (slopes[0].square() + slopes[1].square()).sqrt()
    return size - size.mean(dim=(-2, -1), keepdim=True)


def blurred(x: Tensor, share: float) -> Tensor:
    """Blur x [B, C, H, W] by a Gaussian whose standard deviation is a share of the side."""
    deviation = share * x.shape[-1]
    reach = max(1, round(3 * deviation))
    kernel = torch.exp(-torch.arange(-reach, reach + 1).to(x).square() / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=x.shape[1]), kernel.mT, groups=x.shape[1])
