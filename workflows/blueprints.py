"""Blueprints of subgraphs: several nodes as one, which newer versions of ComfyUI list among the nodes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from formats import build, inputs_of
from pieces import Link, Node, Place, Workflow

# What ComfyUI calls the two ends of a subgraph.
INPUT_NODE = -10
OUTPUT_NODE = -20
END_WIDTH = 120
END_GAP = 100
SPACE = uuid.UUID("6f4b6f2e-6a0f-4a6c-9d0e-3f6f0b5d1c11")


@dataclass(frozen=True)
class Blueprint:
    """Nodes that become one.

    Attributes:
        workflow: Its name, its nodes, and as inputs the widgets that stay in sight.
        description: What it does, in a sentence.
        sockets: Inputs of the whole: the name, and the (node, input) that it feeds.
        outputs: Outputs of the whole.
    """

    workflow: Workflow
    description: str
    sockets: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    outputs: tuple[Link, ...]

    @property
    def name(self) -> str:
        """Its name, which is its file's name too."""
        return self.workflow.name


def blueprint(described: Blueprint, info: dict[str, Any]) -> dict[str, Any]:
    """Return a blueprint as ComfyUI reads it.

    Args:
        described: The blueprint.
        info: What /object_info returns.
    """
    nodes = described.workflow.nodes
    built, rows = build(nodes, info)
    links = [
        {"id": i, "origin_id": a, "origin_slot": b, "target_id": c, "target_slot": d, "type": t}
        for i, a, b, c, d, t in rows
    ]
    key = str(uuid.uuid5(SPACE, described.name))
    ends = _Ends(built, links, key)
    by_node = {node.name: node for node in nodes}
    by_name = {node.name: {item.name: item for item in inputs_of(info, node)} for node in nodes}
    for name, targets in described.sockets:
        ends.input(name, by_name[targets[0][0]][targets[0][1]].type, targets)
    values = []
    for node, widget in described.workflow.inputs:
        item = by_name[node][widget]
        ends.input(widget, item.type, ((node, widget),), widget=True)
        values.append(by_node[node].inputs.get(widget, item.default))
    for origin, slot in described.outputs:
        ends.output(origin, slot)
    last = len(nodes) + 1
    instance = {
        "id": last,
        "type": key,
        "pos": [0, 0],
        "size": [320, 60 + 24 * len(ends.inputs)],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [_outer(socket) for socket in ends.inputs],
        "outputs": [{"name": socket["name"], "type": socket["type"], "links": None} for socket in ends.outputs],
        "title": described.name,
        "properties": {"proxyWidgets": [["-1", widget] for _, widget in described.workflow.inputs]},
        "widgets_values": values,
    }
    left, right = ends.span()
    height = max(node["size"][1] for node in built.values())
    subgraph = {
        "id": key,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": last, "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": described.name,
        "inputNode": {"id": INPUT_NODE, "bounding": [left, 90, END_WIDTH, 40 + 20 * len(ends.inputs)]},
        "outputNode": {"id": OUTPUT_NODE, "bounding": [right, 90, END_WIDTH, height // 4]},
        "inputs": [{k: v for k, v in socket.items() if k != "widget"} for socket in ends.inputs],
        "outputs": ends.outputs,
        "widgets": [],
        "nodes": list(built.values()),
        "groups": [],
        "links": links,
        "extra": {"workflowRendererVersion": "LG"},
        "category": "Singular Edit",
        "description": described.description,
    }
    return {
        "revision": 0,
        "last_node_id": last,
        "last_link_id": 0,
        "nodes": [instance],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {"BlueprintDescription": described.description},
    }


def _outer(socket: dict[str, Any]) -> dict[str, Any]:
    """Return an input of the whole as the node that stands for it has it."""
    outer = {"name": socket["name"], "type": socket["type"], "link": None}
    if socket["widget"]:
        outer["widget"] = {"name": socket["name"]}
    return outer


class _Ends:
    """The inputs and the outputs of a subgraph, as they are wired to the nodes in it.

    Args:
        built: The nodes as the page saves them, by name.
        links: The links between them; those to the two ends are added.
        key: The subgraph's id.
    """

    def __init__(self, built: dict[str, dict[str, Any]], links: list[dict[str, Any]], key: str) -> None:
        self.built = built
        self.links = links
        self.key = key
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []

    def span(self) -> tuple[int, int]:
        """Return where the two ends stand: left and right of the nodes."""
        lefts = [node["pos"][0] for node in self.built.values()]
        rights = [node["pos"][0] + node["size"][0] for node in self.built.values()]
        return min(lefts) - END_GAP - END_WIDTH, max(rights) + END_GAP

    def input(self, name: str, type_: str, targets: tuple[tuple[str, str], ...], *, widget: bool = False) -> None:
        """Add an input that feeds these inputs of nodes."""
        numbers = []
        for node, target in targets:
            sockets = self.built[node]["inputs"]
            if widget:
                sockets.append({"name": target, "type": type_, "link": None, "widget": {"name": target}})
            slot = next(i for i, socket in enumerate(sockets) if socket["name"] == target)
            sockets[slot]["link"] = self._link(INPUT_NODE, len(self.inputs), self.built[node]["id"], slot, type_)
            numbers.append(sockets[slot]["link"])
        self.inputs.append(self._end(name, type_, numbers, self.span()[0] + END_WIDTH, len(self.inputs), widget=widget))

    def output(self, node: str, slot: int) -> None:
        """Add an output that an output of a node feeds."""
        inner = self.built[node]["outputs"][slot]
        number = self._link(self.built[node]["id"], slot, OUTPUT_NODE, len(self.outputs), inner["type"])
        inner["links"].append(number)
        self.outputs.append(self._end(inner["name"], inner["type"], [number], self.span()[1], len(self.outputs)))

    def _link(self, origin: int, slot: int, target: int, socket: int, type_: str) -> int:
        number = len(self.links) + 1
        link = {"id": number, "origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": socket}
        self.links.append({**link, "type": type_})
        return number

    def _end(self, name: str, type_: str, numbers: list[int], x: int, i: int, **more: bool) -> dict[str, Any]:
        key = str(uuid.uuid5(SPACE, f"{self.key} {name} {x} {i}"))
        return {"id": key, "name": name, "type": type_, "linkIds": numbers, "pos": [x, 110 + 20 * i], **more}


def _learn_and_apply() -> Blueprint:
    place = Place(0, "")
    nodes = [
        place.node("learn", "SingularEditLearnAttribute", "Learn Attribute"),
        Place(1, "").node("apply", "SingularEditApplyAttribute", "Apply Attribute", attribute=("learn", 0)),
    ]
    widgets = (("learn", "without"), ("learn", "with"), ("learn", "effort"), ("apply", "strength"))
    return Blueprint(
        Workflow("Learn an attribute and apply it", nodes, widgets),
        "Learns an attribute from two texts, once, and applies it to the model like a LoRA, for any KSampler.",
        (("model", (("learn", "model"), ("apply", "model"))), ("clip", (("learn", "clip"),))),
        (("apply", 0), ("learn", 0)),
    )


def _on_a_picture(name: str, description: str, last: Node, widgets: tuple[str, ...]) -> Blueprint:
    nodes = [Place(0, "").node("prepare", "SingularEditPreparePicture", "Prepare Picture"), last]
    shown = (("prepare", "describe"), ("prepare", "quality"), *((last.name, widget) for widget in widgets))
    inputs = [(socket, (("prepare", socket),)) for socket in ("model", "clip", "vae", "image")]
    attribute = ("attribute", (("prepare", "attribute"), (last.name, "attribute")))
    sockets = (*inputs, attribute, ("mask", ((last.name, "mask"),)))
    return Blueprint(Workflow(name, nodes, shown), description, sockets, ((last.name, 0), (last.name, 1)))


BLUEPRINTS = (
    _learn_and_apply(),
    _on_a_picture(
        "Edit a picture with an attribute",
        "Slides an attribute on a picture: Prepare Picture and Edit Picture as one node.",
        Place(1, "").node("edit", "SingularEditEditPicture", "Edit Picture", picture=("prepare", 0), on_original=True),
        ("strength", "on_original"),
    ),
    _on_a_picture(
        "A picture at several strengths",
        "A picture at several strengths of an attribute, with labels: Prepare Picture and Strength Sheet as one node.",
        Place(1, "").node(
            "sheet", "SingularEditStrengthSheet", "Strength Sheet", picture=("prepare", 0), on_original=True
        ),
        ("strengths", "on_original"),
    ),
)
