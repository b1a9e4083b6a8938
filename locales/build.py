"""Write the English locale from the nodes themselves: locales/en/nodeDefs.json.

    python locales/build.py

Translations beside it hold the same keys; tests/docs/test_locales.py says which are missing or out of date. ComfyUI is
found as the tests find it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENGLISH = HERE / "en" / "nodeDefs.json"


def definitions(nodes: list[Any]) -> dict[str, Any]:
    """Return what ComfyUI's page shows of nodes, by node id.

    Args:
        nodes: Node classes.
    """
    found = {}
    for node in nodes:
        schema = node.define_schema()
        found[schema.node_id] = {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {
                item.id: {"name": item.display_name or item.id, "tooltip": item.tooltip} for item in schema.inputs
            },
            "outputs": {
                str(i): {"name": item.display_name or item.id, "tooltip": item.tooltip}
                for i, item in enumerate(schema.outputs)
            },
        }
    return found


def text_of(found: dict[str, Any]) -> str:
    """Return definitions as the file holds them."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file."""
    import singular_edit
    from singular_edit.backends.find_comfyui import find_comfyui

    sys.path.insert(0, str(find_comfyui()))
    import comfy.cli_args

    comfy.cli_args.args.cpu = True

    async def nodes() -> list[Any]:
        return await (await singular_edit.comfy_entrypoint()).get_node_list()

    ENGLISH.parent.mkdir(exist_ok=True)
    ENGLISH.write_text(text_of(definitions(asyncio.run(nodes()))), encoding="utf-8")


if __name__ == "__main__":
    main()
