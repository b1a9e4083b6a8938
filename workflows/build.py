"""Write the workflows and the blueprints of subgraphs from their descriptions beside this file.

    python workflows/build.py http://127.0.0.1:8188

asks a running ComfyUI for its node definitions, so that widgets land in the order it stores them. Each workflow is
written twice: as the page saves it, and, in a folder api/ beside it, as scripts queue it. Their pictures are made by
workflows/thumbnails.py.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import artist
import asyrp
import blueprints
import checkpoint
import invert
import svd
from formats import api, page
from pieces import Workflow

HERE = Path(__file__).parent
SERVER = "http://127.0.0.1:8188"
ARTIST = (*artist.WORKFLOWS, *checkpoint.WORKFLOWS)
ADVANCED = (
    invert.invert_and_rebuild,
    svd.svd_attribute,
    svd.svd_from_pictures,
    asyrp.asyrp_edit,
    asyrp.asyrp_two_directions,
)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, and the folder that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def write_workflow(folder: Path, workflow: Workflow, info: dict[str, Any]) -> None:
    """Write a workflow in both formats."""
    write(folder / f"{workflow.name}.json", page(workflow, info))
    write(folder / "api" / f"{workflow.name}.json", api(workflow.nodes, info))
    print(workflow.name)


def main() -> None:
    """Write every workflow and every blueprint."""
    server = sys.argv[1] if len(sys.argv) > 1 else SERVER
    with urllib.request.urlopen(f"{server}/object_info") as response:
        info = json.load(response)
    for describe in ARTIST:
        write_workflow(HERE, describe(), info)
    for describe in ADVANCED:
        write_workflow(HERE / "advanced", Workflow(describe.__name__, describe()), info)
    for blueprint in blueprints.BLUEPRINTS:
        write(HERE.parent / "subgraphs" / f"{blueprint.name}.json", blueprints.blueprint(blueprint, info))
        print(blueprint.name)


if __name__ == "__main__":
    main()
