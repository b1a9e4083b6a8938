"""Make docs/gallery.md and its pictures, in a minute or two: ``python docs/gallery.py``.

No face is picked by hand. The first FACES held-out faces are edited at strength 1, ranked by how near each comes to its
true edited picture, and the one in the middle and the worst one are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from singular_edit.core import SVDAttribute, load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.contact_sheet import SheetRows, contact_sheet
from singular_edit.demo.evaluation.score import psnr, score
from singular_edit.demo.evaluation.session import HELD_OUT, Session
from singular_edit.demo.faces import ATTRIBUTES, Faces, counterfactuals, sample
from singular_edit.demo.loader import DemoModel, load
from torch import Tensor
from tqdm import tqdm

DOCS = Path(__file__).parent
FACES = 8
FULL = 1.0  # the strength that faces are ranked at
SVD_SHOWN = "glasses"

Edit = Callable[[Session, float], Tensor]

PAGE = f"""# Gallery

Held-out faces of the embedded model, inverted to a trace under "a face" at guidance {defaults.EDIT_GUIDANCE:g} and
edited at five strengths by the attribute files that come with the pack. This page and its pictures are made by

```sh
python docs/gallery.py
```

No face is picked by hand. The first {FACES} held-out faces (seeds {HELD_OUT} to {HELD_OUT + FACES - 1}) are edited at
strength {FULL:g} and ranked by how near each comes to its true edited picture, which the renderer of these faces knows.

- *middle*: the face in the middle of that ranking
- *worst*: the last face of that ranking
- *has it*: the first of these faces again, with the attribute in the picture to begin with; a negative strength takes
  it away

Strength 0 gives the picture back, up to what the model's VAE loses. In the last column is the true edited picture; for
a hat, which may have any of five colours, the nearest one. The worst faces show what goes wrong: blur, a colour of skin
or hair that changes, another feature that comes along. Tables over 200 faces are in [results.md](results.md). Each
picture is reduced to 256 colours.
"""


@dataclass(frozen=True)
class Strip:
    """One picture of the gallery.

    Attributes:
        attribute: What is edited.
        method: How, as the page names it.
        name: Of the picture's file.
        edit: Edits every picture of a session at a strength.
    """

    attribute: str
    method: str
    name: str
    edit: Edit


def main() -> None:
    """Write the page and its pictures."""
    model, page = load(), [PAGE]
    for strip in tqdm([*(readout_strip(name) for name in ATTRIBUTES), svd_strip(SVD_SHOWN)], unit="strip"):
        page.append(draw(model, strip))
    (DOCS / "gallery.md").write_text("\n".join(page))


def readout_strip(attribute: str) -> Strip:
    """Return the strip of a shipped readout."""
    direction = load_hdirection(readout_path(attribute))
    return Strip(attribute, "readout", attribute, lambda s, strength: edits.asyrp(s, direction, EditSettings(strength)))


def svd_strip(attribute: str) -> Strip:
    """Return the strip of a shipped SVD attribute."""
    learned = SVDAttribute.load(svd_path(attribute))
    return Strip(attribute, "Latent SVD", f"{attribute}_svd", lambda s, strength: edits.svd_apply(s, learned, strength))


def draw(model: DemoModel, strip: Strip) -> str:
    """Draw a strip into its file, and return its part of the page."""
    everyone = Session(model, sample(range(HELD_OUT, HELD_OUT + FACES)), strip.attribute, traced=True)
    edited = strip.edit(everyone, FULL)
    nearness = psnr(counterfactuals(everyone.faces, strip.attribute), edited.cpu()).max(dim=0).values
    ranking = nearness.argsort(descending=True).tolist()
    middle, worst = ranking[FACES // 2], ranking[-1]

    shown = [middle, worst]
    rows = slide(model, strip, everyone.faces[shown], ["middle", "worst"])
    rows += slide(model, strip, everyone.faces[[middle]], ["has it"], has_attribute=True)
    path = DOCS / "images" / f"{strip.name}.png"
    contact_sheet(rows, defaults.SHEET_STRENGTHS, path)
    Image.open(path).convert("RGB").quantize(256, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)

    judged = score(everyone, edited)
    return (
        f"## {strip.attribute.capitalize()}, {strip.method}\n\n"
        f"![{strip.attribute} at rising strength, by {strip.method}](images/{strip.name}.png)\n\n"
        f"At strength {FULL:g} a classifier sees the attribute in {round(judged.success * FACES)} of {FACES} faces, and"
        f" {judged.kept:.0%} of its other answers stay.\n"
        f"To the true edit: {judged.psnr:.1f} dB on average, {nearness[middle]:.1f} dB in the middle"
        f" (seed {HELD_OUT + middle}), {nearness[worst]:.1f} dB at worst (seed {HELD_OUT + worst}).\n"
    )


def slide(
    model: DemoModel, strip: Strip, faces: Faces, labels: list[str], *, has_attribute: bool = False
) -> list[SheetRows]:
    """Edit faces at every strength, and return a row of the contact sheet for each."""
    s = Session(model, faces, strip.attribute, has_attribute=has_attribute, traced=True)
    edited = [strip.edit(s, strength) for strength in defaults.SHEET_STRENGTHS]
    rows = []
    for face, label in enumerate(labels):
        one = replace(s, faces=faces[[face]], cache={})
        rows.append(SheetRows(label, one, [pictures[[face]] for pictures in edited]))
    return rows


if __name__ == "__main__":
    main()
