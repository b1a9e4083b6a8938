"""Where everything stands on the page: nodes in columns, boxes around groups, and wires that pass beside nodes."""

from __future__ import annotations

from typing import Any

from pieces import Node

# Of ComfyUI's page, in pixels. Widgets are given a little more, for its newer way of drawing nodes takes more.
TITLE = 30
SLOT = 20
SLOT_ROW = 22
WIDGET_ROW = 26
MARGIN = 30
WIDTH = 280
# A node is as wide as its title asks for, at least: the rest of the title bar, and a letter.
TITLE_MARGIN = 40
TITLE_LETTER = 8
WIDTHS = {
    "SingularEditEditPicture": 420,
    "SingularEditStrengthSheet": 620,
    "VAEDecode": 180,
    "SaveImage": 250,
}
# What nodes show below their widgets: pictures, and the line that says what a node is doing.
PICTURE = 220
STATUS = 56
SHOWN = {
    "LoadImage": PICTURE + WIDGET_ROW,  # the button to upload
    "PreviewImage": PICTURE,
    "SaveImage": PICTURE,
    "PreviewAny": 120,
    "SingularEditLearnAttribute": PICTURE + STATUS,
    "SingularEditLoadAttribute": PICTURE + STATUS,
    "SingularEditPreparePicture": STATUS,
    "SingularEditEditPicture": PICTURE + STATUS,
    "SingularEditStrengthSheet": PICTURE + STATUS,
}
TEXT_HEIGHT = 70  # of a widget of several lines, beyond a widget's row
# A note is as high as its text: characters on a line, and the height of a line.
NOTE_LINE = 42
NOTE_LINE_HEIGHT = 16
NOTE_MARGIN = 40

LEFT = 40
TOP = 90
COLUMN_GAP = 90
ROW_GAP = 60
GROUP_GAP = 110
GROUP_MARGIN = 20
GROUP_TITLE = 55
GROUP_COLORS = ("#3f789e", "#88AA88", "#8A8", "#b58b2a", "#a1309b", "#3f9e8c")
# Between a wire and a node, and between two wires side by side.
CLEARANCE = 14
LANE_STEP = 6
LANE_GAP = 18
LANES = 12  # that there is room for above all nodes, and below them
# What a reader's window shows beside ComfyUI's own bars, and where it begins.
WINDOW = (1400, 800)
CORNER = (80, 90)


def size_of(node: Node, slots: int, widgets: int, multiline: int) -> list[int]:
    """Return a node's width and height.

    Args:
        node: The node.
        slots: Rows of sockets.
        widgets: Its widgets.
        multiline: Those of them that hold several lines.
    """
    width = max(WIDTHS.get(node.type, WIDTH), TITLE_MARGIN + TITLE_LETTER * len(node.title))
    if node.type == "MarkdownNote":
        lines = sum(1 + len(line) // NOTE_LINE for line in node.inputs["text"].split("\n"))
        return [width, NOTE_MARGIN + NOTE_LINE_HEIGHT * lines]
    rows = SLOT_ROW * slots + WIDGET_ROW * widgets + TEXT_HEIGHT * multiline
    return [width, MARGIN + rows + SHOWN.get(node.type, 0)]


def place(nodes: list[Node], built: dict[str, dict[str, Any]]) -> None:
    """Set where each node stands: below the one before it in its column."""
    lefts, left = {}, LEFT
    for column in range(1 + max(node.column for node in nodes)):
        lefts[column] = left
        inside = [built[node.name]["size"][0] for node in nodes if node.column == column]
        left += max(inside, default=0) + COLUMN_GAP
    bottoms: dict[int, int] = {}
    groups: dict[int, str] = {}
    for node in nodes:
        gap = ROW_GAP if groups.get(node.column, node.group) == node.group else GROUP_GAP
        y = bottoms[node.column] + gap if node.column in bottoms else TOP
        built[node.name]["pos"] = [lefts[node.column], y]
        bottoms[node.column] = y + built[node.name]["size"][1]
        groups[node.column] = node.group


def groups(nodes: list[Node], built: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
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
                "color": GROUP_COLORS[i % len(GROUP_COLORS)],
                "font_size": 22,
                "flags": {},
            }
        )
    return boxes


def view(built: dict[str, dict[str, Any]], reroutes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the zoom and the offset that show the whole workflow, or its beginning where it is too wide to read."""
    left, top = (min(node["pos"][axis] for node in built.values()) - GROUP_MARGIN for axis in (0, 1))
    top = min([top - GROUP_TITLE, *(reroute["pos"][1] - GROUP_MARGIN for reroute in reroutes)])
    spans = []
    for axis, start in ((0, left), (1, top)):
        end = max(node["pos"][axis] + node["size"][axis] for node in built.values()) + GROUP_MARGIN
        spans.append(WINDOW[axis] / (end - start))
    scale = round(max(0.6, min(1.0, *spans)), 2)
    return {"scale": scale, "offset": [round(CORNER[0] / scale - left), round(CORNER[1] / scale - top)]}


class Lanes:
    """Wires that would pass under nodes, led past them on reroutes.

    Args:
        nodes: The workflow.
        built: Its nodes as the page saves them, by name.
    """

    def __init__(self, nodes: list[Node], built: dict[str, dict[str, Any]]) -> None:
        self.columns = {built[node.name]["id"]: node.column for node in nodes}
        self.nodes = {node["id"]: node for node in built.values()}
        # What each node, and the title of a group that begins with it, takes above itself.
        self.heads: dict[int, int] = {}
        begun = set()
        for node in nodes:
            first = (node.column, node.group) not in begun
            begun.add((node.column, node.group))
            self.heads[built[node.name]["id"]] = GROUP_MARGIN + GROUP_TITLE if first else TITLE + CLEARANCE
        self.lanes: list[tuple[int, int, int, tuple[int, int]]] = []  # y, first and last column, and the output
        self.reroutes: list[dict[str, Any]] = []
        self.parents: list[dict[str, int]] = []

    def lead(self, link: list[Any]) -> None:
        """Lead a link past the columns between its two nodes; one between neighbours needs no help."""
        number, origin, slot, target, socket = link[:5]
        first, last = self.columns[origin] + 1, self.columns[target] - 1
        if first > last:
            return
        start = self._y(origin, slot)
        y = self._free(start, self._y(target, socket), first, last, (origin, slot))
        self.lanes.append((y, first, last, (origin, slot)))
        entry = self._reroute(number, self._edge(first, left=True) - COLUMN_GAP // 3, y, None)
        leave = self._reroute(number, self._edge(last, left=False) + COLUMN_GAP // 3, y, entry)
        self.parents.append({"id": number, "parentId": leave})

    def _y(self, node: int, slot: int) -> float:
        return self.nodes[node]["pos"][1] + SLOT * (slot + 0.7)

    def _edge(self, column: int, left: bool) -> int:
        """Return the left or right edge of a column."""
        inside = [node for key, node in self.nodes.items() if self.columns[key] == column]
        edges = [node["pos"][0] + (0 if left else node["size"][0]) for node in inside]
        return min(edges) if left else max(edges)

    def _free(self, start: float, end: float, first: int, last: int, output: tuple[int, int]) -> int:
        """Return the height of the lane that asks for the smallest detour."""
        taken = []
        for key, node in self.nodes.items():
            if first <= self.columns[key] <= last:
                top = node["pos"][1]
                taken.append((top - self.heads[key], top + node["size"][1] + CLEARANCE))
        for y, from_, to, other in self.lanes:
            if other != output and from_ <= last and first <= to:
                taken.append((y - LANE_GAP, y + LANE_GAP))
        lowest = TOP - GROUP_MARGIN - GROUP_TITLE - LANES * LANE_GAP
        highest = max(node["pos"][1] + node["size"][1] for node in self.nodes.values()) + LANES * LANE_GAP
        lanes = range(lowest, highest, LANE_STEP)
        free = [y for y in lanes if not any(low < y < high for low, high in taken)]
        # Wires of one output share a lane where that costs little.
        shared = {lane[0] for lane in self.lanes if lane[3] == output}
        return min(free, key=lambda y: abs(y - start) + abs(y - end) - (LANE_GAP if y in shared else 0))

    def _reroute(self, link: int, x: int, y: int, parent: int | None) -> int:
        """Return the reroute at this place, one more link on it; it is made where there is none."""
        for reroute in self.reroutes:
            if reroute["pos"] == [x, y] and reroute.get("parentId") == parent:
                reroute["linkIds"].append(link)
                return reroute["id"]
        made: dict[str, Any] = {"id": len(self.reroutes) + 1, "pos": [x, y], "linkIds": [link]}
        if parent is not None:
            made["parentId"] = parent
        self.reroutes.append(made)
        return made["id"]
