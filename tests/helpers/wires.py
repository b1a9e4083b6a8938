"""Where the wires of a saved workflow run on the page, and what they run under."""

from __future__ import annotations

import itertools
import math

TITLE = 30
SLOT = 20
WIDGET = 24
POINTS = 60
# A wire may touch a node's edge: the page rounds corners and draws a shadow.
TOUCH = 8


def box(node: dict) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a node, its title included."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(one: tuple, other: tuple, gap: float = 0) -> bool:
    """Whether two boxes lie on each other, or nearer than a gap."""
    return one[0] < other[2] + gap and other[0] < one[2] + gap and one[1] < other[3] + gap and other[1] < one[3] + gap


def output_point(node: dict, slot: int) -> tuple[float, float]:
    return node["pos"][0] + node["size"][0], node["pos"][1] + SLOT * (slot + 0.7)


def input_point(node: dict, slot: int) -> tuple[float, float]:
    plain = [i for i, socket in enumerate(node["inputs"]) if "widget" not in socket]
    x, y = node["pos"]
    if slot in plain:
        return x, y + SLOT * (plain.index(slot) + 0.7)
    rows = max(len(plain), len(node["outputs"]))
    return x, y + SLOT * rows + WIDGET * (slot - len(plain) + 0.5)


def corners(flow: dict, link: list) -> list[tuple[float, float]]:
    """The points that a wire is led through: its output, its reroutes, its input."""
    nodes = {node["id"]: node for node in flow["nodes"]}
    number, origin, slot, target, socket, _ = link
    reroutes = {reroute["id"]: reroute for reroute in flow["extra"].get("reroutes", [])}
    parents = {extension["id"]: extension["parentId"] for extension in flow["extra"].get("linkExtensions", [])}
    passed = []
    key = parents.get(number)
    while key is not None:
        assert number in reroutes[key]["linkIds"]
        passed.append(tuple(reroutes[key]["pos"]))
        key = reroutes[key].get("parentId")
    return [output_point(nodes[origin], slot), *reversed(passed), input_point(nodes[target], socket)]


def straight(start: tuple, end: tuple) -> list[tuple[float, float]]:
    shares = [i / POINTS for i in range(POINTS + 1)]
    return [tuple(a + t * (b - a) for a, b in zip(start, end, strict=True)) for t in shares]


def spline(start: tuple, end: tuple) -> list[tuple[float, float]]:
    """The page's curve: it leaves to the right and arrives from the left, a quarter of the distance each."""
    reach = 0.25 * math.dist(start, end)
    controls = (start, (start[0] + reach, start[1]), (end[0] - reach, end[1]), end)
    points = []
    for i in range(POINTS + 1):
        t = i / POINTS
        weights = ((1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3)
        points.append(tuple(sum(w * c[axis] for w, c in zip(weights, controls, strict=True)) for axis in (0, 1)))
    return points


def runs_under(flow: dict, link: list, curve) -> list[str]:
    """Titles of the nodes that a wire runs under."""
    points = []
    through = corners(flow, link)
    for start, end in itertools.pairwise(through):
        points += curve(start, end)
    found = []
    for node in flow["nodes"]:
        left, top, right, bottom = box(node)
        inside = (left + TOUCH, top + TOUCH, right - TOUCH, bottom - TOUCH)
        if any(inside[0] < x < inside[2] and inside[1] < y < inside[3] for x, y in points):
            found.append(node["title"])
    return found
