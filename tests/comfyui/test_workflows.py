"""The shipped workflow files: whole, wired, twinned, readable, with a picture."""

import json
from pathlib import Path

import pytest
from helpers.wires import box, overlap, runs_under, spline, straight
from PIL import Image

PACK = Path(__file__).resolve().parents[2]
WORKFLOWS = PACK / "workflows"
ARTIST = {
    "Put glasses on a picture",
    "Slide a saved attribute",
    "Apply an attribute like a LoRA (text to image)",
    "Five strengths with labels",
    "Two attributes at once",
    "Two attributes on a picture",
    "From two drawings",
    "Your own checkpoint, SD1.5",
    "Your own checkpoint, SDXL",
    "Your own checkpoint with a LoRA",
    "Your own checkpoint with a ControlNet",
}
ADVANCED = {"invert_and_rebuild", "svd_attribute", "svd_from_pictures", "asyrp_edit", "asyrp_two_directions"}
NAMES = [*sorted(ARTIST), *(f"advanced/{name}" for name in sorted(ADVANCED))]
# Inputs of an app that choose a file or the picture; the others are decisions.
CHOICES = {"ckpt_name", "lora_name", "control_net_name", "image", "file", "seed"}
# What a reader's window shows beside ComfyUI's bars, and the zoom below which the page draws no text.
WINDOW = 1400
READABLE = 0.6
STOCK = sorted(
    ["SingularEditDemoModel", "EmptyLatentImage", "KSampler", "VAEDecode", "SaveImage", *2 * ["CLIPTextEncode"]]
)


def load(name):
    return json.loads((WORKFLOWS / f"{name}.json").read_text())


def load_api(name):
    path = WORKFLOWS / f"{name}.json"
    return json.loads((path.parent / "api" / path.name).read_text())


def drawn(flow):
    """The nodes that are no notes."""
    return [node for node in flow["nodes"] if node["type"] != "MarkdownNote"]


def test_the_workflows_are_there():
    assert {path.stem for path in WORKFLOWS.glob("*.json")} == ARTIST
    assert {path.stem for path in (WORKFLOWS / "advanced").glob("*.json")} == ADVANCED
    for folder in (WORKFLOWS, WORKFLOWS / "advanced"):
        assert {path.name for path in (folder / "api").glob("*")} == {path.name for path in folder.glob("*.json")}


def test_names_are_safe_in_addresses_and_on_every_disk():
    for name in ARTIST:
        assert not set(name) & set('<>:"/\\|?*#%&+;')
        assert name == name.strip(" .")


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
    twin = load_api(name)
    nodes = {str(node["id"]): node for node in drawn(flow)}
    types = {key: node["type"] for key, node in nodes.items()}
    assert types == {key: node["class_type"] for key, node in twin.items()}
    assert links_of_page(flow) == links_of_api(twin)
    for key, node in nodes.items():
        inputs = twin[key]["inputs"]
        wanted = {name: value for name, value in inputs.items() if not isinstance(value, list)}
        assert values_of_page(node, inputs) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_person_can_read_it(name):
    flow = load(name)
    assert flow["groups"]
    assert any(node["type"] == "MarkdownNote" for node in flow["nodes"])
    for i, node in enumerate(flow["nodes"]):
        assert not any(overlap(box(node), box(other)) for other in flow["nodes"][:i]), node["title"]
    assert READABLE <= flow["extra"]["ds"]["scale"] <= 1


@pytest.mark.parametrize("curve", [spline, straight])
@pytest.mark.parametrize("name", sorted(ARTIST))
def test_no_wire_runs_under_a_node(name, curve):
    flow = load(name)
    under = {tuple(link[:5]): runs_under(flow, link, curve) for link in flow["links"]}
    assert {link: titles for link, titles in under.items() if titles} == {}


@pytest.mark.parametrize("name", sorted(ARTIST))
def test_groups_do_not_overlap(name):
    boxes = []
    for group in load(name)["groups"]:
        x, y, width, height = group["bounding"]
        boxes.append((x, y, x + width, y + height))
    for i, one in enumerate(boxes):
        assert not any(overlap(one, other) for other in boxes[:i])


@pytest.mark.parametrize("name", sorted(ARTIST))
def test_it_opens_in_sight(name):
    flow = load(name)
    scale, (left, _) = flow["extra"]["ds"]["scale"], flow["extra"]["ds"]["offset"]
    edges = [(box(node)[0] + left) * scale for node in flow["nodes"]]
    assert min(edges) > 0
    rights = [(box(node)[2] + left) * scale for node in flow["nodes"]]
    assert max(rights) < WINDOW + 100 or scale < READABLE + 0.05


def called_on_the_page(node, widget):
    """What the page calls a widget: by its socket, where that has a label."""
    labels = {socket["name"]: socket.get("label") for socket in node["inputs"]}
    return labels.get(widget) or widget


@pytest.mark.parametrize("name", sorted(ARTIST))
def test_it_opens_as_a_graph_and_offers_an_app(name):
    flow = load(name)
    nodes = {str(node["id"]): node for node in flow["nodes"]}
    twin = load_api(name)
    assert "linearMode" not in flow["extra"]
    app = flow["extra"]["linearData"]
    for key, widget in app["inputs"]:
        assert not isinstance(twin[key]["inputs"][widget], list)
    assert app["inputs"]
    called = [called_on_the_page(nodes[key], widget) for key, widget in app["inputs"]]
    assert len(called) == len(set(called))
    shows_pictures = {"SingularEditEditPicture", "SingularEditStrengthSheet", "SaveImage"}
    assert {nodes[key]["type"] for key in app["outputs"]} & shows_pictures


@pytest.mark.parametrize(
    ("name", "nodes", "wires", "decisions"),
    [
        ("Your own checkpoint, SD1.5", 6, 9, 3),
        ("Your own checkpoint, SDXL", 6, 9, 3),
        ("Put glasses on a picture", 6, 9, 3),
        ("Slide a saved attribute", 6, 7, 1),
        ("Five strengths with labels", 6, 9, 1),
    ],
)
def test_it_is_as_small_as_promised(name, nodes, wires, decisions):
    flow = load(name)
    assert len(drawn(flow)) <= nodes
    assert len(flow["links"]) <= wires
    asked = [widget for _, widget in flow["extra"]["linearData"]["inputs"] if widget not in CHOICES]
    assert len(asked) <= decisions


def test_text_to_image_is_the_stock_graph_and_two_nodes():
    types = [node["type"] for node in drawn(load("Apply an attribute like a LoRA (text to image)"))]
    ours = ["SingularEditLoadAttribute", "SingularEditApplyAttribute"]
    assert sorted(types) == sorted([*STOCK, *ours])


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_picture(name):
    path = WORKFLOWS / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        if name in ARTIST:
            assert picture.size == (400, 400)
    assert path.stat().st_size < (40_000 if name in ARTIST else 200_000)


@pytest.mark.parametrize("path", sorted((PACK / "subgraphs").glob("*.json")), ids=lambda path: path.stem)
def test_a_blueprint_is_whole(path):
    flow = json.loads(path.read_text())
    (whole,) = flow["nodes"]
    (inner,) = flow["definitions"]["subgraphs"]
    assert whole["type"] == inner["id"]
    assert whole["title"] == inner["name"] == path.stem
    links = {link["id"]: link for link in inner["links"]}
    nodes = {node["id"]: node for node in inner["nodes"]}
    for i, end in enumerate(inner["inputs"]):
        assert whole["inputs"][i]["name"] == end["name"]
        for number in end["linkIds"]:
            link = links.pop(number)
            socket = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert (link["origin_id"], link["origin_slot"]) == (inner["inputNode"]["id"], i)
            assert socket["link"] == number
            assert ("widget" in socket) == ("widget" in whole["inputs"][i])
    for i, end in enumerate(inner["outputs"]):
        (number,) = end["linkIds"]
        link = links.pop(number)
        assert (link["target_id"], link["target_slot"]) == (inner["outputNode"]["id"], i)
        assert number in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
    for number, link in links.items():
        assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == number
        assert number in nodes[link["origin_id"]]["outputs"][link["origin_slot"]]["links"]
    shown = [socket["name"] for socket in whole["inputs"] if "widget" in socket]
    assert whole["properties"]["proxyWidgets"] == [["-1", name] for name in shown]
    assert len(whole["widgets_values"]) == len(shown)


def test_there_are_three_blueprints():
    assert len(list((PACK / "subgraphs").glob("*.json"))) == 3
