"""Which pictures belong to which of several processes, without any word between them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from ..core.errors import EditError

# What torchrun, accelerate and SLURM tell their processes: which one it is, from 0 on, and of how many.
ENVIRONMENT = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))


@dataclass(frozen=True)
class Share:
    """One share of all pictures.

    Attributes:
        index: Which one, from 1 on.
        count: How many there are.
    """

    index: int = 1
    count: int = 1

    def holds(self, name: str) -> bool:
        """Return whether a picture belongs to this share: by its name alone, whatever lies beside it."""
        digest = sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    @property
    def file_suffix(self) -> str:
        """What a file of this share has in its name; nothing where there is one share."""
        return "" if self.count == 1 else f"-{self.index}-of-{self.count}"


def share_of(text: str | None, environment: Mapping[str, str]) -> Share:
    """Return the share of this process.

    Args:
        text: "1/4" is the first of four; None asks the environment.
        environment: Of the process.

    Returns:
        The share; the only one where nothing says otherwise.

    Raises:
        EditError: The text is no share.
    """
    if text is not None:
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise EditError(f"shard is '{text}'; a share such as 1/4, the first of four, is accepted.")
        return Share(int(match[1]), int(match[2]))
    for own, all_of_them in ENVIRONMENT:
        try:
            index, count = int(environment[own]), int(environment[all_of_them])
        except (KeyError, ValueError):
            continue
        if 0 <= index < count:
            return Share(index + 1, count)
    return Share()
