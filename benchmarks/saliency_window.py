"""Find how wide the window of the saliency weight should be, as a share of the latent.

    python benchmarks/saliency_window.py [--model transformer] [--reach 0.03125 0.0625 0.09375]

For each reach (core/saliency.py, WINDOW_REACH) and each attribute a readout is learned anew, its unit of strength with
it, and pairs of Latent SVD are learned and applied, all on held-out faces from their traces. The U-Net's latents have
16 places along each side, the transformer's 32. WINDOW_REACH is chosen on faces 60000 and up. The recorded output is in
benchmarks/results/saliency_window.txt.
"""

from __future__ import annotations

import argparse

from singular_edit.core import saliency
from singular_edit.core.recipes import defaults
from singular_edit.demo import faces
from singular_edit.demo.architectures import TRANSFORMER
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.evaluated import open_model
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session

CHOOSING_FACES = 60_000
REACHES = (1 / 32, 1 / 16, 3 / 32)


def main() -> None:
    """Print a row for each attribute, way and reach."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=TRANSFORMER.name, help="an embedded model, or a folder with model.py")
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=["glasses", "hat", "beard"])
    parser.add_argument("--reach", type=float, nargs="+", default=REACHES, help="shares of the latent's shorter side")
    parser.add_argument("--guidance", type=float, default=defaults.EDIT_GUIDANCE)
    parser.add_argument("--count", type=int, default=24, help="faces")
    parser.add_argument("--first", type=int, default=CHOOSING_FACES, help="seed of the first face")
    args = parser.parse_args()
    model = open_model(args.model)
    print(f"{args.count} faces from seed {args.first}, traced, guidance {args.guidance:g}\n{'':<34s}{HEADER[34:]}")
    for name in args.attributes:
        drawn = model.sample(range(args.first, args.first + args.count))
        for reach in args.reach:
            saliency.WINDOW_REACH = reach
            side = saliency.window_side(*model.latent_shape[-2:])
            s = Session(model, drawn, name, cfg=args.guidance, traced=True)
            ways = {
                "readout": edits.asyrp(s, learning.readout(model, name)),
                "own pair": edits.svd_own_pair(s),
            }
            for way, edited in ways.items():
                print(score(s, edited).row(f"{name}, {way}, {side} places"), flush=True)


if __name__ == "__main__":
    main()
