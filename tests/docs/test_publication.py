"""What the registry, GitHub and the gallery show: the files exist, are of the right size, and agree with pyproject."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMFY = PROJECT["tool"]["comfy"]
DOCS = ROOT / "docs"
GALLERY = re.findall(r"\]\((images/[^)]+)\)", (DOCS / "gallery.md").read_text())
GITHUB = sorted((ROOT / ".github").rglob("*.yml"))


def script(name: str):
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def published(key: str) -> Path:
    """The file behind a picture's address in pyproject."""
    repository = PROJECT["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    address = f"https://raw.githubusercontent.com/{repository}/main/"
    assert COMFY[key].startswith(address)
    return ROOT / COMFY[key].removeprefix(address)


def test_the_icon_is_square_and_small():
    path = published("Icon")
    width, height = Image.open(path).size
    assert width == height <= 400
    assert path.stat().st_size < 30e3


def test_the_banner_is_21_by_9_and_small():
    path = published("Banner")
    width, height = Image.open(path).size
    assert width * 9 == height * 21
    assert path.stat().st_size < 120e3


@pytest.mark.parametrize("key", ["icon", "banner"])
def test_the_script_draws_the_picture_that_is_published(key):
    drawn = getattr(script("icon_and_banner"), key)()
    shown = Image.open(published(key.capitalize())).convert(drawn.mode)
    difference = np.abs(np.asarray(drawn, dtype=float) - np.asarray(shown, dtype=float))
    assert difference.mean() < 3  # of 255: the palette, and how another release draws letters


def test_a_search_for_a_face_edit_slider_finds_the_pack():
    assert "face edit slider" in PROJECT["project"]["description"].lower()


def test_the_gallery_shows_every_attribute_and_latent_svd():
    names = {Path(name).stem for name in GALLERY}
    assert {"smile", "glasses", "hat", "beard", "glasses_svd"} == names


@pytest.mark.parametrize("name", GALLERY)
def test_a_picture_of_the_gallery_is_small(name):
    path = DOCS / name
    assert Image.open(path).size[0] > 600
    assert path.stat().st_size < 60e3


def test_no_picture_lies_unused():
    used = {published("Icon"), published("Banner")}
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        used |= {DOCS / "images" / name for name in re.findall(r"images/([\w-]+\.\w+)", page.read_text())}
    assert [path.name for path in sorted((DOCS / "images").iterdir()) if path not in used] == []


def test_the_gallerys_command_draws_a_strip_and_its_part_of_the_page(demo, tmp_path, monkeypatch):
    gallery = script("gallery")
    monkeypatch.setattr(gallery, "DOCS", tmp_path)
    monkeypatch.setattr(gallery, "FACES", 2)
    (tmp_path / "images").mkdir()
    part = gallery.draw(demo, gallery.svd_strip("glasses"))
    assert part.startswith("## Glasses, Latent SVD")
    assert "2 of 2 faces" in part
    assert Image.open(tmp_path / "images" / "glasses_svd.png").size == Image.open(DOCS / "images" / "hat.png").size


def test_the_gallery_says_what_its_command_would_say():
    pytest.importorskip("diffusers")
    assert (DOCS / "gallery.md").read_text().startswith(script("gallery").PAGE)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Repository"]
    assert all(paper["title"] and paper["authors"] for paper in citation["references"])


def test_the_citation_names_the_papers_that_the_readme_names():
    papers = [paper["url"] for paper in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]]
    readme = (ROOT / "README.md").read_text()
    assert [url for url in papers if url not in readme] == []
    assert len(papers) == 2


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: path.name)
def test_what_github_reads_is_yaml_with_a_name(path):
    assert yaml.safe_load(path.read_text())["name"]


def test_github_tests_the_oldest_comfyui_and_the_latest():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]
    tested = jobs["tests"]["strategy"]["matrix"]
    assert tested["comfyui"] == [COMFY["requires-comfyui"].removeprefix(">="), "latest"]
    assert tested["python"][0] == PROJECT["project"]["requires-python"].removeprefix(">=")


def test_a_bug_report_asks_for_what_is_needed_to_repeat_it():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text())
    asked = {field.get("id") for field in form["body"]}
    assert {"report", "family", "comfyui", "workflow", "picture"} <= asked
