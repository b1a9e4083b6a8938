"""``singular-edit learn``: an attribute from two prompts, as a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import EditError, plain_text
from ..core.file_names import check_file_name
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
        output: The file; None is the attribute's name in this folder.
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
            EditError: A setting or a picture is not accepted, or the file is there already.
        """
        from ..backends.pipeline.attached import attach

        name = self.name or self.target
        path = self.output or Path(check_file_name(name + ENDING, "name"))
        if path.exists():
            raise EditError(f"'{plain_text(path)}' is there already; a new file's name, with --output, is accepted.")
        self.model.check()
        pictures = None if self.pictures is None else self._read(self.pictures)
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

    def _read(self, source: Path) -> list[Image]:
        """Read as many pictures as can be learned from."""
        check_exists(source)
        folder = source if source.is_dir() else source.parent
        most = PairSettings(count=pair_count(EFFORTS[self.effort])).drawn
        return [read_picture(folder / name).image for name in pictures_in(source)[:most]]
