"""Where a ComfyUI is."""

from __future__ import annotations

import os
from pathlib import Path


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, else the folders above the pack when it sits in custom_nodes/, else comfy-cli's default workspace."""
    candidates = [Path(os.environ["COMFYUI_PATH"])] if os.environ.get("COMFYUI_PATH") else []
    here = Path(os.path.abspath(__file__))  # not resolved: the pack may be a link inside custom_nodes
    candidates += [parent.parent for parent in here.parents if parent.name == "custom_nodes"]
    candidates.append(Path.home() / "comfy" / "ComfyUI")
    return next((path for path in candidates if (path / "main.py").is_file() and (path / "comfy").is_dir()), None)
