"""``singular-edit apply``: attributes on all pictures of a folder. Every edit is one of ``singular_edit.attach``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..backends.pipeline.pictures import Sides, pictures_of, pil_pictures
from ..backends.sheets import labelled, side_by_side
from ..core.errors import EditError, plain_text
from ..core.recipes.attributes import Attribute, advised_strength, load_attribute
from ..demo.attributes import FOLDER, readout_path
from .folder import ENDINGS, Job
from .reading import Picture, read_picture
from .task import Made, Task, decibels
from .writing import encoded, ending_of

if TYPE_CHECKING:
    from ..backends.pipeline.attached import AttachedPipeline

SHEET_ENDING = ".png"


@dataclass(frozen=True)
class WeightedFile:
    """An attribute's file and its weight.

    Attributes:
        path: The file.
        weight: What every strength is multiplied by; None where none was said.
    """

    path: Path
    weight: float | None = None

    @classmethod
    def of(cls, text: str) -> WeightedFile:
        """Read what the command line says: "hat.safetensors", "hat.safetensors=0.5", or the name of a shipped one.

        Raises:
            EditError: There is no such file, or the weight is no number.
        """
        name, divider, number = text.rpartition("=")
        if not divider or Path(text).exists():
            name, number = text, ""
        for path in (Path(name), readout_path(name), FOLDER / f"{name}.safetensors"):
            if path.is_file():
                break
        else:
            raise EditError(
                f"attribute '{plain_text(text)}' is no file; the file of an attribute, with =NUMBER behind it for its "
                "weight, or the name of one of the embedded model's is accepted."
            )
        try:
            weight = float(number) if number else None
        except ValueError:
            weight = math.nan
        if weight is not None and not math.isfinite(weight):
            raise EditError(f"attribute '{plain_text(text)}' has no number behind =; one such as =0.5 is accepted.")
        return cls(path.absolute(), weight)


@dataclass(frozen=True, kw_only=True)
class Apply(Task):
    """Attributes at one strength or several.

    Attributes:
        attributes: The attributes.
        strengths: A result each; () is one result at each attribute's weight, or as its file advises.
        mask: A picture that is white where pictures may change, or a folder of such, named as the pictures are.
        sheet: Whether all strengths are shown in one more picture, with labels.
        on_original: Whether the change alone is added to each picture, at its own size.
    """

    attributes: tuple[WeightedFile, ...]
    strengths: tuple[float, ...] = ()
    mask: Path | None = None
    sheet: bool = False
    on_original: bool = False

    def check(self) -> None:
        """Check the settings; see Task."""
        super().check()
        if not all(map(math.isfinite, self.strengths)):
            raise EditError("strength holds no finite number; numbers such as 0 0.5 1 are accepted.")
        if self.mask is not None and not self.mask.exists():
            raise EditError(
                f"mask '{plain_text(self.mask)}' does not exist; a picture, or a folder of them, is accepted."
            )

    def results(self, picture: PurePosixPath, called: str) -> tuple[str, ...]:
        """Name a file for each strength, and one for the sheet; see Task."""
        ending = ending_of(picture.name, self.format)
        names = [f"{called}_{strength:g}{ending}" for strength in self.strengths] or [f"{called}{ending}"]
        if self.sheet:
            names.append(f"{called}_sheet{SHEET_ENDING}")
        return tuple((picture.parent / name).as_posix() for name in names)

    def settings(self) -> dict[str, str]:
        """Return what the results depend on; see Task."""
        files = [f"{_digest(one.path)} {one.weight}" for one in self.attributes]
        mask = None if self.mask is None else _digest(self.mask) if self.mask.is_file() else self.mask.name
        # Left out where it is off, so that a folder of an older version goes on.
        own = {"on_original": "True"} if self.on_original else {}
        return super().settings() | dict(
            command="apply",
            attributes=", ".join(files),
            strengths=", ".join(f"{strength:g}" for strength in self.strengths),
            mask=str(mask),
            sheet=str(self.sheet),
            **own,
        )

    def maker(self, edit: AttachedPipeline) -> Callable[[Job, Picture], Made]:
        """Return what edits a picture; see Task."""
        loaded = [(edit.load(one.path), one.weight) for one in self.attributes]
        weighted = {one: self._weight(one, weight) for one, weight in loaded}
        prompt = loaded[0][0].info.get("source_prompt", "") if self.prompt is None else self.prompt
        strengths = self.strengths or (1.0,)
        asked = dict(steps=self.steps, guidance=self.guidance, size=self.size)

        def make(job: Job, picture: Picture) -> Made:
            seed = picture.seed(self.seed)
            code = edit.invert(picture.image, prompt, seed=seed, **asked)
            round_trip = decibels(code.report, job.name)
            mask = self._mask(job, (code.latents.shape[-1], code.latents.shape[-2]))
            own = picture.image if self.on_original else None
            edited = [row[0] for row in edit(code, weighted, strengths=strengths, mask=mask, on_original=own)]
            files = [
                encoded(one, picture, os.path.splitext(name)[1]) for one, name in zip(edited, job.results, strict=False)
            ]
            if self.sheet:
                files.append(encoded(_sheet(edited, self._labels(weighted)), Picture(edited[0], b""), SHEET_ENDING))
            shown = [float(strength) for strength in self.strengths] or list(weighted.values())
            return Made(
                files,
                dict(strengths=shown, size=list(edited[0].size), seed=seed, round_trip_db=round_trip),
            )

        return make

    def _weight(self, attribute: Attribute, weight: float | None) -> float:
        """Return an attribute's strength where all strengths are 1."""
        if weight is not None:
            return weight
        return 1.0 if self.strengths else advised_strength(attribute)

    def _labels(self, weighted: dict[Attribute, float]) -> list[str]:
        """Return what stands above each picture of a sheet."""
        if self.strengths:
            return [f"{strength:g}" for strength in self.strengths]
        return [", ".join(f"{strength:g}" for strength in weighted.values())]

    def _mask(self, job: Job, size: tuple[int, int]) -> Tensor | None:
        """Return the mask of a picture, fitted as the picture is: [height, width] of a latent.

        Raises:
            EditError: There is none for this picture, or it cannot be read.
        """
        if self.mask is None:
            return None
        path = self.mask
        if path.is_dir():
            beside = [path / job.name, *(path / PurePosixPath(job.name).with_suffix(ending) for ending in ENDINGS)]
            found = [one for one in beside if one.is_file()]
            if not found:
                raise EditError(f"'{plain_text(job.name)}' has no mask of its name in '{plain_text(self.mask)}'.")
            path = found[0]
        return pictures_of(read_picture(path, self.max_pixels).image, Sides(1, 1), size)[0].mean(dim=0)


def check_attributes(attributes: tuple[WeightedFile, ...]) -> None:
    """Check that files hold attributes, before a model is loaded.

    Raises:
        EditError: One does not.
    """
    for one in attributes:
        load_attribute(one.path)


def _sheet(pictures: list[Image.Image], labels: list[str]) -> Image.Image:
    """Put pictures in a row, a label above each."""
    rows = [torch.from_numpy(np.array(picture)).float()[None] / 255 for picture in pictures]
    sheet = side_by_side(*(labelled(row, label) for row, label in zip(rows, labels, strict=True)))
    return pil_pictures(sheet.movedim(-1, 1))[0]


def _digest(path: Path) -> str:
    """Return the beginning of the SHA-256 of a file."""
    return sha256(path.read_bytes()).hexdigest()[:16]
