"""Write into the attribute files that ship with the embedded model what they say of themselves.

    python -m singular_edit.demo.evaluation.attribute_info                        tensors stay as they are, bit for bit
    python -m singular_edit.demo.evaluation.attribute_info --learn readout svd    those are learned anew first

The preview is one held-out face, before and after.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors import safe_open
from torch.nn import functional as F

from ...backends.previews import preview_text
from ...core.files import read_kind, write
from ...core.latent_svd.attribute import SVDAttribute
from ...core.latent_svd.pair_notes import notes
from ...core.recipes import defaults
from ...core.recipes.attributes import Attribute, advice, load_attribute
from ...core.recipes.settings import READOUT, LearnSettings
from .. import faces, loader
from ..architectures import UNET
from ..attributes import FOLDER, readout_path, svd_path
from ..enlarge import SHOWN_SIDE
from ..families import FAMILIES
from ..words import caption
from . import edits, learning
from .session import SOURCE, Session

PREVIEW_FACE = 50_001
PREVIEW_SCALE = 2


def info_of(attribute: Attribute, name: str, model: loader.DemoModel) -> dict[str, str]:
    """Return what the file of an attribute says of itself.

    Args:
        attribute: The attribute.
        name: The word that its prompts differ in.
        model: The embedded model, which draws the preview.
    """
    is_svd = isinstance(attribute, SVDAttribute)
    cfg = defaults.LEARN_GUIDANCE if is_svd else LearnSettings.for_method(READOUT).cfg
    session = Session(model, faces.sample([PREVIEW_FACE]), name, traced=True)
    edited = edits.svd_apply(session, attribute) if is_svd else edits.asyrp(session, attribute)
    pair = torch.cat([session.pictures, edited], dim=-1)
    enlarged = F.interpolate(pair, scale_factor=PREVIEW_SCALE, mode="nearest")
    return {
        **attribute.info,
        **FAMILIES[UNET.name].info(),
        **advice(attribute, SOURCE, caption([name])),
        "cfg": f"{cfg:g}",
        "steps": str(defaults.STEPS),
        "width": str(SHOWN_SIDE),
        "height": str(SHOWN_SIDE),
        "preview": preview_text(enlarged.movedim(1, -1)),
    }


def rewrite(path: Path, model: loader.DemoModel) -> None:
    """Write a file's info anew, where it changed; its name begins with the attribute's."""
    attribute = load_attribute(path)
    info = info_of(attribute, path.name.split(".", maxsplit=1)[0], model)
    info |= {"creator": "Singular Edit", "licence": "MIT"}
    # A header's entries are written in an order of their own, so that the same info would make another file.
    if info == attribute.info:
        return
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    numbers = {}
    if isinstance(attribute, SVDAttribute):
        numbers = {"sigma": attribute.sigma, "target_sigma": attribute.target_sigma}
    write(path, read_kind(path), tensors, info, **numbers)


def learn_readouts(model: loader.DemoModel) -> None:
    """Learn the readout of every attribute at the shipped settings, and write it in half precision."""
    for name in faces.ATTRIBUTES:
        learned = learning.learned_readout(model, name)
        readout = learned.direction
        halves = {key: tensor.half() for key, tensor in readout.tensors.items()}
        write(readout_path(name), readout.kind, {**halves, "sigmas": readout.sigmas}, readout.info)
        print(f"{name}: {learned.start.text() if learned.start else ''} Strength 1 makes {learned.progress:.0%}.")


def learn_svd(model: loader.DemoModel) -> None:
    """Learn the mean of several pairs of every attribute at the shipped settings."""
    for name in faces.ATTRIBUTES:
        learned = learning.svd_attribute(model, name, seed=0)
        learned.save(svd_path(name))
        print(f"{name}: {'; '.join(notes(learned.info))}.")


LEARN = {READOUT: learn_readouts, "svd": learn_svd}


def main() -> None:
    """Rewrite the info of every file that ships, and learn those that --learn names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--learn", nargs="+", choices=LEARN, default=[], help="learn the files of this kind anew")
    arguments = parser.parse_args()
    model = loader.load()
    for kind in arguments.learn:
        LEARN[kind](model)
    for path in sorted(FOLDER.glob("*.safetensors")):
        rewrite(path, model)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
