"""The demo's tokenizer, one token a word: known words become tokens, and filler words are skipped."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

# Token 0 pads. "A face" is a word of its own: it says that nothing else was said.
TOKENS = ("", "face", "smile", "glasses", "hat", "beard")
CONTEXT_LENGTH = 8

_TOKEN_OF_WORD = {
    **dict.fromkeys(("face", "person", "portrait", "someone"), "face"),
    **dict.fromkeys(("smile", "smiles", "smiling", "grin"), "smile"),
    **dict.fromkeys(("glasses", "eyeglasses", "spectacles"), "glasses"),
    **dict.fromkeys(("hat", "hats", "cap"), "hat"),
    **dict.fromkeys(("beard", "bearded", "beards"), "beard"),
}
_FILLER = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "with",
        "and",
        "wearing",
        "in",
        "on",
        "who",
        "that",
        "is",
        "has",
        "having",
        "man",
        "woman",
        "picture",
        "photo",
        "drawing",
    ]
)
_reported: set[str] = set()


def tokenize(text: str) -> list[int]:
    """Turn a prompt into tokens; word order, repeats and filler words do not matter.

    An unknown word is ignored, with one warning that lists the known ones.

    Args:
        text: The prompt.

    Returns:
        CONTEXT_LENGTH indices in TOKENS: ascending, without repeats, then padding.
    """
    found = set()
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _TOKEN_OF_WORD:
            found.add(TOKENS.index(_TOKEN_OF_WORD[word]))
        elif word not in _FILLER and word not in _reported:
            _reported.add(word)
            known = ", ".join(_TOKEN_OF_WORD)
            logging.warning("Singular Edit demo model: unknown word '%s' is ignored. Known words: %s.", word, known)
    return sorted(found) + [0] * (CONTEXT_LENGTH - len(found))


def caption(attributes: Iterable[str]) -> str:
    """Return the caption that mentions exactly these attributes, as the model was trained on."""
    return " ".join(["a face", *(f"with {name}" for name in attributes)])
