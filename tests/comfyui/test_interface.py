"""The nodes' ids, inputs and outputs against the committed interface.json.

Saved workflows depend on them: ComfyUI stores widgets by position and wires by id. Both may only be appended to.
To write the file anew after an addition:

    WRITE_INTERFACE=1 pytest tests/comfyui/test_interface.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("interface.json")
DOCS = Path(__file__).parents[2] / "web" / "docs"
RANGE = ("min", "max", "step", "control_after_generate")


def describe_input(item) -> dict:
    """What a saved workflow relies on: id, type, default, range and choices."""
    described = {"id": item.id, "type": str(item.get_io_type()), "optional": bool(item.optional)}
    for name in ("default", *RANGE):
        value = getattr(item, name, None)
        if value is not None:
            described[name] = value
    # The load nodes list whatever files there are.
    if getattr(item, "options", None) and item.id != "file":
        described["options"] = list(item.options)
    return described


def describe(node) -> dict:
    schema = node.define_schema()
    return {
        "id": schema.node_id,
        "display_name": schema.display_name,
        "inputs": [describe_input(item) for item in schema.inputs],
        "outputs": [{"id": item.id, "type": str(item.get_io_type())} for item in schema.outputs],
    }


@pytest.fixture(scope="module")
def interface(pack_nodes) -> dict:
    """Every node as it is now, by id; it becomes the file where the environment asks for it."""
    nodes = [describe(node) for node in pack_nodes.values()]
    if os.environ.get("WRITE_INTERFACE"):
        FILE.write_text(json.dumps(nodes, indent=1) + "\n")
    return {node["id"]: node for node in nodes}


@pytest.fixture(params=json.loads(FILE.read_text()) if FILE.exists() else [], ids=lambda node: node["id"])
def saved(request) -> dict:
    """A node as saved workflows know it."""
    return request.param


def without_choices(item: dict) -> dict:
    """What must stay as it is: an input may take more choices, and wires of more types."""
    return {key: value for key, value in item.items() if key not in ("options", "type")}


def test_every_node_is_in_the_file(interface):
    known = [node["id"] for node in json.loads(FILE.read_text())]
    assert set(known) == set(interface)


def test_a_node_keeps_its_display_name(interface, saved):
    assert interface[saved["id"]]["display_name"] == saved["display_name"]


def test_inputs_are_only_appended_to(interface, saved):
    inputs = interface[saved["id"]]["inputs"]
    kept = inputs[: len(saved["inputs"])]
    assert [without_choices(item) for item in kept] == [without_choices(item) for item in saved["inputs"]]
    for item, before in zip(kept, saved["inputs"], strict=True):
        assert set(before["type"].split(",")) <= set(item["type"].split(",")), before["id"]


def test_choices_are_only_appended_to(interface, saved):
    inputs = interface[saved["id"]]["inputs"]
    for item, before in zip(inputs, saved["inputs"], strict=False):
        options = before.get("options", [])
        assert item.get("options", [])[: len(options)] == options, before["id"]


def test_outputs_are_only_appended_to(interface, saved):
    outputs = interface[saved["id"]]["outputs"]
    assert outputs[: len(saved["outputs"])] == saved["outputs"]


def test_every_node_and_input_explains_itself(pack_nodes):
    for name, node in pack_nodes.items():
        schema = node.define_schema()
        schema.validate()
        assert schema.description, name
        assert schema.category.startswith("Singular Edit"), name
        assert all(item.tooltip for item in [*schema.inputs, *schema.outputs]), name
        page = (DOCS / f"{schema.node_id}.md").read_text()
        assert page.startswith(f"# {schema.display_name}\n"), name


def test_the_packs_nodes_bring_in_no_heavy_package(comfyui_path):
    """In a process of its own, because tests import more than ComfyUI does."""
    benchmark = Path(__file__).parents[2] / "benchmarks" / "import_time.py"
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui_path)}
    done = subprocess.run(
        [sys.executable, str(benchmark), "--repeats", "1"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "heavy packages it imports: none" in done.stdout
