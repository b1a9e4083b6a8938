"""The shipped workflow files: whole, wired, twinned, with a thumbnail."""

import json
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def load(name, folder=""):
    return json.loads((WORKFLOWS / folder / f"{name}.json").read_text())


def test_the_workflows_are_there():
    assert {"invert_and_rebuild", "svd_attribute", "svd_from_pictures", "asyrp_edit", "asyrp_two_directions"} <= set(
        NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_links_meet_their_sockets(name):
    flow = load(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    for link, origin, slot, target, socket, type_ in flow["links"]:
        assert link in nodes[origin]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][socket]["link"] == link
        assert (
            type_ in nodes[target]["inputs"][socket]["type"].split(",") + ["*"]
            or nodes[target]["inputs"][socket]["type"] == "*"
        )


@pytest.mark.parametrize("name", NAMES)
def test_api_twin_says_the_same(name):
    flow, twin = load(name), load(name, "api")
    nodes = {str(node["id"]): node for node in flow["nodes"] if node["type"] != "MarkdownNote"}
    assert {key: node["type"] for key, node in nodes.items()} == {key: node["class_type"] for key, node in twin.items()}
    links = {
        (target, nodes[str(target)]["inputs"][socket]["name"]): [str(origin), slot]
        for _, origin, slot, target, socket, _ in flow["links"]
    }
    assert links == {
        (int(key), name): value
        for key, node in twin.items()
        for name, value in node["inputs"].items()
        if isinstance(value, list)
    }
    for key, node in nodes.items():
        # A wired widget keeps a value of its own in the page's file, which nobody reads.
        widgets = [
            name
            for name, value in twin[key]["inputs"].items()
            if not isinstance(value, list) or any(s["name"] == name and "widget" in s for s in node["inputs"])
        ]
        values = dict(zip(widgets, (v for v in node["widgets_values"] if v != "fixed"), strict=True))
        assert {name: v for name, v in values.items() if not isinstance(twin[key]["inputs"][name], list)} == {
            name: v for name, v in twin[key]["inputs"].items() if not isinstance(v, list)
        }


@pytest.mark.parametrize("name", NAMES)
def test_a_person_can_read_it(name):
    flow = load(name)
    assert flow["groups"]
    assert any(node["type"] == "MarkdownNote" for node in flow["nodes"])
    boxes = [(n["pos"][0], n["pos"][1], n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1]) for n in flow["nodes"]]
    overlaps = [
        (a, b)
        for i, a in enumerate(boxes)
        for b in boxes[:i]
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]
    assert not overlaps
    thumbnail = WORKFLOWS / f"{name}.jpg"
    assert thumbnail.read_bytes()[:2] == b"\xff\xd8"
    assert thumbnail.stat().st_size < 200_000
