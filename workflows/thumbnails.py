"""Make the square pictures of the artist workflows from what they give: before and after, or several strengths.

    python workflows/thumbnails.py http://127.0.0.1:8188

runs each workflow in a running ComfyUI. Those for a checkpoint of the user's own run on the demo model and a drawn
face, without the LoRA and the ControlNet.
"""

from __future__ import annotations

import copy
import io
import json
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

from build import HERE, SERVER
from PIL import Image
from steps import DEMO_SIDE

SIDE = 400
LINE = 4  # between the two halves
COLUMNS = 3  # of several strengths
QUALITY = 85
SECONDS = 0.5  # between two questions whether a workflow is done
FACE = {"seed": 8, "smile": "off", "glasses": "off", "hat": "off", "beard": "off"}
# What stands in for a node that needs a file of the user's.
STAND_INS = {
    "CheckpointLoaderSimple": ("SingularEditDemoModel", {}),
    "LoadImage": ("SingularEditDemoFace", FACE),
}
# Nodes that are left out: for each output, the input that takes its place.
LEFT_OUT = {"LoraLoader": ("model", "clip"), "ControlNetApplyAdvanced": ("positive", "negative")}
Prompt = dict[str, dict[str, Any]]


def main() -> None:
    """Write every picture."""
    server = sys.argv[1] if len(sys.argv) > 1 else SERVER
    for number, path in enumerate(sorted((HERE / "api").glob("*.json"))):
        prompt = on_demo_model(json.loads(path.read_text()), FACE["seed"] + number)
        picture = thumbnail(server, prompt)
        picture.save(HERE / f"{path.stem}.jpg", quality=QUALITY, optimize=True)
        print(path.stem)


def of_type(prompt: Prompt, *types: str) -> list[str]:
    """Return the nodes of these types."""
    return [key for key, node in prompt.items() if node["class_type"] in types]


def on_demo_model(prompt: Prompt, face: int) -> Prompt:
    """Return a workflow that needs no file of the user's, with a drawn face in place of a picture of theirs."""
    for key in of_type(prompt, *LEFT_OUT):
        node = prompt.pop(key)
        instead = [node["inputs"][name] for name in LEFT_OUT[node["class_type"]]]
        for other in prompt.values():
            for name, value in other["inputs"].items():
                if isinstance(value, list) and value[0] == key:
                    other["inputs"][name] = instead[value[1]]
    if of_type(prompt, "CheckpointLoaderSimple"):
        for key in of_type(prompt, "EmptyLatentImage"):
            prompt[key]["inputs"] |= {"width": DEMO_SIDE, "height": DEMO_SIDE}
        for key in of_type(prompt, "CLIPTextEncode"):
            prompt[key]["inputs"]["text"] = prompt[key]["inputs"]["text"].replace("a photo of ", "")
    for key in of_type(prompt, "ControlNetLoader"):
        del prompt[key]
    for key in of_type(prompt, *STAND_INS):
        class_type, inputs = STAND_INS[prompt[key]["class_type"]]
        prompt[key] = {"class_type": class_type, "inputs": {**inputs, "seed": face} if inputs else {}}
    return prompt


def thumbnail(server: str, prompt: Prompt) -> Image.Image:
    """Run a workflow, and return its square picture."""
    outputs = run(server, prompt)
    for key in of_type(prompt, "SingularEditEditPicture"):
        both = picture(server, outputs[key])
        return halves(both.crop((0, 0, both.height, both.height)), both.crop((both.width - both.height, 0, *both.size)))
    for key in of_type(prompt, "SingularEditStrengthSheet"):
        return grid(picture(server, outputs[key]), prompt[key]["inputs"]["strengths"].count(",") + 1)
    save = of_type(prompt, "SaveImage")[0]
    after = picture(server, outputs[save])
    plain = copy.deepcopy(prompt)
    for key in of_type(plain, "SingularEditApplyAttribute"):
        plain[key]["inputs"]["strength"] = 0.0
    return halves(picture(server, run(server, plain)[save]), after)


def halves(before: Image.Image, after: Image.Image) -> Image.Image:
    """Put the middle of two square pictures side by side, before and after."""
    square = Image.new("RGB", (SIDE, SIDE), "white")
    width = (SIDE - LINE) // 2
    for i, whole in enumerate((before, after)):
        large = whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        left = (SIDE - width) // 2
        square.paste(large.crop((left, 0, left + width, SIDE)), (i * (width + LINE), 0))
    return square


def grid(sheet: Image.Image, count: int) -> Image.Image:
    """Put the pictures of a labelled sheet into rows."""
    square = Image.new("RGB", (SIDE, SIDE), "white")
    step = sheet.width / count
    rows = -(-count // COLUMNS)
    width = SIDE // COLUMNS
    height = round(width * sheet.height / step)
    for i in range(count):
        one = sheet.crop((round(i * step), 0, round((i + 1) * step), sheet.height)).resize((width, height))
        row, column = divmod(i, COLUMNS)
        missing = COLUMNS - min(COLUMNS, count - row * COLUMNS)
        left = column * width + missing * width // 2
        square.paste(one, (left, (SIDE - rows * height) // 2 + row * height))
    return square


def run(server: str, prompt: Prompt) -> dict[str, Any]:
    """Queue a workflow, wait until it is done, and return what its nodes show."""
    body = json.dumps({"prompt": prompt}).encode()
    request = urllib.request.Request(f"{server}/prompt", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        key = json.load(response)["prompt_id"]
    while True:
        with urllib.request.urlopen(f"{server}/history/{key}") as response:
            history = json.load(response)
        if history:
            break
        time.sleep(SECONDS)
    if history[key]["status"]["status_str"] != "success":
        raise RuntimeError(json.dumps(history[key]["status"]["messages"])[-2000:])
    return history[key]["outputs"]


def picture(server: str, output: dict[str, Any]) -> Image.Image:
    """Return the picture that a node shows."""
    query = urllib.parse.urlencode(output["images"][0])
    with urllib.request.urlopen(f"{server}/view?{query}") as response:
        return Image.open(io.BytesIO(response.read())).convert("RGB")


if __name__ == "__main__":
    main()
