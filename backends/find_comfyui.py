"""Find the ComfyUI that is installed on this machine. This module imports nothing of the pack."""

from __future__ import annotations

import os
from pathlib import Path


def find_comfyui() -> Path | None:
    """Find an installed ComfyUI.

    Returns:
        The first folder that holds one of: COMFYUI_PATH; the folders above the pack where it sits in custom_nodes/;
        comfy-cli's default workspace. None if there is none.
    """
    candidates = [Path(os.environ["COMFYUI_PATH"])] if os.environ.get("COMFYUI_PATH") else []
    # The path is not resolved, because the pack may be a link inside custom_nodes.
    here = Path(os.path.abspath(__file__))
    candidates += [parent.parent for parent in here.parents if parent.name == "custom_nodes"]
    candidates.append(Path.home() / "comfy" / "ComfyUI")
    for path in candidates:
        if (path / "main.py").is_file() and (path / "comfy").is_dir():
            return path
    return None
