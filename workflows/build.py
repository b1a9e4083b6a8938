"""Write the example workflows, in the page's format and in that of the API, from their descriptions beside this file.

    python workflows/build.py http://127.0.0.1:8188

asks a running ComfyUI for its node definitions, so that widgets land in the order it stores them. Each workflow is a
list of nodes in columns; groups are drawn around the nodes that name them.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

from asyrp import asyrp_edit, asyrp_two_directions
from formats import api, page
from invert import invert_and_rebuild
from svd import svd_attribute, svd_from_pictures

HERE = Path(__file__).parent
WORKFLOWS = (invert_and_rebuild, svd_attribute, svd_from_pictures, asyrp_edit, asyrp_two_directions)


def main() -> None:
    """Write every workflow in both formats."""
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8188"
    with urllib.request.urlopen(f"{server}/object_info") as response:
        info = json.load(response)
    (HERE / "api").mkdir(exist_ok=True)
    for describe in WORKFLOWS:
        nodes = describe()
        name = describe.__name__
        (HERE / f"{name}.json").write_text(json.dumps(page(nodes, info), indent=1) + "\n")
        (HERE / "api" / f"{name}.json").write_text(json.dumps(api(nodes, info), indent=1) + "\n")
        print(name)


if __name__ == "__main__":
    main()
