"""Where the tests find a ComfyUI, and the models they share."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch
from singular_edit.backends.find_comfyui import find_comfyui

LONGEST = (
    "demo/test_edits",
    "demo/test_model",
    "comfyui/test_artist_workflows",
    "demo/test_commands",
    "comfyui/test_server",
    "browser/test_page",
    "comfyui/test_invert",
    "comfyui/test_families_hspace",
    "comfyui/test_edit",
    "docs/test_library_page",
)
HOW_TO = "no ComfyUI found: set COMFYUI_PATH, or install one with 'pip install comfy-cli && comfy install'"
REQUIRED = ("torchsde", "einops", "transformers", "aiohttp", "torchvision", "torchaudio")


def pytest_collection_modifyitems(items):
    """The longest files first, so that of several processes none waits for another in the end."""

    def place(item) -> int:
        path = item.path.with_suffix("").as_posix()
        return next((i for i, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST))

    items.sort(key=place)


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    path = find_comfyui()
    if path is None:
        pytest.skip(HOW_TO)
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(
            f"ComfyUI found at {path}, but {', '.join(missing)} not installed here: "
            f"pip install -r {path / 'requirements.txt'}"
        )
    return path


@pytest.fixture(scope="session")
def comfy(comfyui_path, tmp_path_factory):
    """ComfyUI imported into this process, on the CPU, with our pack's models folder in a temporary place."""
    sys.path.insert(0, str(comfyui_path))
    import comfy.cli_args

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    import comfy as package
    import folder_paths

    folder_paths.models_dir = str(tmp_path_factory.mktemp("models"))
    folder_paths.set_temp_directory(str(tmp_path_factory.mktemp("temp")))
    return package


@pytest.fixture(scope="session")
def pack_nodes(comfy) -> dict:
    """Our node classes by id, from the entry point that ComfyUI calls."""
    import singular_edit

    async def nodes():
        return await (await singular_edit.comfy_entrypoint()).get_node_list()

    return {node.define_schema().node_id.removeprefix("SingularEdit"): node for node in asyncio.run(nodes())}


@pytest.fixture(scope="session")
def demo():
    """The embedded U-Net through diffusers."""
    pytest.importorskip("diffusers")
    from singular_edit.demo import loader

    return loader.load("cpu")


@pytest.fixture(scope="session")
def demo_transformer():
    """The embedded transformer through diffusers."""
    pytest.importorskip("diffusers")
    from singular_edit.demo import loader

    return loader.load("cpu", "transformer")


@pytest.fixture(autouse=True, scope="session")
def _threads():
    """Two at most, and no more than the cores that each of the processes has."""
    cores = (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(2, cores))))  # of commands that tests run, too
    torch.set_num_threads(int(threads))
