"""The pack in ComfyUI's own page, as people use it: workflows load, Run runs them, a slider slides, apps open.

With SCREENSHOTS=FOLDER every workflow is also written there as a picture, before and after its run.
"""

from __future__ import annotations

import json

import pytest
from helpers.browser import WORKFLOWS

# The workflows that are run by a click on Run.
CLICKED = (
    "Slide a saved attribute",
    "Apply an attribute like a LoRA (text to image)",
    "Five strengths with labels",
)
SLIDER = ("SingularEditEditPicture", "strength")


def flow_of(name: str) -> dict:
    return json.loads(WORKFLOWS[name].read_text())


def ours(kind: str, **inputs) -> dict:
    return {"class_type": f"SingularEdit{kind}", "inputs": inputs}


SLIDER_GRAPH = {
    "1": ours("DemoModel"),
    "2": ours("DemoFace", seed=8, smile="as drawn", glasses="off", hat="as drawn", beard="as drawn"),
    "3": ours("LoadAttribute", file="demo/glasses.readout.safetensors"),
    "4": ours("PreparePicture", model=["1", 0], clip=["1", 1], vae=["1", 2], image=["2", 0], describe="a face"),
    "5": ours("EditPicture", picture=["4", 0], attribute=["3", 0], strength=1.5),
    "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    "7": {"class_type": "PreviewImage", "inputs": {"images": ["4", 1]}},
}


def apps() -> dict[str, dict]:
    """The workflows that open as an app, and one of the others made to."""
    made = flow_of("invert_and_rebuild")
    ids = {node["title"]: str(node["id"]) for node in made["nodes"]}
    shown = [ids["The picture"], ids["The same picture, rebuilt from noise"]]
    data = {"inputs": [[ids["Latent Invert"], "quality"], [ids["Latent Invert"], "cfg"]], "outputs": shown}
    made["extra"] |= {"linearData": data}
    flows = {name: flow_of(name) for name in WORKFLOWS}
    return {name: flow for name, flow in flows.items() if "linearData" in flow["extra"]} | {"made an app": made}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_loads(page, name):
    page.load(flow_of(name), name)
    page.screenshot(name)
    assert page.unknown_nodes() == []
    assert page.alerts() == []
    assert page.errors == []
    assert page.overlaps() == []
    assert page.changing_seeds() == []


def test_a_missing_node_is_seen(page):
    """What the test above would say of a workflow that the pack cannot load."""
    flow = flow_of(CLICKED[0])
    flow["nodes"][1]["type"] = "NoSuchNode"
    page.load(flow, "missing")
    assert page.unknown_nodes() == ["NoSuchNode"]
    assert any("NoSuchNode" in alert for alert in page.alerts())


def test_nodes_on_each_other_are_seen(page):
    flow = flow_of(CLICKED[0])
    first, second = flow["nodes"][:2]
    second["pos"] = [first["pos"][0] + 10, first["pos"][1] + 10]
    page.load(flow, "overlapping")
    assert (first["title"], second["title"]) in page.overlaps()


@pytest.mark.parametrize("name", CLICKED)
def test_run_runs_a_workflow(page, name):
    page.load(flow_of(name), name)
    run = page.run_and_wait()
    page.screenshot(name, "run")
    assert any(output.get("images") for output in run.entry["outputs"].values())
    assert page.errors == []
    assert page.overlaps() == []  # a node grows when it shows a picture


def test_a_dragged_slider_reruns_the_edit_alone(page):
    page.load_api(SLIDER_GRAPH, "slider")
    page.run_and_wait()
    strength = page.drag_slider(*SLIDER, share=0.9)
    assert strength == pytest.approx(-2 + 0.9 * 5, abs=0.4)  # from 1.5; a pixel is up to 0.1
    run = page.run_and_wait()
    page.screenshot("slider", "run")
    assert run.ran == {"5", "6"}
    assert {"1", "2", "3", "4", "7"} <= run.cached
    assert page.errors == []


@pytest.mark.parametrize("name", apps())
def test_an_app_opens(page, name):
    if not page.offers_apps():
        pytest.skip("this frontend has no app mode")
    flow = apps()[name]
    page.load(flow, name, as_app=True)
    assert page.app_inputs() == flow["extra"]["linearData"]["inputs"]
    assert page.app_can_run()
    assert page.alerts() == []
    assert page.errors == []
    page.screenshot(name, "app")
