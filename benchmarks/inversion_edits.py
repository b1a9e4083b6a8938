"""Measure how much of an edit's quality hangs on the inversion: ``python benchmarks/inversion_edits.py``.

The edit is the plainest there is, another prompt on the way back (guidance 1.5, 25 steps). It starts from the codes of
three inversions of the same held-out renders: fixed_point and ddim, resampled by euler, and O-BELM, resampled by its
own sampler. *rounding* is how much the way back multiplies an error in the code.
A recorded output is in benchmarks/results/inversion_edits.txt.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from singular_edit.core import belm_inversion, ddim_inversion, fixed_point_inversion, sample_belm, sample_euler
from singular_edit.core.inversion.belm import CodePair
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from torch import Tensor

ERROR_SIZE = 1e-3  # relative size of the error that is put into a code

# (denoiser, code, sigmas) -> latents
Sampler = Callable[[Any, Any, Tensor], Tensor]


def methods(s: Session) -> dict[str, tuple[Tensor | CodePair, Sampler]]:
    """Return each inversion's codes of the session's pictures under the source prompt, and the sampler back."""
    source = s.denoiser()
    upper, lower = belm_inversion(source, s.latents, s.sigmas)
    return {
        "fixed_point, euler": (fixed_point_inversion(source, s.latents, s.sigmas)[0], sample_euler),
        "ddim, euler": (ddim_inversion(source, s.latents, s.sigmas)[0], sample_euler),
        "O-BELM, own sampler": ((upper.float(), lower.float()), sample_belm),
    }


def error_growth(s: Session, code: Tensor | CodePair, sampler: Sampler) -> float:
    """Return how much larger, relative to its size, a random change of the code is in the latent.

    Of a pair of codes the first is changed.
    """
    upper = code[0] if isinstance(code, tuple) else code
    noise = torch.randn(upper.shape, generator=torch.Generator().manual_seed(0)).to(upper)
    changed = upper + ERROR_SIZE * noise * upper.std()
    changed_code = (changed, code[1]) if isinstance(code, tuple) else changed
    latent = sampler(s.denoiser(), code, s.sigmas)
    changed_latent = sampler(s.denoiser(), changed_code, s.sigmas)
    after = (changed_latent - latent).norm() / latent.norm()
    before = (changed - upper).norm() / upper.norm()
    return float(after / before)


def main() -> None:
    """Print a table for each attribute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=48, help="held-out renders for each attribute")
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    args = parser.parse_args()
    model = loader.load()
    for attribute in args.attributes:
        s = Session(model, faces.sample(range(HELD_OUT, HELD_OUT + args.count)), attribute)
        print(f"{attribute:<34s}{HEADER[34:]}   rounding")
        for name, (code, sampler) in methods(s).items():
            edited = model.decode(sampler(s.denoiser(s.target), code, s.sigmas))
            print(f"{score(s, edited).row(name)}{error_growth(s, code, sampler):11.2f}", flush=True)
        print()


if __name__ == "__main__":
    main()
