"""A described workflow in the two formats of ComfyUI: that of the page and that of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import layout
from pieces import Node, Workflow

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# The page gives whole numbers of these names a second widget, which says what becomes of them after a run.
SEEDS = ("seed", "noise_seed")
EMPTY = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}


@dataclass(frozen=True)
class Input:
    """An input as a ComfyUI server describes it."""

    name: str
    type: str
    options: dict[str, Any]
    optional: bool

    @property
    def is_widget(self) -> bool:
        """Whether it has a value of its own."""
        return self.type in WIDGETS

    @property
    def default(self) -> Any:
        """Its value where none is given."""
        if "default" in self.options:
            return self.options["default"]
        return self.options["options"][0] if self.type == "COMBO" else EMPTY[self.type]


def inputs_of(info: dict[str, Any], node: Node) -> list[Input]:
    """Return a node's inputs, in the order its widgets are stored."""
    if node.type == "MarkdownNote":
        return [Input("text", "STRING", {}, False)]
    inputs = []
    for kind in ("required", "optional"):
        for name, entry in info[node.type]["input"].get(kind, {}).items():
            type_ = entry[0]
            options = entry[1] if len(entry) > 1 else {}
            if isinstance(type_, list):
                options = {"options": type_, **options}
                type_ = "COMBO"
            inputs.append(Input(name, type_, options, kind == "optional"))
    return inputs


def api(nodes: list[Node], info: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow as /prompt takes it.

    Args:
        nodes: The workflow.
        info: What /object_info returns.

    Raises:
        ValueError: An input is missing, or is not the node's.
    """
    ids = {node.name: str(i) for i, node in enumerate(nodes, 1)}
    prompt = {}
    for node in nodes:
        if node.type == "MarkdownNote":
            continue
        inputs: dict[str, Any] = {}
        for item in inputs_of(info, node):
            value = node.inputs.get(item.name)
            if isinstance(value, tuple):
                inputs[item.name] = [ids[value[0]], value[1]]
            elif item.is_widget:
                inputs[item.name] = item.default if value is None else value
            elif not item.optional:
                raise ValueError(f"{node.name}: input {item.name} is not wired")
        unknown = set(node.inputs) - set(inputs)
        if unknown:
            raise ValueError(f"{node.name}: {node.type} has no input {unknown}")
        prompt[ids[node.name]] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    return prompt


def build(nodes: list[Node], info: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[list[Any]]]:
    """Return a workflow's nodes as the page saves them, by name, each in its place, and the links between them.

    Args:
        nodes: The workflow.
        info: What /object_info returns.
    """
    ids = {node.name: i for i, node in enumerate(nodes, 1)}
    links: list[list[Any]] = []
    built: dict[str, dict[str, Any]] = {}
    for order, node in enumerate(nodes):
        sockets, widgets = _sockets_and_widgets(node, info, ids, links)
        outputs = _outputs(node, info)
        slots = max(sum("widget" not in socket for socket in sockets), len(outputs))
        multiline = sum(bool(item.options.get("multiline")) for item in inputs_of(info, node))
        built[node.name] = {
            "id": ids[node.name],
            "type": node.type,
            "pos": [0, 0],
            "size": layout.size_of(node, slots, len(widgets), multiline),
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": sockets,
            "outputs": outputs,
            "title": node.title,
            "properties": {"Node name for S&R": node.type},
            "widgets_values": widgets,
        }
    by_id = {node["id"]: node for node in built.values()}
    for link in links:
        number, origin, slot = link[:3]
        output = by_id[origin]["outputs"][slot]
        output["links"].append(number)
        link[5] = output["type"]
    layout.place(nodes, built)
    return built, links


def page(workflow: Workflow, info: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow as ComfyUI's page saves it.

    Args:
        workflow: The workflow.
        info: What /object_info returns.
    """
    built, links = build(workflow.nodes, info)
    lanes = layout.Lanes(workflow.nodes, built)
    for link in links:
        lanes.lead(link)
    extra: dict[str, Any] = {"ds": layout.view(built, lanes.reroutes), "workflowRendererVersion": "LG"}
    if lanes.reroutes:
        extra |= {"reroutes": lanes.reroutes, "linkExtensions": lanes.parents}
    if workflow.inputs:
        inputs = []
        for name, widget, *label in workflow.inputs:
            inputs.append([str(built[name]["id"]), widget])
            if label:
                _call(built[name], widget, label[0], info)
        outputs = [str(built[name]["id"]) for name in workflow.outputs]
        # The graph is what opens, with its note and what its nodes say; the page offers the app beside it.
        extra |= {"linearData": {"inputs": inputs, "outputs": outputs}}
    return {
        "last_node_id": len(workflow.nodes),
        "last_link_id": len(links),
        "nodes": list(built.values()),
        "links": links,
        "groups": layout.groups(workflow.nodes, built),
        "config": {},
        "extra": extra,
        "version": 0.4,
    }


def _call(node: dict[str, Any], widget: str, label: str, info: dict[str, Any]) -> None:
    """Give a widget another name on the page, by the socket that it has there."""
    inputs = {**info[node["type"]]["input"].get("required", {}), **info[node["type"]]["input"].get("optional", {})}
    kind = inputs[widget][0]
    node["inputs"].append(
        {
            "name": widget,
            "type": kind if isinstance(kind, str) else "COMBO",
            "label": label,
            "link": None,
            "widget": {"name": widget},
        }
    )


def _sockets_and_widgets(
    node: Node, info: dict[str, Any], ids: dict[str, int], links: list[list[Any]]
) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return a node's sockets and the values of its widgets, and add its links to ``links``."""
    sockets: list[dict[str, Any]] = []
    widgets: list[Any] = []
    for item in inputs_of(info, node):
        value = node.inputs.get(item.name)
        wired = isinstance(value, tuple)
        if item.is_widget:
            # A widget that a wire feeds keeps its place among the values.
            widgets.append(item.default if value is None or wired else value)
            if item.options.get("control_after_generate") or item.name in SEEDS:
                widgets.append("fixed")
            if not wired:
                continue
        number = None
        if value is not None:
            number = len(links) + 1
            links.append([number, ids[value[0]], value[1], ids[node.name], len(sockets), item.type])
        socket = {"name": item.name, "type": item.type, "link": number}
        if item.is_widget:
            socket["widget"] = {"name": item.name}
        sockets.append(socket)
    return sockets, widgets


def _outputs(node: Node, info: dict[str, Any]) -> list[dict[str, Any]]:
    definition = info.get(node.type, {"output": [], "output_name": []})
    outputs = []
    for name, type_ in zip(definition["output_name"], definition["output"], strict=True):
        outputs.append({"name": name, "type": type_, "links": []})
    return outputs
