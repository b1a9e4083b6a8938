"""Find after which block a transformer's image tokens are best read or moved.

    python benchmarks/layers.py                                             readouts, as shipped
    python benchmarks/layers.py --method combined --samples 96 --steps 300   a direction that moves h

For each block of the embedded transformer and each attribute one is learned there, and judged on held-out faces from
their traces. ``loss`` is what training ended with, relative to reading or moving nothing: 1 is no better.
defaults.BLOCK_DEPTH is chosen on faces 60000 and up. The recorded output is in benchmarks/results/layers.txt.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from singular_edit.core import Run
from singular_edit.core.hspace.learn_direction import METHODS
from singular_edit.core.hspace.trajectories import Trajectories
from singular_edit.core.layers import block_layer
from singular_edit.core.recipes import hspace
from singular_edit.core.recipes.defaults import THERE
from singular_edit.core.recipes.settings import READOUT, EditSettings, LearnSettings
from singular_edit.demo import faces, loader
from singular_edit.demo.architectures import TRANSFORMER
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.score import HEADER, score
from singular_edit.demo.evaluation.session import Session

CHOOSING_FACES = 60_000
LAST_LOSSES = 100  # training steps whose mean is printed


def learned(
    model: loader.DemoModel, name: str, settings: LearnSettings, recordings: dict[str, Trajectories]
) -> hspace.Learned:
    """Learn an attribute where h is.

    Args:
        model: The transformer.
        name: The attribute.
        settings: How to learn, and where.
        recordings: Trajectories by attribute, which are added to. They are the same for every block, but for the mean
            shift of h, which is what method difference takes.

    Returns:
        What was learned.
    """
    if settings.method == READOUT:
        return learning.learned_readout(model, name, settings)
    if name not in recordings or settings.method == "difference":
        recordings[name] = learning.trajectories(model, name, settings)
    recorded = recordings[name]
    run = Run(settings.training.batch, model.device)
    denoise = model.denoiser(model.source, cfg=settings.cfg, layer=settings.layer)
    return hspace.learn_from_trajectories(denoise, recorded, learning.schedule(model), settings, run=run)


def main() -> None:
    """Print a row for each attribute and block."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attributes", nargs="+", choices=faces.ATTRIBUTES, default=["glasses", "hat"])
    parser.add_argument("--blocks", type=int, nargs="+", help="their numbers; all if left out")
    parser.add_argument("--count", type=int, default=24, help="faces")
    parser.add_argument("--first", type=int, default=CHOOSING_FACES, help="seed of the first face")
    parser.add_argument("--method", choices=[READOUT, *METHODS], default=READOUT)
    parser.add_argument("--strengths", type=float, nargs="+", default=[THERE])
    parser.add_argument("--samples", type=int, help="noises; as shipped if left out")
    parser.add_argument("--steps", type=int, help="training steps; as shipped if left out")
    args = parser.parse_args()
    settings = LearnSettings.for_method(args.method)
    training = replace(settings.training, steps=args.steps or settings.training.steps)
    settings = replace(settings, samples=args.samples or settings.samples, training=training)
    model = loader.load("cpu", TRANSFORMER.name)
    blocks = args.blocks or range(len(model.network.transformer_blocks))
    print(f"{args.count} faces from seed {args.first}, traced\n{'':<34s}{HEADER[34:]} {'loss':>8s}")
    recordings: dict[str, Trajectories] = {}
    for name in args.attributes:
        for block in blocks:
            s = Session(model, model.sample(range(args.first, args.first + args.count)), name, traced=True)
            found = learned(model, name, replace(settings, layer=block_layer(block)), recordings)
            last = found.losses[-LAST_LOSSES:]
            for strength in args.strengths:
                edited = edits.asyrp(s, found.direction, EditSettings(strength))
                label = f"{name}, after block {block}" + ("" if strength == THERE else f", strength {strength:g}")
                print(f"{score(s, edited).row(label)} {sum(last) / max(len(last), 1):8.2f}", flush=True)


if __name__ == "__main__":
    main()
