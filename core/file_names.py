"""Names of files that are possible on every platform and lead nowhere but into their folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from .errors import EditError, plain_text

# Bytes of one name that every file system takes, with room for a number and an ending.
MAX_BYTES = 200
MAX_PARTS = 8
# Devices of Windows, with any ending.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
FORBIDDEN = '<>:"\\|?*'


def check_file_name(text: str, name: str) -> str:
    """Check a file's name with folders before it, which is to lie in a folder of ours on any platform.

    Args:
        text: The name, its folders divided by "/".
        name: The input that it came from, for the error's sentence.

    Returns:
        The text itself.

    Raises:
        EditError: It would leave the folder, on this platform or another one, or is no possible name.
    """
    parts = text.split("/")
    if len(parts) > MAX_PARTS or not all(map(_possible, parts)):
        raise EditError(
            f"{name} is '{plain_text(text)}'; a name that every system takes is accepted, without a drive, '..', or "
            f"any of {FORBIDDEN}, with folders before it at most: people/hat."
        )
    return text


def _possible(part: str) -> bool:
    """Return whether one part of a path is a name on every platform."""
    return (
        part.isprintable()
        and not set(part) & set(FORBIDDEN)
        and part == part.strip()
        and not part.endswith(".")
        and bool(part)
        and not RESERVED.fullmatch(part)
        and len(part.encode()) <= MAX_BYTES
    )


def claim(path: Path) -> bool:
    """Take a file's name, so that no other program takes the same one.

    Args:
        path: The file; missing folders are made.

    Returns:
        Whether there was no such file; there is an empty one now.

    Raises:
        EditError: The folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_save(path.name, error) from error
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    except (OSError, ValueError) as error:
        raise cannot_save(path.name, error) from error
    return True


def cannot_save(name: str, error: Exception) -> EditError:
    """Return the EditError for a file that another error kept from being written."""
    reason = plain_text(getattr(error, "strerror", None) or error)
    return EditError(f"'{plain_text(name)}' cannot be saved ({reason}); check the name, the folder and the disk.")
