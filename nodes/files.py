"""Save and load attributes and directions, in models/latent_attributes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ..core.errors import EditError
from ..core.files import read_kind
from ..core.hspace.direction import KINDS, HDirection, load_hdirection
from ..core.latent_svd.attribute import KIND, SVDAttribute
from .inputs import CATEGORY, HDirectionType, SVDAttributeType

FOLDER = "latent_attributes"
folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
folder_paths.folder_names_and_paths[FOLDER][1].add(".safetensors")


class SaveAttribute(io.ComfyNode):
    """Save an attribute or a direction."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditSaveAttribute",
            display_name="Save Attribute",
            category=CATEGORY,
            description=(
                "Saves an attribute or an h-space direction as a small .safetensors file "
                "in models/latent_attributes, to share and to load again."
            ),
            inputs=[
                io.MultiType.Input(
                    "attribute",
                    types=[SVDAttributeType, HDirectionType],
                    tooltip="An SVD attribute or an h-space direction.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="attributes/attribute",
                    tooltip="Name of the file, to which a number is added. A folder may stand before it.",
                ),
            ],
            outputs=[
                io.String.Output("path", display_name="path", tooltip="The file's name as the load nodes list it.")
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, attribute: Any, filename_prefix: str) -> io.NodeOutput:
        """Save the file and show its name."""
        if not isinstance(attribute, (SVDAttribute, HDirection)):
            raise EditError(
                f"attribute is a {type(attribute).__name__}; wire an SVD attribute or an h-space direction."
            )
        root = Path(folder_paths.get_folder_paths(FOLDER)[0])
        root.mkdir(parents=True, exist_ok=True)
        folder, filename, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, str(root))
        path = Path(folder) / f"{filename}_{counter:05}_.safetensors"
        attribute.save(path)
        name = path.relative_to(root).as_posix()
        return io.NodeOutput(name, ui=ui.PreviewText(f"saved {name}"))


class _Load(io.ComfyNode):
    """What the two load nodes share: the list of files, and noticing that a file changed."""

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        path = folder_paths.get_full_path(FOLDER, file)
        return (file, os.path.getmtime(path)) if path else file

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if folder_paths.get_full_path(FOLDER, file) is None:
            return f"No file '{file}' in models/{FOLDER}. Save one with Save Attribute, or copy a shared file there."
        return True


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
    return io.Combo.Input("file", options=found, tooltip=f"A file in models/{FOLDER}, saved with Save Attribute.")


class LoadSVDAttribute(_Load):
    """Load an SVD attribute."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditLoadSVDAttribute",
            display_name="Load SVD Attribute",
            category=CATEGORY,
            description=f"Loads an attribute for Latent SVD Edit from models/{FOLDER}.",
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
            category=CATEGORY,
            description=f"Loads an h-space direction for Asyrp Sampler from models/{FOLDER}.",
            inputs=[_file_input(tuple(KINDS))],
            outputs=[HDirectionType.Output("direction", display_name="direction", tooltip="Wire to Asyrp Sampler.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        """Load the file."""
        return io.NodeOutput(load_hdirection(folder_paths.get_full_path_or_raise(FOLDER, file)))


NODES = [SaveAttribute, LoadSVDAttribute, LoadHDirection]
