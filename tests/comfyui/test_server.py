"""The pack as it is published, in an unmodified ComfyUI server: the advanced workflows run to the end."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.server import PACK, Server, comfy_cli, copied_pack

API = PACK / "workflows" / "advanced" / "api"
WORKFLOWS = sorted(API.glob("*.json"))
TEMPLATES = sorted((PACK / "workflows").glob("*.json"))
# How little workflows of h-space do in here: they sample in 25 steps, learn from 128 and 256 noises, and measure where
# they start. Those of latent SVD name a step of 25.
LITTLE = {
    "BasicScheduler": {"steps": 8},
    "SingularEditHDirectionLearn": {"samples": 16, "steps": 60, "start_percent": 0.24},
    "SingularEditHDirectionPCA": {"samples": 8},
}
FOLDER = "ComfyUI-any.name"  # a folder of any name


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    return copied_pack(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def archive(repository, home) -> Path:
    """The pack as comfy-cli packs it for the registry."""
    packed = comfy_cli("node", "pack", cwd=repository, home=home)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    return repository / "node.zip"


@pytest.fixture(scope="module")
def server(comfyui_path, archive, tmp_path_factory):
    base = tmp_path_factory.mktemp("comfy") / "base"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(base / "custom_nodes" / FOLDER)
    server = Server(comfyui_path, base)
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
    """Each workflow, queued once as it ships, but for LITTLE."""
    runs = {}

    def run(name):
        if name not in runs:
            prompt = json.loads((API / f"{name}.json").read_text())
            for described in prompt.values():
                if name.startswith("asyrp"):
                    described["inputs"] |= LITTLE.get(described["class_type"], {})
            runs[name] = (prompt, server.queue(prompt))
        return runs[name]

    return run


@pytest.mark.parametrize("name", [path.stem for path in WORKFLOWS])
def test_workflow_runs_to_the_end(done, name):
    _, entry = done(name)
    found = error(entry) if "status" in entry else entry
    assert entry.get("status", {}).get("status_str") == "success", found


def test_the_registrys_checks_pass(repository, home):
    checked = comfy_cli("node", "validate", cwd=repository, home=home)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "passed" in checked.stdout + checked.stderr
    assert "will be an error" not in checked.stdout + checked.stderr


def test_the_archive_holds_what_users_need_and_nothing_else(archive):
    with zipfile.ZipFile(archive) as packed:
        names = set(packed.namelist())
    assert {"__init__.py", "pyproject.toml", "README.md", "LICENSE"} <= names
    folders = ("core/recipes", "nodes", "backends/comfyui", "demo/weights", "web/docs", "docs", "subgraphs")
    for folder in (*folders, "workflows/api", "workflows/advanced/api"):
        assert any(name.startswith(f"{folder}/") for name in names), folder
    unwanted = ("tests/", "benchmarks/", ".", "demo/train", "CONTRIBUTING")
    assert [name for name in names if name.startswith(unwanted)] == []
    assert [name for name in names if name.startswith("workflows/") and name.endswith(".py")] == []
    # Two embedded models are most of it.
    assert archive.stat().st_size < 36e6


def test_comfy_run_runs_a_workflow(server, home):
    workflow = str(PACK / "workflows" / "api" / "Apply an attribute like a LoRA (text to image).json")
    where = ("--host", "127.0.0.1", "--port", str(server.port))
    ran = comfy_cli("run", "--workflow", workflow, "--wait", "--timeout", "300", *where, cwd=home, home=home)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_pack_loads_clean(server):
    log = server.log.read_text()
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log
    info = server.get("/object_info")
    ours = [name for name in info if name.startswith("SingularEdit")]
    assert len(ours) >= 10
    assert all(info[name]["category"].startswith("Singular Edit") for name in ours)


def test_templates_and_help_pages_are_served(server):
    templates = server.get("/workflow_templates")[FOLDER]
    assert sorted(templates) == sorted(path.stem for path in TEMPLATES)
    for path in TEMPLATES:
        address = f"{server.url}/api/workflow_templates/{FOLDER}/{urllib.parse.quote(path.stem)}"
        with urllib.request.urlopen(f"{address}.json") as file:
            assert file.read() == path.read_bytes()
        with urllib.request.urlopen(f"{address}.jpg") as file:
            assert file.read() == path.with_suffix(".jpg").read_bytes()
    with urllib.request.urlopen(f"{server.url}/extensions/{FOLDER}/docs/SingularEditLatentInvert.md") as page:
        assert page.read().startswith(b"# Latent Invert")


def test_the_rebuilt_picture_is_the_picture(server, done):
    """Down to what the VAE loses (30 dB); without an inversion it would be another face."""
    prompt, entry = done("invert_and_rebuild")
    original = images(server, prompt, entry, "The picture")
    rebuilt = images(server, prompt, entry, "The same picture, rebuilt from noise")
    assert 10 * np.log10(255**2 / np.square(original - rebuilt).mean()) > 25
    assert "model calls" in entry["outputs"][node(prompt, "Report of the inversion")]["text"][0]


@pytest.mark.parametrize(
    ("workflow", "before", "after", "attribute"),
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
        shown = images(server, prompt, entry, title)[::4, ::4] / 255
        picture = torch.from_numpy(shown).float().permute(2, 0, 1)[None]
        return (judge(picture) > 0)[0, faces.ATTRIBUTES.index(attribute)].item()

    assert not sees(before)
    assert sees(after)


def test_saved_files_are_listed_and_load_in_another_graph(server, done):
    done("svd_attribute")
    done("asyrp_edit")
    info = server.get("/object_info")
    for loader, kind, other in (("LoadSVDAttribute", "hat", "glasses"), ("LoadHDirection", "glasses", "hat")):
        options = info[f"SingularEdit{loader}"]["input"]["required"]["file"]
        files = options[1]["options"] if isinstance(options[0], str) else options[0]
        assert [file for file in files if file.startswith(kind)]
        assert not [file for file in files if file.startswith(other)]
    save = {"attribute": ["1", 0], "filename_prefix": "again"}
    prompt = {
        "1": {"class_type": "SingularEditLoadHDirection", "inputs": {"file": files[0]}},
        "2": {"class_type": "SingularEditSaveAttribute", "inputs": save},
    }
    assert server.queue(prompt)["status"]["status_str"] == "success"


def test_bad_input_reaches_the_user_as_one_sentence(server):
    prompt = json.loads((API / "invert_and_rebuild.json").read_text())
    prompt[node(prompt, "Latent Invert")]["inputs"]["stop_at_step"] = 999
    message = error(server.queue(prompt))
    assert message.startswith("stop_at_step is 999")
    assert message.strip().count("\n") == 0
    save = {"attribute": ["1", 0], "filename_prefix": "x"}
    refused = server.queue(
        {
            "1": {"class_type": "SingularEditLoadSVDAttribute", "inputs": {"file": "nothing.safetensors"}},
            "2": {"class_type": "SingularEditSaveAttribute", "inputs": save},
        }
    )
    assert "node_errors" in refused
