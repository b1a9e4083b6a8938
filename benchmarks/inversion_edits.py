"""What an edit keeps depends on the code it starts from: ``python benchmarks/inversion_edits.py``.

The plainest edit there is, another prompt on the way back (guidance 1.5, 25 steps), from the codes of three inversions of the same held-out renders:
fixed_point and ddim, resampled by euler, and O-BELM, resampled by its own sampler. *rounding*: how much O-BELM's way back multiplies an error put into its code.
"""

from __future__ import annotations

import argparse

import torch
from singular_edit.core import belm_inversion, ddim_inversion, fixed_point_inversion, sample_belm, sample_euler
from singular_edit.demo import faces, loader
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session

SEED = 50_000
PUSH = 1e-3  # relative size of the error


def methods(s: Session) -> dict:
    """Name to (code, sampler): codes under the source prompt."""
    source = s.denoiser()
    return {
        "fixed_point, euler": (fixed_point_inversion(source, s.latents, s.sigmas)[0], sample_euler),
        "ddim, euler": (ddim_inversion(source, s.latents, s.sigmas)[0], sample_euler),
        "O-BELM, own sampler": (
            tuple(part.float() for part in belm_inversion(source, s.latents, s.sigmas)),
            sample_belm,
        ),
    }


def growth(s: Session, code, sampler) -> float:
    """How much larger, relative to its size, a random change of the code is in the latent."""
    first, rest = (code[0], code[1:]) if isinstance(code, tuple) else (code, ())
    noise = torch.randn(first.shape, generator=torch.Generator().manual_seed(0)).to(first)
    moved = first + PUSH * noise * first.std()
    plain, pushed = (sampler(s.denoiser(), (start, *rest) if rest else start, s.sigmas) for start in (first, moved))
    return float(((pushed - plain).norm() / plain.norm()) / ((moved - first).norm() / first.norm()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=48, help="held-out renders an attribute")
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=list(faces.ATTRIBUTES))
    args = parser.parse_args()
    model = loader.load()
    for attribute in args.attributes:
        s = Session(model, faces.sample(range(SEED, SEED + args.count)), attribute)
        print(f"{attribute:<34s}{HEADER[34:]}   rounding")
        for name, (code, sampler) in methods(s).items():
            edited = model.decode(sampler(s.denoiser(s.target), code, s.sigmas))
            print(f"{score(s, edited).row(name)}{growth(s, code, sampler):11.2f}", flush=True)
        print()


if __name__ == "__main__":
    main()
