"""The pictures of a folder, and where what is made of them goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..core.errors import EditError, plain_text

# Endings of files that are taken for pictures.
ENDINGS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2"}


# What the results of a folder depend on, beside them.
SETTINGS = "settings.json"


class Job(NamedTuple):
    """A picture and its results.

    Attributes:
        name: The picture's name, from its folder on, with "/" between folders.
        results: Names of the results' files, from their folder on.
    """

    name: str
    results: tuple[str, ...]


def check_folders(source: Path, target: Path) -> None:
    """Check the folder of pictures and that of their results.

    Args:
        source: The folder of pictures, or one picture.
        target: The folder of the results; it need not exist.

    Raises:
        EditError: There are no pictures to be found, or results would lie among or over them.
    """
    check_exists(source)
    check_no_file(target)
    folder = source if source.is_dir() else source.parent
    if target.resolve() == folder.resolve() or target.resolve() in folder.resolve().parents:
        raise EditError(
            f"'{plain_text(target)}' holds the pictures themselves; another folder for the results is accepted."
        )


def check_exists(source: Path) -> None:
    """Raise an EditError where there is no folder of pictures, and no picture."""
    if not source.exists():
        raise EditError(f"'{plain_text(source)}' does not exist; a folder of pictures, or one picture, is accepted.")


def check_no_file(target: Path) -> None:
    """Raise an EditError where a folder for results cannot be, because a file is there."""
    if target.exists() and not target.is_dir():
        raise EditError(f"'{plain_text(target)}' is a file; a folder for the results is accepted.")


def pictures_in(source: Path, target: Path | None = None) -> list[str]:
    """Find pictures by the endings of their names.

    Args:
        source: A folder, with all folders in it but those of other runs' results; or one picture, of any ending.
        target: A folder that is left out where it lies in there; None leaves out none.

    Returns:
        Their names from the folder on, sorted.

    Raises:
        EditError: There are none.
    """
    if not source.is_dir():
        return [source.name]
    names = []
    left_out = None if target is None else target.resolve()
    for folder, folders, files in os.walk(source):
        here = Path(folder)
        folders[:] = [one for one in folders if not one.startswith(".") and not _is_left_out(here / one, left_out)]
        for file in files:
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in ENDINGS:
                names.append((here / file).relative_to(source).as_posix())
    if not names:
        raise EditError(f"'{plain_text(source)}' holds no pictures; files that end in {_listed()} are found.")
    return sorted(names)


def _is_left_out(folder: Path, target: Path | None) -> bool:
    """Return whether a folder holds results: those that are to be made, or those of another run."""
    return folder.resolve() == target or (folder / SETTINGS).is_file()


def plan(names: Iterable[str], results: Callable[[PurePosixPath, str], tuple[str, ...]]) -> list[Job]:
    """Give each picture names for its results that no other picture has.

    Args:
        names: The pictures, sorted.
        results: Names the results of a picture, by its path and by what they are to be called like.

    Returns:
        A job for each picture. Of two pictures that differ in the ending alone, the second one's results keep it.
    """
    taken: set[str] = set()
    jobs = []
    for name in names:
        path = PurePosixPath(name)
        called = path.stem
        found = results(path, called)
        while taken & _folded(found):
            called = path.name if called == path.stem else f"{called}_"
            found = results(path, called)
        taken |= _folded(found)
        jobs.append(Job(name, found))
    return jobs


def _folded(names: Iterable[str]) -> set[str]:
    """Return names as disks compare them that do not tell capitals."""
    return {name.casefold() for name in names}


def _listed() -> str:
    return ", ".join(sorted(ENDINGS))
