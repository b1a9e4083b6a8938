"""The demo's word-level tokenizer: known words become tokens, filler is skipped, the rest is named once."""

from __future__ import annotations

import logging
import re

# Token 0 pads. "A face" is a word of its own: it says that nothing else was said.
TOKENS = ("", "face", "smile", "glasses", "hat", "beard")
CONTEXT_LENGTH = 8

_SYNONYMS = {
    "face": "face",
    "person": "face",
    "portrait": "face",
    "someone": "face",
    "smile": "smile",
    "smiles": "smile",
    "smiling": "smile",
    "grin": "smile",
    "glasses": "glasses",
    "eyeglasses": "glasses",
    "spectacles": "glasses",
    "hat": "hat",
    "hats": "hat",
    "cap": "hat",
    "beard": "beard",
    "bearded": "beard",
    "beards": "beard",
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
_warned: set[str] = set()


def tokenize(text: str) -> list[int]:
    """CONTEXT_LENGTH token ids, sorted and without repeats: word order and filler words do not matter.

    An unknown word is ignored with one warning that lists the known ones.
    """
    found = set()
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _SYNONYMS:
            found.add(TOKENS.index(_SYNONYMS[word]))
        elif word not in _FILLER and word not in _warned:
            _warned.add(word)
            logging.warning(
                "Singular Edit demo model: unknown word '%s' is ignored. Known words: %s.", word, ", ".join(_SYNONYMS)
            )
    return sorted(found) + [0] * (CONTEXT_LENGTH - len(found))


def caption(attributes) -> str:
    """The caption that mentions exactly these attributes, as the model was trained on."""
    return " ".join(["a face", *(f"with {name}" for name in attributes)])
