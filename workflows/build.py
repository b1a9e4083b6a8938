"""Write the example workflows, in UI format and in API format, from the descriptions below.

    python workflows/build.py http://127.0.0.1:8188

asks a running ComfyUI for its node definitions, so that widgets land in the order it stores them. Each workflow is a
list of nodes in columns; groups are drawn around the nodes that name them.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
WIDTH, GAP, TOP = 320, 70, 90


@dataclass
class Node:
    """inputs: widget values, or (name of a node, output slot). Widgets left out take their defaults."""

    name: str
    type: str
    column: int
    group: str
    title: str
    inputs: dict = field(default_factory=dict)
    height: int = 0


def note(column: int, group: str, text: str, height: int = 200) -> Node:
    return Node(f"note {group}", "MarkdownNote", column, group, "Read me", {"text": text}, height)


def model(column: int, group: str, *prompts: tuple[str, str]) -> list[Node]:
    """The demo model and one CLIP Text Encode a (name, text). Replace the first by a checkpoint loader."""
    return [
        Node("demo", "SingularEditDemoModel", column, group, "Demo Face Model (or your checkpoint loader)"),
        *(
            Node(name, "CLIPTextEncode", column, group, f'{name}: "{text}"', {"text": text, "clip": ("demo", 1)}, 130)
            for name, text in prompts
        ),
    ]


def decode(name: str, samples: tuple[str, int], column: int, group: str, title: str) -> list[Node]:
    """VAE Decode and a preview, enlarged without smoothing."""
    return [
        Node(f"{name} decode", "VAEDecode", column, group, "VAE Decode", {"samples": samples, "vae": ("demo", 2)}),
        *show(name, (f"{name} decode", 0), column, group, title),
    ]


def show(name: str, image: tuple[str, int], column: int, group: str, title: str) -> list[Node]:
    return [
        Node(
            f"{name} large",
            "ImageScale",
            column,
            group,
            "4 times larger",
            {"image": image, "upscale_method": "nearest-exact", "width": 256, "height": 256, "crop": "disabled"},
        ),
        Node(name, "PreviewImage", column, group, title, {"images": (f"{name} large", 0)}, 320),
    ]


def picture(seed: int, column: int, group: str, **attributes: str) -> list[Node]:
    return [
        Node("face", "SingularEditDemoFace", column, group, "Demo Face (or Load Image)", {"seed": seed, **attributes}),
        Node("encode", "VAEEncode", column, group, "VAE Encode", {"pixels": ("face", 0), "vae": ("demo", 2)}),
        *show("original", ("face", 0), column, group, "The picture"),
    ]


def schedule(column: int, group: str) -> list[Node]:
    return [
        Node(
            "sigmas",
            "BasicScheduler",
            column,
            group,
            "The sampler's own sigmas",
            {"model": ("demo", 0), "scheduler": "normal", "steps": 25, "denoise": 1.0},
        )
    ]


def invert(column: int, group: str, cfg: float, **inputs) -> list[Node]:
    return [
        Node(
            "invert",
            "SingularEditLatentInvert",
            column,
            group,
            "Latent Invert",
            {
                "model": ("demo", 0),
                "positive": ("source", 0),
                "negative": ("negative", 0),
                "latent_image": ("encode", 0),
                "sigmas": ("sigmas", 0),
                "cfg": cfg,
                **inputs,
            },
        ),
        Node("report", "PreviewAny", column, group, "Report of the inversion", {"source": ("invert", 2)}, 140),
    ]


def sample(name: str, sampler: tuple[str, int], column: int, group: str, cfg: float, title: str) -> Node:
    """The way back, on the schedule that the inversion hands over."""
    return Node(
        name,
        "SamplerCustom",
        column,
        group,
        title,
        {
            "model": ("demo", 0),
            "add_noise": False,
            "noise_seed": 0,
            "cfg": cfg,
            "positive": ("source", 0),
            "negative": ("negative", 0),
            "sampler": sampler,
            "sigmas": ("invert", 3),
            "latent_image": ("invert", 0),
        },
    )


def ksampler(
    name: str,
    prompt: str,
    start: int,
    end: int,
    seed: int,
    latent: tuple[str, int],
    column: int,
    group: str,
    title: str,
) -> Node:
    first = start == 0
    return Node(
        name,
        "KSamplerAdvanced",
        column,
        group,
        title,
        {
            "model": ("demo", 0),
            "add_noise": "enable" if first else "disable",
            "noise_seed": seed,
            "steps": 25,
            "cfg": 2.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "positive": (prompt, 0),
            "negative": ("negative", 0),
            "latent_image": latent,
            "start_at_step": start,
            "end_at_step": end,
            "return_with_leftover_noise": "enable" if end < 25 else "disable",
        },
    )


def learn(
    name: str, target: str, samples: int, steps: int, column: int, group: str, title: str = "h-Space Direction Learn"
) -> Node:
    """A readout, learned eight noises at a time, towards the prompt ``target``."""
    return Node(
        f"learn {name}",
        "SingularEditHDirectionLearn",
        column,
        group,
        title,
        {
            "model": ("demo", 0),
            "source": ("source", 0),
            "target": (target, 0),
            "negative": ("negative", 0),
            "latent_image": ("batch", 0),
            "sigmas": ("sigmas", 0),
            "samples": samples,
            "steps": steps,
            "name": name,
        },
    )


def edited(
    name: str, direction: tuple[str, int], column: int, shown: int, group: str, title: str, **inputs
) -> list[Node]:
    """The inverted picture, resampled by Asyrp Sampler; ``shown``: the column of the result."""
    return [
        Node(
            f"asyrp {name}",
            "SingularEditAsyrpSampler",
            column,
            group,
            "Asyrp Sampler",
            {"direction": direction, **inputs},
        ),
        sample(f"edit {name}", (f"asyrp {name}", 0), column, group, 1.5, "SamplerCustom from the inverted code"),
        *decode(name, (f"edit {name}", 0), shown, group, title),
    ]


def invert_and_rebuild() -> list[Node]:
    g = ("1. A model and a picture", "2. Invert", "3. Rebuild with the stock sampler")
    return [
        note(
            0,
            g[0],
            "**Invert and rebuild.** Latent Invert finds the noise from which the stock sampler gives this very picture back. The report says how "
            "well each step was solved. Try heun or dpmpp_2m in *KSamplerSelect*.\n\nTo use your own model: replace *Demo Face Model* by your checkpoint loader and *Demo "
            "Face* by *Load Image*. Model, prompts and cfg must be the same on both ways; sampler and sigmas are, by their wires.",
        ),
        *model(0, g[0], ("source", "a face"), ("negative", "")),
        *picture(8, 1, g[0]),
        *schedule(2, g[1]),
        Node("euler", "KSamplerSelect", 2, g[1], "The stock sampler, for both ways", {"sampler_name": "euler"}),
        *invert(2, g[1], 1.5, sampler=("euler", 0)),
        sample("rebuild", ("euler", 0), 3, g[2], 1.5, "SamplerCustom, add_noise off"),
        *decode("rebuilt", ("rebuild", 0), 4, g[2], "The same picture, rebuilt from noise"),
    ]


def svd_attribute(step: int = 17) -> list[Node]:
    g = (
        "1. A model and two prompts",
        f"2. A pair of codes at step {step}",
        "3. Learn the attribute",
        "4. Slide it on that face",
        "5. Slide it on another face",
    )
    seed, other = 0, 1
    return [
        note(
            0,
            g[0],
            "**Latent SVD.** *Latent Pair* carries one noise under two prompts, *a face* and *a face with a hat*, which share their first steps, where the layout forms, "
            f"and part as late as the attribute allows; both stop at step {step} with leftover noise. *SVD Attribute Learn* keeps what differs as a few singular atoms; *Latent SVD "
            "Edit* slides it on a code, and the last KSampler goes on with the *source* prompt.\n\nA larger batch_size in *Shape* learns the mean of many pairs, which travels better.",
            300,
        ),
        *model(0, g[0], ("source", "a face"), ("target", "a face with a hat"), ("negative", "")),
        Node(
            "shape",
            "EmptyLatentImage",
            1,
            g[1],
            "Shape: 128 gives this tiny model's 16x16 latent",
            {"width": 128, "height": 128, "batch_size": 1},
        ),
        *schedule(1, g[1]),
        Node("noise", "RandomNoise", 1, g[1], "A face", {"noise_seed": seed}),
        Node(
            "pair",
            "SingularEditLatentPair",
            1,
            g[1],
            "Latent Pair",
            {
                "model": ("demo", 0),
                "source": ("source", 0),
                "target": ("target", 0),
                "negative": ("negative", 0),
                "noise": ("noise", 0),
                "latent_image": ("shape", 0),
                "sigmas": ("sigmas", 0),
                "at_step": step,
            },
        ),
        Node("parted", "PreviewAny", 1, g[1], "Where the prompts part", {"source": ("pair", 4)}, 140),
        Node(
            "learn",
            "SingularEditSVDAttributeLearn",
            2,
            g[2],
            "SVD Attribute Learn",
            {"source": ("pair", 0), "target": ("pair", 1), "source_sigma": ("pair", 3), "name": "hat"},
        ),
        Node("spectra", "PreviewImage", 2, g[2], "Spectra", {"images": ("learn", 1)}, 300),
        Node("learned", "PreviewAny", 2, g[2], "Report", {"source": ("learn", 2)}, 140),
        Node(
            "save",
            "SingularEditSaveAttribute",
            2,
            g[2],
            "Save Attribute",
            {"attribute": ("learn", 0), "filename_prefix": "hat"},
        ),
        Node(
            "edit",
            "SingularEditLatentSVDEdit",
            3,
            g[3],
            "Latent SVD Edit",
            {"latent": ("pair", 0), "attribute": ("learn", 0)},
        ),
        ksampler("finish", "source", step, 25, seed, ("edit", 0), 3, g[3], "Go on with the source prompt"),
        *decode("edited", ("finish", 0), 3, g[3], "That face, edited"),
        ksampler("finish plain", "source", step, 25, seed, ("pair", 0), 4, g[3], "Without the edit"),
        *decode("plain", ("finish plain", 0), 4, g[3], "That face, unedited"),
        ksampler("other code", "source", 0, step, other, ("shape", 0), 5, g[4], "Another seed"),
        Node(
            "edit other",
            "SingularEditLatentSVDEdit",
            5,
            g[4],
            "Latent SVD Edit",
            {"latent": ("other code", 0), "attribute": ("learn", 0)},
        ),
        ksampler("finish other", "source", step, 25, other, ("edit other", 0), 5, g[4], "Go on with the source prompt"),
        *decode("other edited", ("finish other", 0), 6, g[4], "The other face, edited"),
        ksampler("finish other plain", "source", step, 25, other, ("other code", 0), 6, g[4], "Without the edit"),
        *decode("other plain", ("finish other plain", 0), 6, g[4], "The other face, unedited"),
    ]


def svd_from_pictures(step: int = 17) -> list[Node]:
    g = (
        "1. A model",
        "2. Two pictures, before and after",
        "3. Both as codes",
        "4. Learn the attribute",
        "5. Another face",
        "6. Slide it on",
    )

    def face(name: str, seed: int, hat: str, column: int, group: str, title: str) -> list[Node]:
        return [
            Node(
                name,
                "SingularEditDemoFace",
                column,
                group,
                f"{title}: Demo Face (or Load Image)",
                {"seed": seed, "hat": hat},
            ),
            Node(f"{name} encode", "VAEEncode", column, group, "VAE Encode", {"pixels": (name, 0), "vae": ("demo", 2)}),
            *show(f"{name} shown", (name, 0), column, group, title),
        ]

    def code(name: str, column: int, group: str) -> Node:
        return Node(
            f"{name} code",
            "SingularEditLatentInvert",
            column,
            group,
            f"Latent Invert: {name}, to step {step}",
            {
                "model": ("demo", 0),
                "positive": ("source", 0),
                "negative": ("negative", 0),
                "latent_image": (f"{name} encode", 0),
                "sigmas": ("sigmas", 0),
                "cfg": 1.5,
                "stop_at_step": step,
            },
        )

    def finish(name: str, latent: tuple[str, int], column: int, title: str) -> list[Node]:
        return [
            Node(
                f"finish {name}",
                "SamplerCustom",
                column,
                g[5],
                "Go on from the code",
                {
                    "model": ("demo", 0),
                    "add_noise": False,
                    "noise_seed": 0,
                    "cfg": 1.5,
                    "positive": ("source", 0),
                    "negative": ("negative", 0),
                    "sampler": ("euler", 0),
                    "sigmas": ("other code", 3),
                    "latent_image": latent,
                },
            ),
            *decode(name, (f"finish {name}", 0), column, g[5], title),
        ]

    return [
        note(
            0,
            g[0],
            "**An attribute from two pictures.** No target prompt is needed: *Latent Invert* brings the picture before and the picture after to a code at one step, "
            "*SVD Attribute Learn* keeps what differs, *Latent SVD Edit* slides it on the code of another picture.\n\nThe attribute does not move: it goes where it was in "
            "the pair. Faces that look another way take it badly; more pairs, as a batch, help. Two drawings differ in nothing but the hat, so that less of it will do: strength 0.7.",
            320,
        ),
        *model(0, g[0], ("source", "a face"), ("negative", "")),
        *face("before", 5, "off", 1, g[1], "Before"),
        *face("after", 5, "on", 2, g[1], "After"),
        *schedule(3, g[2]),
        code("before", 3, g[2]),
        code("after", 3, g[2]),
        Node(
            "learn",
            "SingularEditSVDAttributeLearn",
            4,
            g[3],
            "SVD Attribute Learn",
            {"source": ("before code", 0), "target": ("after code", 0), "name": "hat"},
        ),
        Node("spectra", "PreviewImage", 4, g[3], "Spectra", {"images": ("learn", 1)}, 300),
        Node("learned", "PreviewAny", 4, g[3], "Report", {"source": ("learn", 2)}, 140),
        *face("other", 2, "off", 5, g[4], "The other face"),
        code("other", 5, g[4]),
        Node("euler", "KSamplerSelect", 6, g[5], "The stock sampler", {"sampler_name": "euler"}),
        Node(
            "edit",
            "SingularEditLatentSVDEdit",
            6,
            g[5],
            "Latent SVD Edit",
            {"latent": ("other code", 0), "attribute": ("learn", 0), "strength": 0.7},
        ),
        *finish("edited", ("edit", 0), 6, "The other face with the hat"),
        *finish("plain", ("other code", 0), 7, "The other face, unedited"),
    ]


def asyrp_edit() -> list[Node]:
    g = ("1. A model and a picture", "2. Invert", "3. Learn a direction", "4. Edit the picture")
    return [
        note(
            0,
            g[0],
            "**Asyrp.** *h-Space Direction Learn* learns from the two prompts how the picture would change, as the U-Net's bottleneck tells it; *Asyrp Sampler* resamples "
            "the inverted picture with it. Strength 0 is the stock euler sampler, bit for bit; negative strength removes. Other methods of learning, the paper's own among them, are in "
            "the node.\n\nLearning takes about a minute on a CPU. Saved with *Save Attribute*, the direction is there at once next time: *Load h-Direction*.",
        ),
        *model(0, g[0], ("source", "a face"), ("target", "a face with glasses"), ("negative", "")),
        *picture(8, 1, g[0], glasses="off"),
        *schedule(2, g[1]),
        *invert(2, g[1], 1.5),
        Node("batch", "RepeatLatentBatch", 3, g[2], "Eight at a time", {"samples": ("encode", 0), "amount": 8}),
        learn("glasses", "target", 256, 600, 3, g[2]),
        Node("curve", "PreviewImage", 3, g[2], "Learning curve", {"images": ("learn glasses", 1)}, 300),
        Node("learned", "PreviewAny", 3, g[2], "Report", {"source": ("learn glasses", 2)}, 140),
        Node(
            "save",
            "SingularEditSaveAttribute",
            3,
            g[2],
            "Save Attribute",
            {"attribute": ("learn glasses", 0), "filename_prefix": "glasses"},
        ),
        *edited("edited", ("learn glasses", 0), 4, 5, g[3], "The picture with glasses"),
    ]


def asyrp_two_directions() -> list[Node]:
    g = (
        "1. A model and a picture",
        "2. Invert",
        "3. Learn two directions",
        "4. Until when to edit",
        "5. Both at once",
        "6. What varies by itself",
    )

    return [
        note(
            0,
            g[0],
            "**Several directions on one picture.** *Combine Directions* adds directions up, each with its weight: set one to 0 or below, or wire more. *Asyrp Schedule "
            "(auto)* looks at the picture itself and tells Asyrp Sampler until when to edit.\n\n*h-Space Directions (PCA)* needs no second prompt: it finds what varies most "
            "among the model's own pictures. Try other components, and strengths below 0.",
        ),
        *model(
            0,
            g[0],
            ("source", "a face"),
            ("hat", "a face with a hat"),
            ("glasses", "a face with glasses"),
            ("negative", ""),
        ),
        *picture(8, 1, g[0], hat="off", glasses="off"),
        *schedule(2, g[1]),
        *invert(2, g[1], 1.5),
        Node("batch", "RepeatLatentBatch", 3, g[2], "Eight at a time", {"samples": ("encode", 0), "amount": 8}),
        learn("hat", "hat", 128, 400, 3, g[2], "h-Space Direction Learn: a hat"),
        learn("glasses", "glasses", 128, 400, 4, g[2], "h-Space Direction Learn: glasses"),
        Node(
            "both",
            "SingularEditCombineH",
            4,
            g[2],
            "Combine Directions",
            {"direction_1": ("learn hat", 0), "weight_1": 1.0, "direction_2": ("learn glasses", 0), "weight_2": 1.0},
        ),
        Node(
            "save",
            "SingularEditSaveAttribute",
            4,
            g[2],
            "Save Attribute",
            {"attribute": ("both", 0), "filename_prefix": "glasses and hat"},
        ),
        Node(
            "schedule",
            "SingularEditAsyrpSchedule",
            5,
            g[3],
            "Asyrp Schedule (auto)",
            {
                "model": ("demo", 0),
                "vae": ("demo", 2),
                "latent_image": ("encode", 0),
                "positive": ("source", 0),
                "negative": ("negative", 0),
                "sigmas": ("sigmas", 0),
                "cfg": 1.5,
            },
        ),
        Node(
            "course",
            "PreviewImage",
            5,
            g[3],
            "Until when to edit, from when to boost",
            {"images": ("schedule", 2)},
            300,
        ),
        *edited("both edited", ("both", 0), 6, 6, g[4], "With a hat and glasses", edit_percent=("schedule", 0)),
        Node(
            "pca",
            "SingularEditHDirectionPCA",
            7,
            g[5],
            "h-Space Directions (PCA)",
            {
                "model": ("demo", 0),
                "positive": ("source", 0),
                "negative": ("negative", 0),
                "latent_image": ("batch", 0),
                "sigmas": ("sigmas", 0),
                "samples": 32,
                "component": 0,
            },
        ),
        Node("explained", "PreviewImage", 7, g[5], "How much each component explains", {"images": ("pca", 1)}, 300),
        *edited("moved", ("pca", 0), 8, 8, g[5], "The picture, moved along it", strength=1.0),
    ]


WORKFLOWS = {
    "invert_and_rebuild": invert_and_rebuild,
    "svd_attribute": svd_attribute,
    "svd_from_pictures": svd_from_pictures,
    "asyrp_edit": asyrp_edit,
    "asyrp_two_directions": asyrp_two_directions,
}


def specification(info: dict, node: Node) -> list[tuple[str, str, dict, bool]]:
    """(name, type, options, optional) of a node's inputs, in the order its widgets are stored."""
    if node.type == "MarkdownNote":
        return [("text", "STRING", {}, False)]
    parts = []
    for kind in ("required", "optional"):
        for name, entry in info[node.type]["input"].get(kind, {}).items():
            type_, options = entry[0], entry[1] if len(entry) > 1 else {}
            if isinstance(type_, list):
                type_, options = "COMBO", {"options": type_, **options}
            parts.append((name, type_, options, kind == "optional"))
    return parts


def default(type_: str, options: dict):
    if "default" in options:
        return options["default"]
    return (
        options["options"][0] if type_ == "COMBO" else {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}[type_]
    )


def api(nodes: list[Node], info: dict) -> dict:
    ids, prompt = {node.name: str(i) for i, node in enumerate(nodes, 1)}, {}
    for node in nodes:
        if node.type == "MarkdownNote":
            continue
        inputs = {}
        for name, type_, options, optional in specification(info, node):
            value = node.inputs.get(name)
            if isinstance(value, tuple):
                inputs[name] = [ids[value[0]], value[1]]
            elif type_ in WIDGETS:
                inputs[name] = default(type_, options) if value is None else value
            elif not optional:
                raise ValueError(f"{node.name}: input {name} is not wired")
        unknown = set(node.inputs) - set(inputs)
        if unknown:
            raise ValueError(f"{node.name}: {node.type} has no input {unknown}")
        prompt[ids[node.name]] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    return prompt


def ui(nodes: list[Node], info: dict) -> dict:
    ids, links, built, bottoms = {node.name: i for i, node in enumerate(nodes, 1)}, [], {}, {}
    for order, node in enumerate(nodes):
        sockets, widgets = [], []
        for name, type_, options, _ in specification(info, node):
            value = node.inputs.get(name)
            wired = isinstance(value, tuple)
            if type_ in WIDGETS:
                widgets.append(default(type_, options) if value is None or wired else value)
                if options.get("control_after_generate"):
                    widgets.append("fixed")
                if not wired:
                    continue
            link = None
            if value is not None:
                link = len(links) + 1
                links.append([link, ids[value[0]], value[1], ids[node.name], len(sockets), type_])
            # A widget that a wire feeds keeps its place among the values.
            sockets.append(
                {"name": name, "type": type_, "link": link, **({"widget": {"name": name}} if type_ in WIDGETS else {})}
            )
        definition = info.get(node.type, {"output": [], "output_name": []})
        outputs = [
            {"name": name, "type": type_, "links": []}
            for name, type_ in zip(definition["output_name"], definition["output"])
        ]
        height = node.height or 50 + 22 * max(len(sockets), len(outputs)) + 28 * len(widgets)
        y = bottoms.get(node.column, TOP)
        bottoms[node.column] = y + height + 60
        built[node.name] = {
            "id": ids[node.name],
            "type": node.type,
            "pos": [40 + node.column * (WIDTH + GAP), y],
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
    for link, origin, slot, _, _, _ in links:
        by_id[origin]["outputs"][slot]["links"].append(link)
        links[link - 1][5] = by_id[origin]["outputs"][slot]["type"]
    return {
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": list(built.values()),
        "links": links,
        "groups": groups(nodes, built),
        "config": {},
        "extra": {"ds": {"scale": 0.6, "offset": [0, 0]}},
        "version": 0.4,
    }


def groups(nodes: list[Node], built: dict) -> list[dict]:
    colors = ("#3f789e", "#88AA88", "#8A8", "#b58b2a", "#a1309b", "#3f9e8c")
    boxes = []
    for i, title in enumerate(dict.fromkeys(node.group for node in nodes)):
        inside = [built[node.name] for node in nodes if node.group == title]
        left, top = (min(n["pos"][axis] for n in inside) for axis in (0, 1))
        right, bottom = (max(n["pos"][axis] + n["size"][axis] for n in inside) for axis in (0, 1))
        boxes.append(
            {
                "id": i + 1,
                "title": title,
                "bounding": [left - 20, top - 75, right - left + 40, bottom - top + 95],
                "color": colors[i],
                "font_size": 22,
                "flags": {},
            }
        )
    return boxes


def main() -> None:
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8188"
    with urllib.request.urlopen(f"{server}/object_info") as response:
        info = json.load(response)
    (HERE / "api").mkdir(exist_ok=True)
    for name, workflow in WORKFLOWS.items():
        nodes = workflow()
        (HERE / f"{name}.json").write_text(json.dumps(ui(nodes, info), indent=1) + "\n")
        (HERE / "api" / f"{name}.json").write_text(json.dumps(api(nodes, info), indent=1) + "\n")
        print(name)


if __name__ == "__main__":
    main()
