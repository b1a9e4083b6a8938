"""The artist workflows in a real ComfyUI: on the demo model, or with small files in place of a user's.

SD1.5's run with a checkpoint, a LoRA and a ControlNet that the stock loaders detect. No checkpoint of SDXL is small, so
that its loader is another node in this test.
"""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import checkpoints
from helpers.server import PACK, Server
from PIL import Image

API = PACK / "workflows" / "api"
FOLDER = "singular-edit"
LORA = "your_lora.safetensors"
# What a test may learn in, and the size of pictures of the small models.
QUICK = {"effort": "quick", "steps": 4}
LEARN_SIDE, SIDE = 32, 64
SMALL = {
    "SingularEditLearnAttribute": {**QUICK, "steps": 3, "width": LEARN_SIDE, "height": LEARN_SIDE},
    "SingularEditPreparePicture": {"steps": 4, "max_side": SIDE},
    "EmptyLatentImage": {"width": SIDE, "height": SIDE},
    "KSampler": {"steps": 4},
}
GAP = 8  # white between before and after


@pytest.fixture(scope="module")
def server(comfy, comfyui_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfy") / "base"
    for folder in ("checkpoints", "loras", "controlnet"):
        (base / "models" / folder).mkdir(parents=True)
    (base / "input").mkdir()
    shutil.copy(comfyui_path / "input" / "example.png", base / "input")
    for key, path in files().items():
        getattr(checkpoints, key)(base / "models" / path)
    extra = base / "custom_nodes" / "stand_ins"
    extra.mkdir(parents=True)
    helpers = [str(PACK / "tests"), str(PACK / "benchmarks")]
    (extra / "__init__.py").write_text(
        f"import sys\nsys.path.extend({helpers!r})\nfrom helpers.stand_in_nodes import NODE_CLASS_MAPPINGS\n"
    )
    (base / "custom_nodes" / FOLDER).symlink_to(PACK, target_is_directory=True)
    server = Server(comfyui_path, base)
    yield server
    server.stop()


def load(name: str) -> dict:
    return json.loads((API / f"{name}.json").read_text())


def of_type(prompt: dict, class_type: str) -> str:
    """The only node of this type."""
    (key,) = [key for key, node in prompt.items() if node["class_type"] == class_type]
    return key


def files() -> dict[str, str]:
    """The files that the workflows of SD1.5 name, by what stands in for them."""
    control = load("Your own checkpoint with a ControlNet")
    checkpoint = control[of_type(control, "CheckpointLoaderSimple")]["inputs"]["ckpt_name"]
    net = control[of_type(control, "ControlNetLoader")]["inputs"]["control_net_name"]
    return {"sd15": f"checkpoints/{checkpoint}", "lora": f"loras/{LORA}", "controlnet": f"controlnet/{net}"}


def with_values(prompt: dict, values: dict[str, dict]) -> dict:
    """The workflow with these values in every node of a type."""
    for node in prompt.values():
        node["inputs"] |= values.get(node["class_type"], {})
    return prompt


def run(server, prompt: dict) -> dict:
    entry = server.queue(prompt)
    failed = [
        data["exception_message"] for kind, data in entry.get("status", entry).get("messages", []) if "error" in kind
    ]
    assert entry.get("status", {}).get("status_str") == "success", failed or entry
    return entry


def shown(server, prompt: dict, entry: dict, class_type: str) -> np.ndarray:
    """The picture that the only node of this type shows, [H, W, 3] from 0 to 255."""
    return server.picture(entry["outputs"][of_type(prompt, class_type)]["images"][0])


def halves(both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = (both.shape[1] - GAP) // 2
    return both[:, :width], both[:, width + GAP :]


def rerun(prompt: dict, entry: dict) -> set[str]:
    """Types of the nodes that were not taken from the cache."""
    cached = next(data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached")
    return {node["class_type"] for key, node in prompt.items() if key not in cached}


@pytest.fixture(scope="module")
def sees():
    """Whether the judge of drawn faces sees an attribute in a picture of 256 pixels."""
    from singular_edit.demo import faces, loader
    from singular_edit.demo.networks import AttributeClassifier

    judge = loader._load("judge", AttributeClassifier())

    def judged(picture: np.ndarray, attribute: str) -> bool:
        small = torch.nn.functional.interpolate(
            torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None], size=faces.SIZE, mode="area"
        )
        return (judge(small) > 0)[0, faces.ATTRIBUTES.index(attribute)].item()

    return judged


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("Put glasses on a picture", ["glasses"]),
        ("Slide a saved attribute", ["hat"]),
        ("Two attributes on a picture", ["hat", "glasses"]),
        ("From two drawings", ["hat"]),
    ],
)
def test_a_picture_before_and_after(server, sees, name, attributes):
    prompt = with_values(load(name), {"SingularEditLearnAttribute": QUICK})
    entry = run(server, prompt)
    before, after = halves(shown(server, prompt, entry, "SingularEditEditPicture"))
    for attribute in attributes:
        assert not sees(before, attribute)
        assert sees(after, attribute)
    assert np.array_equal(shown(server, prompt, entry, "SaveImage"), after)
    drawn = with_values(prompt, {"SingularEditEditPicture": {"strength": 0.0}})
    entry = run(server, drawn)
    assert rerun(drawn, entry) == {"SingularEditEditPicture", "SaveImage"}
    assert np.array_equal(shown(server, drawn, entry, "SaveImage"), before)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("Apply an attribute like a LoRA (text to image)", ["glasses"]),
        ("Two attributes at once", ["hat", "glasses"]),
    ],
)
def test_text_to_image(server, sees, name, attributes):
    prompt = load(name)
    after = shown(server, prompt, run(server, prompt), "SaveImage")
    plain = with_values(prompt, {"SingularEditApplyAttribute": {"strength": 0.0}})
    before = shown(server, plain, run(server, plain), "SaveImage")
    for attribute in attributes:
        assert not sees(before, attribute)
        assert sees(after, attribute)


def test_five_strengths_in_a_row(server, sees):
    prompt = load("Five strengths with labels")
    sheet = shown(server, prompt, run(server, prompt), "SingularEditStrengthSheet")
    strengths = [
        float(text) for text in prompt[of_type(prompt, "SingularEditStrengthSheet")]["inputs"]["strengths"].split(",")
    ]
    assert len(strengths) == 5
    step = (sheet.shape[1] + GAP) / len(strengths)
    width = round(step) - GAP
    label = sheet.shape[0] - width
    for i, strength in enumerate(strengths):
        one = sheet[:, round(i * step) : round(i * step) + width]
        assert one[:label].min() < 100
        assert one[:label].max() == 255
        if strength in (min(strengths), 0):
            assert not sees(one[label:], "smile")
        if strength == max(strengths):
            assert sees(one[label:], "smile")


@pytest.mark.parametrize(
    "name", ["Your own checkpoint, SD1.5", "Your own checkpoint, SDXL", "Your own checkpoint with a LoRA"]
)
def test_own_checkpoint(server, comfyui_path, name):
    prompt = with_values(load(name), SMALL)
    if name.endswith("SDXL"):
        prompt[of_type(prompt, "CheckpointLoaderSimple")]["class_type"] = "StandInSDXL"
    if name.endswith("LoRA"):  # by the other method, in less time
        prompt = with_values(prompt, {"SingularEditLearnAttribute": {"method": "latent svd"}})
    entry = run(server, prompt)
    before, after = halves(shown(server, prompt, entry, "SingularEditEditPicture"))
    # The change alone, on the picture at its own size.
    example = np.asarray(Image.open(comfyui_path / "input" / "example.png").convert("RGB"), dtype=float)
    x, y = ((there - here) // 2 for there, here in zip(example.shape[1::-1], before.shape[1::-1], strict=True))
    assert min(before.shape[:2]) > 2 * SIDE
    assert np.abs(before - example[y : y + before.shape[0], x : x + before.shape[1]]).max() <= 1
    assert not np.array_equal(before, after)
    plain = with_values(prompt, {"SingularEditEditPicture": {"strength": 0.0}})
    entry = run(server, plain)
    assert rerun(plain, entry) == {"SingularEditEditPicture", "SaveImage"}
    assert np.array_equal(shown(server, plain, entry, "SaveImage"), before)


def test_own_checkpoint_with_a_controlnet(server):
    prompt = with_values(load("Your own checkpoint with a ControlNet"), SMALL)
    pictures = [shown(server, prompt, run(server, prompt), "SaveImage")]
    for changed in ({"SingularEditApplyAttribute": {"strength": 0.0}}, {"ControlNetApplyAdvanced": {"strength": 0.0}}):
        other = with_values(prompt, changed)
        pictures.append(shown(server, other, run(server, other), "SaveImage"))
    assert all(picture.shape == (SIDE, SIDE, 3) for picture in pictures)
    # The attribute acts, and so does the ControlNet.
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])


def test_blueprints_are_served_where_the_version_knows_them(server):
    try:
        served = server.get("/global_subgraphs")
    except OSError:
        pytest.skip("this ComfyUI has no blueprints")
    ours = {entry["name"] for entry in served.values() if FOLDER in entry["info"]["node_pack"]}
    assert ours == {path.stem for path in (PACK / "subgraphs").glob("*.json")}
