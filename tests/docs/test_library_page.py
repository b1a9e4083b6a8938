"""The blocks of docs/library.md run as they stand, and do what the page says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import torch
from singular_edit.demo.faces import ATTRIBUTES

pytest.importorskip("diffusers")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(what the blocks left behind, the folder they ran in)."""
    folder = tmp_path_factory.mktemp("page")
    script = folder.with_suffix(".py")
    script.write_text("\n".join(EXAMPLE.findall(PAGE.read_text())))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return runpy.run_path(str(script)), folder


def seen(demo, picture) -> dict[str, bool]:
    """What the judge sees in a PIL picture."""
    import numpy as np

    pixels = torch.from_numpy(np.asarray(picture).copy()).movedim(-1, 0)[None].float() / 255
    return dict(zip(ATTRIBUTES, demo.judged(pixels)[0].tolist(), strict=True))


def test_the_picture_comes_back(ran):
    assert ran[0]["code"].report.round_trip.min() >= 100
    assert ran[0]["codes"].report.round_trip.min() >= 100


def test_glasses_come(ran, demo):
    assert not seen(demo, ran[0]["before"])["glasses"]
    assert seen(demo, ran[0]["after"])["glasses"]
    assert demo.judged(ran[0]["edited"])[:, ATTRIBUTES.index("glasses")].all()


def test_the_change_alone_is_on_the_picture(ran, demo):
    whole, picture = ran[0]["whole"], ran[0]["picture"]
    assert demo.judged(whole)[0, ATTRIBUTES.index("glasses")]
    assert (whole - picture).abs()[..., -8:, :].mean() < 0.02


def test_a_plain_call_draws_what_its_callback_applies(ran, demo):
    assert seen(demo, ran[0]["drawn"])["beard"]


def test_the_files_are_those_that_the_page_writes(ran):
    names = ["after.png", *(f"glasses {strength}.png" for strength in ("0", "0.5", "1", "1.3")), "glasses.safetensors"]
    assert sorted(path.name for path in ran[1].iterdir()) == sorted(names)


def test_the_command_of_the_reference_names_modules():
    command = re.search(r"pdoc -o \S+ -d google (.*)$", PAGE.read_text(), re.MULTILINE)
    assert command.group() in (PAGE.parents[1] / "CONTRIBUTING.md").read_text()
    modules = command.group(1).split()
    for module in modules:
        assert __import__(module, fromlist=["_"]).__doc__
