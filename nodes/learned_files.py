"""Files of attributes: the folders, and how one that was learned before is found again."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import folder_paths

from ..core.errors import EditError
from ..core.recipes.attributes import Attribute, load_attribute, with_info
from ..demo.attributes import SHIPPED

FOLDER = "latent_attributes"
LEARNED = "learned"
# Bytes of a name in a file's name, of 255 that systems take.
MAX_NAME_BYTES = 120
# Digits of the question's hash in a file's name.
DIGITS = 10

folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
# The attributes of the embedded model are always there.
folder_paths.add_model_folder_path(FOLDER, str(SHIPPED))
folder_paths.folder_names_and_paths[FOLDER][1].add(".safetensors")


def attribute_folder() -> Path:
    """Return the folder where attributes are saved; it is made if it is missing."""
    folder = Path(folder_paths.get_folder_paths(FOLDER)[0])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def learned_before(question: str, name: str) -> tuple[Attribute, str] | None:
    """Find what was learned for the same question before.

    Args:
        question: The hash of everything that the attribute was learned from.
        name: What it is to be called now.

    Returns:
        The attribute and its file's name; None where there is none that can be read.
    """
    folder = attribute_folder() / LEARNED
    for path in sorted(folder.glob(f"*_{question[:DIGITS]}.safetensors")):
        try:
            attribute = load_attribute(path)
        except EditError as error:
            logging.warning("Singular Edit learns again, because %s", error)
            continue
        if attribute.info.get("question") == question:
            if attribute.name == name:
                return attribute, path.relative_to(attribute_folder()).as_posix()
            renamed = with_info(attribute, {"name": name})
            return renamed, save_learned(renamed, question)
    return None


def save_learned(attribute: Attribute, question: str) -> str:
    """Save an attribute so that learned_before finds it.

    Args:
        attribute: The attribute, whose info holds the question.
        question: The hash of everything that it was learned from.

    Returns:
        The file's name, as the load nodes list it.
    """
    plain = re.sub(r"[^\w -]+", "", attribute.name)
    plain = plain.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip() or "attribute"
    path = attribute_folder() / LEARNED / f"{plain}_{question[:DIGITS]}.safetensors"
    attribute.save(path)
    return path.relative_to(attribute_folder()).as_posix()
