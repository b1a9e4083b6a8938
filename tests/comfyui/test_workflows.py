"""The shipped workflow files: whole, wired, twinned, with a thumbnail."""

import json
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
SHIPPED = {"invert_and_rebuild", "svd_attribute", "svd_from_pictures", "asyrp_edit", "asyrp_two_directions"}


def load(name, folder=""):
    return json.loads((WORKFLOWS / folder / f"{name}.json").read_text())


def test_the_workflows_are_there():
    assert set(NAMES) >= SHIPPED


@pytest.mark.parametrize("name", NAMES)
def test_links_meet_their_sockets(name):
    flow = load(name)
    nodes = {node["id"]: node for node in flow["nodes"]}
    for link, origin, slot, target, socket, type_ in flow["links"]:
        assert link in nodes[origin]["outputs"][slot]["links"]
        wanted = nodes[target]["inputs"][socket]
        assert wanted["link"] == link
        assert "*" in (wanted["type"], type_) or type_ in wanted["type"].split(",")


def links_of_page(flow):
    """The output that feeds each input, by (node, input)."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    links = {}
    for _, origin, slot, target, socket, _ in flow["links"]:
        links[target, nodes[target]["inputs"][socket]["name"]] = [str(origin), slot]
    return links


def links_of_api(prompt):
    links = {}
    for key, node in prompt.items():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                links[int(key), name] = value
    return links


def values_of_page(node, inputs):
    """The values of a node's widgets, by name, without those that a wire feeds.

    Such a widget keeps a value of its own in the page's file, which nobody reads.
    """
    sockets = {socket["name"] for socket in node["inputs"] if "widget" in socket}
    names = [name for name, value in inputs.items() if not isinstance(value, list) or name in sockets]
    stored = [value for value in node["widgets_values"] if value != "fixed"]
    values = dict(zip(names, stored, strict=True))
    return {name: value for name, value in values.items() if not isinstance(inputs[name], list)}


@pytest.mark.parametrize("name", NAMES)
def test_api_twin_says_the_same(name):
    flow = load(name)
    twin = load(name, "api")
    nodes = {str(node["id"]): node for node in flow["nodes"] if node["type"] != "MarkdownNote"}
    types = {key: node["type"] for key, node in nodes.items()}
    assert types == {key: node["class_type"] for key, node in twin.items()}
    assert links_of_page(flow) == links_of_api(twin)
    for key, node in nodes.items():
        inputs = twin[key]["inputs"]
        wanted = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        assert values_of_page(node, inputs) == wanted


def overlap(one, other):
    """Whether two nodes lie on each other."""
    return all(
        one["pos"][axis] < other["pos"][axis] + other["size"][axis]
        and other["pos"][axis] < one["pos"][axis] + one["size"][axis]
        for axis in (0, 1)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_person_can_read_it(name):
    flow = load(name)
    assert flow["groups"]
    assert any(node["type"] == "MarkdownNote" for node in flow["nodes"])
    for i, node in enumerate(flow["nodes"]):
        assert not any(overlap(node, other) for other in flow["nodes"][:i]), node["title"]


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_thumbnail(name):
    thumbnail = WORKFLOWS / f"{name}.jpg"
    assert thumbnail.read_bytes()[:2] == b"\xff\xd8"
    assert thumbnail.stat().st_size < 200_000
