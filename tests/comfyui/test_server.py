"""An unmodified ComfyUI server with the pack in custom_nodes: the example workflows run to the end through /prompt."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

PACK = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((PACK / "workflows" / "api").glob("*.json"))


class Server:
    def __init__(self, comfyui: Path, base: Path, folder: str = "singular-edit"):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        (base / "custom_nodes").mkdir(parents=True)
        (base / "custom_nodes" / folder).symlink_to(PACK, target_is_directory=True)
        self.base, self.log = base, base / "server.log"
        command = [
            sys.executable,
            "main.py",
            "--cpu",
            "--base-directory",
            str(base),
            "--port",
            self.url.rsplit(":", 1)[1],
            "--disable-auto-launch",
        ]
        self.process = subprocess.Popen(
            command,
            cwd=comfyui,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        for _ in range(240):
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError("ComfyUI did not start:\n" + self.log.read_text()[-3000:])

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path) as response:
            return json.load(response)

    def picture(self, image: dict) -> np.ndarray:
        from PIL import Image

        query = "&".join(f"{k}={v}" for k, v in image.items())
        with urllib.request.urlopen(f"{self.url}/view?{query}") as response:
            return np.asarray(Image.open(io.BytesIO(response.read())).convert("RGB"), dtype=float)

    def queue(self, prompt: dict) -> dict:
        """Queue an API workflow and wait, long enough for a busy machine; the entry of /history, or what /prompt refused it with."""
        request = urllib.request.Request(
            f"{self.url}/prompt", json.dumps({"prompt": prompt}).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as response:
                key = json.load(response)["prompt_id"]
        except urllib.error.HTTPError as error:
            return json.load(error)
        for _ in range(3600):
            history = self.get(f"/history/{key}")
            if history:
                return history[key]
            time.sleep(0.25)
        raise TimeoutError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def server(comfyui_path, tmp_path_factory):
    # A folder of any name.
    server = Server(comfyui_path, tmp_path_factory.mktemp("comfy") / "base", "ComfyUI-any.name")
    yield server
    server.stop()


def error(entry: dict) -> str:
    return next((m[1]["exception_message"] for m in entry["status"]["messages"] if m[0] == "execution_error"), "")


def node(prompt: dict, title: str) -> str:
    """The id of the node with this title."""
    return next(key for key, value in prompt.items() if value["_meta"]["title"] == title)


def images(server, prompt, entry, title):
    return server.picture(entry["outputs"][node(prompt, title)]["images"][0])


@pytest.fixture(scope="module")
def done(server):
    """Each workflow, queued once as it ships."""
    runs = {}

    def run(name):
        if name not in runs:
            prompt = json.loads((PACK / "workflows" / "api" / f"{name}.json").read_text())
            runs[name] = (prompt, server.queue(prompt))
        return runs[name]

    return run


@pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])
def test_workflow_runs_to_the_end(done, name):
    _, entry = done(name)
    assert entry.get("status", {}).get("status_str") == "success", error(entry) if "status" in entry else entry


def test_the_pack_loads_clean(server):
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log
    info = server.get("/object_info")
    ours = [name for name in info if name.startswith("SingularEdit")]
    assert len(ours) >= 10
    assert all(info[name]["category"].startswith("Singular Edit") for name in ours)


def test_templates_and_help_pages_are_served(server):
    templates = server.get("/workflow_templates")["ComfyUI-any.name"]
    assert sorted(templates) == sorted(path.stem for path in WORKFLOWS)
    with urllib.request.urlopen(f"{server.url}/extensions/ComfyUI-any.name/docs/SingularEditLatentInvert.md") as page:
        assert page.read().startswith(b"# Latent Invert")


def test_the_rebuilt_picture_is_the_picture(server, done):
    """Down to what the VAE loses (30 dB); without an inversion it would be another face."""
    prompt, entry = done("invert_and_rebuild")
    original, rebuilt = (
        images(server, prompt, entry, "The picture"),
        images(server, prompt, entry, "The same picture, rebuilt from noise"),
    )
    assert 10 * np.log10(255**2 / np.square(original - rebuilt).mean()) > 25
    assert "model calls" in entry["outputs"][node(prompt, "Report of the inversion")]["text"][0]


@pytest.mark.parametrize(
    "workflow, before, after, attribute",
    [
        ("svd_attribute", "That face, unedited", "That face, edited", "hat"),
        ("svd_attribute", "The other face, unedited", "The other face, edited", "hat"),
        ("svd_from_pictures", "The other face, unedited", "The other face with the hat", "hat"),
        ("asyrp_edit", "The picture", "The picture with glasses", "glasses"),
        ("asyrp_two_directions", "The picture", "With a hat and glasses", "glasses"),
        ("asyrp_two_directions", "The picture", "With a hat and glasses", "hat"),
    ],
)
def test_the_edit_shows(server, done, workflow, before, after, attribute):
    from singular_edit.demo import faces, loader
    from singular_edit.demo.networks import AttributeClassifier

    judge = loader._load("judge", AttributeClassifier())
    prompt, entry = done(workflow)

    def sees(title):
        picture = torch.from_numpy(images(server, prompt, entry, title)[::4, ::4] / 255).float().permute(2, 0, 1)[None]
        return (judge(picture) > 0)[0, faces.ATTRIBUTES.index(attribute)].item()

    assert not sees(before)
    assert sees(after)


def test_saved_files_are_listed_and_load_in_another_graph(server, done):
    done("svd_attribute"), done("asyrp_edit")
    info = server.get("/object_info")
    for loader, kind in (("LoadSVDAttribute", "hat"), ("LoadHDirection", "glasses")):
        options = info[f"SingularEdit{loader}"]["input"]["required"]["file"]
        files = options[1]["options"] if isinstance(options[0], str) else options[0]
        assert [f for f in files if f.startswith(kind)]
        assert not [f for f in files if f.startswith({"hat": "glasses", "glasses": "hat"}[kind])]
    prompt = {
        "1": {"class_type": "SingularEditLoadHDirection", "inputs": {"file": files[0]}},
        "2": {"class_type": "SingularEditSaveAttribute", "inputs": {"attribute": ["1", 0], "filename_prefix": "again"}},
    }
    assert server.queue(prompt)["status"]["status_str"] == "success"


def test_bad_input_reaches_the_user_as_one_sentence(server):
    prompt = json.loads((PACK / "workflows" / "api" / "invert_and_rebuild.json").read_text())
    prompt[node(prompt, "Latent Invert")]["inputs"]["stop_at_step"] = 999
    message = error(server.queue(prompt))
    assert message.startswith("stop_at_step is 999")
    assert message.strip().count("\n") == 0
    refused = server.queue(
        {
            "1": {"class_type": "SingularEditLoadSVDAttribute", "inputs": {"file": "nothing.safetensors"}},
            "2": {"class_type": "SingularEditSaveAttribute", "inputs": {"attribute": ["1", 0], "filename_prefix": "x"}},
        }
    )
    assert "node_errors" in refused
