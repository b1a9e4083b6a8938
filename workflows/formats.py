"""A described workflow in the two formats of ComfyUI: that of the page and that of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pieces import Node

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
# The page gives an INT of such a name a control of its own, "randomize" unless one is stored: a new seed at every Run.
SEEDS = ("seed", "noise_seed")
EMPTY = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
# Layout of the page.
WIDTH = 320
COLUMN_GAP = 70
ROW_GAP = 60
LEFT = 40
TOP = 90
GROUP_MARGIN = 20
GROUP_TITLE = 55
GROUP_COLORS = ("#3f789e", "#88AA88", "#8A8", "#b58b2a", "#a1309b", "#3f9e8c")


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


def page(nodes: list[Node], info: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow as ComfyUI's page saves it.

    Args:
        nodes: The workflow.
        info: What /object_info returns.
    """
    ids = {node.name: i for i, node in enumerate(nodes, 1)}
    links: list[list[Any]] = []
    built: dict[str, dict[str, Any]] = {}
    bottoms: dict[int, int] = {}
    for order, node in enumerate(nodes):
        sockets, widgets = _sockets_and_widgets(node, info, ids, links)
        outputs = _outputs(node, info)
        height = node.height or 50 + 22 * max(len(sockets), len(outputs)) + 28 * len(widgets)
        y = bottoms.get(node.column, TOP)
        bottoms[node.column] = y + height + ROW_GAP
        built[node.name] = {
            "id": ids[node.name],
            "type": node.type,
            "pos": [LEFT + node.column * (WIDTH + COLUMN_GAP), y],
            "size": [WIDTH, height],
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
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": list(built.values()),
        "links": links,
        "groups": _groups(nodes, built),
        "config": {},
        "extra": {"ds": {"scale": 0.6, "offset": [0, 0]}},
        "version": 0.4,
    }


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
            if item.options.get("control_after_generate") or (item.type == "INT" and item.name in SEEDS):
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


def _groups(nodes: list[Node], built: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a box around the nodes of each group."""
    boxes = []
    for i, title in enumerate(dict.fromkeys(node.group for node in nodes)):
        inside = [built[node.name] for node in nodes if node.group == title]
        left = min(node["pos"][0] for node in inside) - GROUP_MARGIN
        top = min(node["pos"][1] for node in inside) - GROUP_MARGIN - GROUP_TITLE
        right = max(node["pos"][0] + node["size"][0] for node in inside) + GROUP_MARGIN
        bottom = max(node["pos"][1] + node["size"][1] for node in inside) + GROUP_MARGIN
        boxes.append(
            {
                "id": i + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": GROUP_COLORS[i],
                "font_size": 22,
                "flags": {},
            }
        )
    return boxes
