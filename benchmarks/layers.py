"""Find after which block a transformer's image tokens are best read or moved.

    python benchmarks/layers.py                                                         readouts, as shipped
    python benchmarks/layers.py --method combined --samples 48 --steps 200 --count 12   a direction that moves h

For each block of the embedded transformer and each attribute one is learned there, and judged on held-out faces from
their traces. ``loss`` is what training ended with, relative to reading nothing: 1 is no
better. defaults.BLOCK_DEPTH is chosen on faces 60000 and up. The recorded output is in benchmarks/results/layers.txt.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from singular_edit.core import Denoiser, Run
from singular_edit.core.hspace.learn_direction import METHODS
from singular_edit.core.layers import block_layer
from singular_edit.core.recipes import hspace
from singular_edit.core.recipes.settings import READOUT, LearnSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import TRANSFORMER
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session

CHOOSING_FACES = 60_000
LAST_LOSSES = 100  # training steps whose mean is printed


class AtBlock:
    """The embedded transformer with h after one of its blocks.

    Args:
        model: The model.
        block: The block's number.
    """

    def __init__(self, model: loader.DemoModel, block: int) -> None:
        self._model = model
        self._layer = block_layer(block)

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def denoiser(self, *args, **kwargs) -> Denoiser:
        """Return the model under two prompts, as the model itself does."""
        denoise = self._model.denoiser(*args, **kwargs)
        denoise.layer = self._layer
        return denoise


def learned(model: AtBlock, name: str, settings: LearnSettings) -> hspace.Learned:
    """Learn an attribute where h is."""
    if settings.method == READOUT:
        return edits.learned_readout(model, name, settings)
    recorded = edits.trajectories(model, name, settings)
    run = Run(settings.training.batch, model.device)
    denoise = model.denoiser(model.source, cfg=settings.cfg)
    return hspace.learn_from_trajectories(denoise, recorded, edits.schedule(model), settings, run=run)


def main() -> None:
    """Print a row for each attribute and block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=["glasses", "hat"])
    parser.add_argument("--blocks", type=int, nargs="+", help="their numbers; all if left out")
    parser.add_argument("--count", type=int, default=24, help="faces")
    parser.add_argument("--first", type=int, default=CHOOSING_FACES, help="seed of the first face")
    parser.add_argument("--method", choices=[READOUT, *METHODS], default=READOUT)
    parser.add_argument("--samples", type=int, help="noises; as shipped if left out")
    parser.add_argument("--steps", type=int, help="training steps; as shipped if left out")
    args = parser.parse_args()
    settings = LearnSettings.for_method(args.method)
    training = replace(settings.training, steps=args.steps or settings.training.steps)
    settings = replace(settings, samples=args.samples or settings.samples, training=training)
    model = loader.load("cpu", TRANSFORMER.name)
    blocks = args.blocks or range(len(model.network.transformer_blocks))
    print(f"{args.count} faces from seed {args.first}, traced\n{'':<34s}{HEADER[34:]} {'loss':>8s}")
    for name in args.attributes:
        for block in blocks:
            at_block = AtBlock(model, block)
            s = Session(at_block, model.sample(range(args.first, args.first + args.count)), name, traced=True)
            found = learned(at_block, name, settings)
            last = found.losses[-LAST_LOSSES:]
            row = score(s, edits.asyrp(s, found.direction)).row(f"{name}, after block {block}")
            print(f"{row} {sum(last) / len(last):8.2f}", flush=True)


if __name__ == "__main__":
    main()
