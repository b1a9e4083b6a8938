"""``singular-edit learn``: an attribute from two prompts, as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import EditError, plain_text
from ..core.file_names import FORBIDDEN, MAX_BYTES, RESERVED, check_file_name
from ..core.recipes.attributes import describe
from ..core.recipes.defaults import STEPS
from ..core.recipes.settings import EFFORTS, PairSettings, pair_count
from .folder import check_exists, pictures_in
from .models import ModelChoice
from .reading import read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..backends.pipeline.pictures import Size

ENDING = ".safetensors"


@dataclass(frozen=True)
class Learn:
    """An attribute that is to be learned.

    Attributes:
        source: What pictures show without it.
        target: The same words with it.
        output: The file; None is the attribute's name in this folder, with "_" for what names of files cannot have.
        name: What it is called; "" is the target.
        method: How it is learned; None takes the library's default.
        effort: From how many random pictures.
        steps: Sampling steps to learn at.
        size: Size of the pictures that are drawn while learning.
        seed: Of these pictures.
        pictures: A folder of pictures, or one, that show ``source``, to learn from in place of random ones; None has
            none.
        model: The model.
    """

    source: str
    target: str
    output: Path | None = None
    name: str = ""
    method: str | None = None
    effort: str = "good"
    steps: int = STEPS
    size: Size = None
    seed: int = 0
    pictures: Path | None = None
    model: ModelChoice = field(default_factory=ModelChoice)

    def run(self) -> int:
        """Learn it and write its file.

        Returns:
            The exit status.

        Raises:
            EditError: A text, a setting or a picture is not accepted, or the file is there already, or it cannot be
                written.
        """
        from ..backends.pipeline.attached import attach

        for called, text in (("SOURCE", self.source), ("TARGET", self.target)):
            if not text.strip():
                raise EditError(f"{called} is blank; a text that says what pictures show is accepted.")
        name = self.name or self.target
        path = self.output or self._own_path()
        if os.path.lexists(path):
            raise EditError(f"'{plain_text(path)}' is there already; a new file's name, with --output, is accepted.")
        self.model.check()
        pictures = None if self.pictures is None else self._read(self.pictures)
        check_writable(path)
        pipe = self.model.open()
        pipe.set_progress_bar_config(disable=False)
        with attach(pipe) as edit:
            attribute = edit.learn(
                self.source,
                self.target,
                name=name,
                method=self.method,
                effort=self.effort,
                steps=self.steps,
                size=self.size,
                seed=self.seed,
                pictures=pictures,
            )
        attribute.save(path)
        print(f"{describe(attribute)}\nSaved as {path}.")
        return 0

    def _own_path(self) -> Path:
        """Return the file where none was said: of a name as it is, or of the target as far as files are called so."""
        return Path(check_file_name(self.name + ENDING, "name") if self.name else file_name_of(self.target))

    def _read(self, source: Path) -> Iterator[Image]:
        """Read as many pictures as can be learned from, one by one, and say so where there are more."""
        check_exists(source)
        folder = source if source.is_dir() else source.parent
        settings = PairSettings(count=pair_count(EFFORTS[self.effort]))
        names = pictures_in(source)
        if said := settings.pictures_left_out(len(names)):
            print(said)
        return (read_picture(folder / name).image for name in names[: settings.drawn])


def file_name_of(text: str) -> str:
    """Return the name of an attribute's file that every system takes, as near to a text as there is one.

    Args:
        text: Any text that is not blank.

    Returns:
        The name, without a folder.
    """
    plain = "".join("_" if one in f"{FORBIDDEN}/" or not one.isprintable() else one for one in text.strip())
    short = plain.encode()[: MAX_BYTES - len(ENDING)].decode(errors="ignore").strip()
    name = short + ENDING
    return f"_{name}" if RESERVED.fullmatch(name) else name


def check_writable(path: Path) -> None:
    """Check that a new file can be written, before hours are spent on what it is to hold.

    Args:
        path: The file, which does not exist; missing folders are made.

    Raises:
        EditError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Of the file's own name, because names can be too long.
        path.open("xb").close()
        path.unlink()
    except (OSError, ValueError) as error:
        raise EditError(
            f"'{plain_text(path.name)}' cannot be written in the folder '{plain_text(path.absolute().parent, 300)}' "
            f"({plain_text(getattr(error, 'strerror', None) or error)}); another file, with --output, is accepted."
        ) from error
