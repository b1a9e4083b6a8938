"""Save and load attributes and directions, in models/latent_attributes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ..backends.comfyui.progress import Progress
from ..backends.previews import preview_of, preview_text
from ..core.errors import EditError, plain_text
from ..core.file_names import cannot_save, check_file_name, claim
from ..core.files import read_kind
from ..core.hspace.direction import KINDS, load_hdirection
from ..core.latent_svd.attribute import KIND, SVDAttribute
from ..core.recipes.attributes import advised_strength, describe, load_attribute, with_info
from .inputs import (
    ADVANCED,
    ARTIST,
    HDirectionType,
    SVDAttributeType,
    any_attribute_of,
    attribute_input,
    attribute_output,
    with_search_words,
)
from .learned_files import FOLDER, attribute_folder

FILE_TOOLTIP = (
    f"A file in models/{FOLDER}. Learn Attribute saves there by itself, in the folder learned. "
    "Press R to see new files."
)


class SaveAttribute(io.ComfyNode):
    """Save an attribute or a direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditSaveAttribute",
            display_name="Save Attribute",
            category=ADVANCED,
            description=(
                "Saves an attribute as a small .safetensors file in models/latent_attributes, "
                "to share and to load again. It may carry a picture, your name and a licence."
            ),
            inputs=[
                attribute_input("From Learn Attribute, or any other node that gives an attribute or a direction."),
                io.String.Input(
                    "filename_prefix",
                    default="attributes/attribute",
                    tooltip=(
                        "Name of the file; a number is added to it. Put a folder before it if you like: people/hat."
                    ),
                ),
                io.Image.Input(
                    "preview",
                    optional=True,
                    tooltip=(
                        "A picture that Load Attribute shows to whoever loads the file, before and after for example."
                    ),
                ),
                io.String.Input("creator", default="", optional=True, tooltip="Who made it, for those who load it."),
                io.String.Input(
                    "licence", default="", optional=True, tooltip="What others may do with it, such as CC BY 4.0."
                ),
            ],
            outputs=[
                io.String.Output("path", display_name="path", tooltip="The file's name as the load nodes list it.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, attribute: Any, filename_prefix: str, preview: Any = None, creator: str = "", licence: str = ""
    ) -> io.NodeOutput:
        """Save the file and show its name."""
        said = {"creator": creator, "licence": licence}
        if preview is not None:
            said["preview"] = preview_text(preview)
        attribute = with_info(
            any_attribute_of(attribute, "attribute"), {key: text for key, text in said.items() if text}
        )
        root = attribute_folder()
        check_file_name(filename_prefix, "filename_prefix")
        try:
            folder, filename, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
        except OSError as error:
            raise cannot_save(filename_prefix, error) from error
        # Another ComfyUI may count the same files at the same time.
        path = Path(folder) / f"{filename}_{counter:05}_.safetensors"
        while not claim(path):
            counter += 1
            path = Path(folder) / f"{filename}_{counter:05}_.safetensors"
        try:
            attribute.save(path)
        except EditError:
            path.unlink(missing_ok=True)
            raise
        name = path.relative_to(root).as_posix()
        Progress.say(f"Saved {name}")
        return io.NodeOutput(name)


class _Load(io.ComfyNode):
    """What the two load nodes share: the list of files, and noticing that a file changed."""

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        path = _path_of(file)
        return (file, os.path.getmtime(path)) if path else file

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if _path_of(file) is None:
            name = plain_text(file)
            return f"No file '{name}' in models/{FOLDER}. Learn one with Learn Attribute, or copy a file there."
        return True


def _path_of(file: str) -> str | None:
    """Return the path of a file in the folder; None where there is none."""
    # No name has a null byte, and no system takes one.
    return None if "\0" in file else folder_paths.get_full_path(FOLDER, file)


def _file_input(kinds: tuple[str, ...]) -> io.Combo.Input:
    """Return a widget that lists the files of these kinds.

    A file that cannot be read is listed too, so that loading it says why.
    """
    found = []
    for name in folder_paths.get_filename_list(FOLDER):
        try:
            if read_kind(folder_paths.get_full_path_or_raise(FOLDER, name)) in kinds:
                found.append(name)
        except EditError:
            found.append(name)
    return io.Combo.Input("file", options=found, tooltip=FILE_TOOLTIP)


class LoadSVDAttribute(_Load):
    """Load an SVD attribute."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditLoadSVDAttribute",
            display_name="Load SVD Attribute",
            category=ADVANCED,
            description=(
                f"Loads an attribute of Latent SVD from models/{FOLDER}, for the Latent SVD nodes. "
                "Load Attribute takes files of both kinds."
            ),
            inputs=[_file_input((KIND,))],
            outputs=[
                SVDAttributeType.Output("attribute", display_name="attribute", tooltip="Wire to Latent SVD Edit.")
            ],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load the file."""
        return io.NodeOutput(SVDAttribute.load(folder_paths.get_full_path_or_raise(FOLDER, file)))


class LoadHDirection(_Load):
    """Load an h-space direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditLoadHDirection",
            display_name="Load h-Direction",
            category=ADVANCED,
            description=(
                f"Loads a readout or a direction from models/{FOLDER}, for Asyrp Sampler. "
                "Load Attribute takes files of both kinds."
            ),
            inputs=[_file_input(tuple(KINDS))],
            outputs=[HDirectionType.Output("direction", display_name="direction", tooltip="Wire to Asyrp Sampler.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load the file."""
        return io.NodeOutput(load_hdirection(folder_paths.get_full_path_or_raise(FOLDER, file)))


class LoadAttribute(_Load):
    """Load an attribute of either kind."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditLoadAttribute",
            display_name="Load Attribute",
            category=ARTIST,
            description=(
                f"Loads an attribute from models/{FOLDER}: one of your own, or one that somebody shared. "
                "It says which model it was learned on, with which words, and which strength to begin with."
            ),
            inputs=[_file_input((KIND, *KINDS))],
            outputs=[
                attribute_output(),
                io.String.Output(
                    "info",
                    display_name="info",
                    tooltip="Its model, its words, the strength to begin with, its maker and licence.",
                ),
            ],
        )
        return with_search_words(schema, "concept slider", "load slider", "slider lora", "glasses", "smile")

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load the file and show its preview."""
        attribute = load_attribute(folder_paths.get_full_path_or_raise(FOLDER, file))
        preview = preview_of(attribute)
        text = describe(attribute)
        Progress.say(f"{attribute.name}: begin with strength {advised_strength(attribute):g}")
        return io.NodeOutput(attribute, text, ui=None if preview is None else ui.PreviewImage(preview))


NODES = [SaveAttribute, LoadAttribute, LoadSVDAttribute, LoadHDirection]
