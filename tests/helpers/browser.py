"""ComfyUI's page in a real browser: load a workflow, see what is on it, click Run, drag a slider.

Every page is driven as its frontend offers, not by its version: what a frontend lacks, its settings and commands lack.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from PIL import Image

from .server import PACK, Server

WORKFLOWS = {
    path.stem: path for folder in ("workflows", "workflows/advanced") for path in sorted((PACK / folder).glob("*.json"))
}
CLASSIC = "classic"  # nodes drawn on a canvas by LiteGraph
NODES_2 = "nodes2"  # nodes are elements of the page; on offer where the setting is one that people see
NODES_2_SETTING = "Comfy.VueNodes.Enabled"
APP_COMMAND = "Comfy.ToggleLinear"  # a frontend that has app mode has this command
# Without these the page opens a list of templates, and a tour of app mode, over the workflow.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.OnboardingCoachmarks.Seen": ["appMode"],
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.Persist": False,
    "Comfy.Workflow.WorkflowTabsPosition": "Sidebar",
}
# Frontend 1.27 puts the testid on a split button whose first button is Run, 1.49 on Run itself.
RUN = "button[data-testid=queue-button], [data-testid=queue-button] button.p-splitbutton-button"
# What a page says over the workflow: 1.27 in dialogs ("Some Nodes Are Missing"), 1.49 in an overlay of errors.
ALERTS = "[role=dialog], [role=alert], [data-testid=error-overlay]"
ELSEWHERE = re.compile(r"^https?://(?!127\.0\.0\.1[:/])")
# The margin that LiteGraph leaves at both ends of a slider, and half of a widget's height.
SLIDER_MARGIN = 15
HALF_A_WIDGET = 10
# Where a workflow's own files are looked for, by the node that loads them.
FOLDERS = {
    "CheckpointLoaderSimple": "models/checkpoints",
    "LoraLoader": "models/loras",
    "LoraLoaderModelOnly": "models/loras",
    "ControlNetLoader": "models/controlnet",
    "LoadImage": "input",
}

READY = (
    "Boolean(window.app?.vueAppReady && app.extensionManager && app.graph"
    " && window.LiteGraph?.registered_node_types.PreviewImage)"
)
# A fit of the view is an animation, and elements get their size after they are drawn: wait until nothing moves.
SETTLED = """async () => {
    let last, same = 0;
    for (let frame = 0; frame < 300 && same < 8; frame++) {
        await new Promise(requestAnimationFrame);
        const nodes = [...document.querySelectorAll('[data-node-id]')];
        const boxes = nodes.map(e => Object.values(e.getBoundingClientRect().toJSON()));
        const now = JSON.stringify([app.canvas.ds.scale, [...app.canvas.ds.offset], boxes]);
        same = now === last ? same + 1 : 0;
        last = now;
    }
}"""
CANVAS_BOXES = "app.graph._nodes.map(n => [n.title, ...n.getBounding()])"  # with the title bar
ELEMENT_BOXES = """app.graph._nodes.map(n => {
    const box = document.querySelector(`[data-node-id="${n.id}"]`).getBoundingClientRect();
    return [n.title, box.x, box.y, box.width, box.height];
})"""
SHOWN = """([id, elements]) => {
    const images = elements
        ? [...document.querySelectorAll(`[data-node-id="${id}"] img`)] : app.graph.getNodeById(id)?.imgs ?? [];
    return images.length > 0 && images.every(image => image.complete && image.naturalWidth > 0);
}"""
CANVAS_SLIDER = """([type, name, margin, half]) => {
    const node = app.graph._nodes.find(n => n.type === type), widget = node.widgets.find(w => w.name === name);
    const y = node.pos[1] + (widget.last_y ?? widget.y) + half;
    const [left, top] = app.canvasPosToClientPos([node.pos[0] + margin, y]);
    return [left, top, app.canvasPosToClientPos([node.pos[0] + node.size[0] - margin, y])[0] - left];
}"""


@dataclass(frozen=True)
class Run:
    """One click on Run: its entry of /history, and the nodes that ran and that did not have to."""

    entry: dict
    ran: set[str]
    cached: set[str]


def chromium() -> str | None:
    """The Chromium of this machine, if it has one."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for path in map(shutil.which, names) if path), None)


def put_stand_ins(base: Path) -> None:
    """Give the models and pictures that shipped workflows name an empty file each, so that the page misses none."""
    for path in WORKFLOWS.values():
        for node in json.loads(path.read_text())["nodes"]:
            if node["type"] not in FOLDERS:
                continue
            file = base / FOLDERS[node["type"]] / node["widgets_values"][0]
            file.parent.mkdir(parents=True, exist_ok=True)
            if node["type"] == "LoadImage":
                Image.new("RGB", (64, 64)).save(file)
            else:
                file.touch()


class Page:
    """ComfyUI's page, open.

    Args:
        context: A browser's context, of playwright.
        server: The ComfyUI.
        mode: CLASSIC or NODES_2.
    """

    def __init__(self, context, server: Server, mode: str):
        self.server = server
        self.mode = mode
        self.errors: list[str] = []
        self._messages: list[dict] = []
        self.page = context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._on_frame))
        self.page.goto(server.url)
        self.page.wait_for_function(READY, timeout=120_000)

    def _on_console(self, message) -> None:
        # Files that a fresh ComfyUI has not got are asked for and missed; those of extensions must be there.
        missed = message.text.startswith("Failed to load resource")
        if message.type == "error" and (not missed or "/extensions/" in message.location["url"]):
            self.errors.append(message.text)

    def _on_frame(self, frame: str | bytes) -> None:
        if isinstance(frame, str):
            self._messages.append(json.loads(frame))

    def offers_nodes_2(self) -> bool:
        return self.page.evaluate(f"app.ui.settings.settingsLookup['{NODES_2_SETTING}']?.type === 'boolean'")

    def offers_apps(self) -> bool:
        return self.page.evaluate(f"app.extensionManager.command.commands.some(c => c.id === '{APP_COMMAND}')")

    def use_nodes_2(self, wanted: bool) -> None:
        self.page.evaluate(f"wanted => app.extensionManager.setting.set('{NODES_2_SETTING}', wanted)", wanted)

    def load(self, flow: dict, name: str, *, as_app: bool = False) -> None:
        """Open a workflow as the page opens a template: as a graph in full view, or as an app."""
        self._start_anew()
        extra = {**flow.get("extra", {}), "linearMode": as_app}
        self.page.evaluate(
            "async ([flow, name]) => { await app.loadGraphData(flow, true, true, name) }",
            [{**flow, "extra": extra}, name],
        )
        if not as_app:
            self._fit()

    def load_api(self, prompt: dict, name: str) -> None:
        """Open a workflow in the API's format; the page places its nodes, and seeds stay as they are."""
        self._start_anew()
        self.page.evaluate("async ([prompt, name]) => { await app.loadApiJson(prompt, name) }", [prompt, name])
        self.page.evaluate(
            "app.graph._nodes.flatMap(n => n.widgets ?? []).filter(w => w.name === 'control_after_generate')"
            ".forEach(w => { w.value = 'fixed' })"
        )
        self._fit()

    def _start_anew(self) -> None:
        self.errors.clear()
        self.page.mouse.move(0, 0)  # a tab under the mouse says its name in a popover
        self.page.keyboard.press("Escape")  # a dialog that the last workflow left open would catch every click
        self.page.wait_for_function("!document.querySelector('.p-dialog-mask')")

    def _fit(self) -> None:
        self.page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        self.page.evaluate(SETTLED)

    def unknown_nodes(self) -> list[str]:
        """The types of nodes that the page does not know."""
        return self.page.evaluate("app.graph._nodes.map(n => n.type).filter(t => !LiteGraph.registered_node_types[t])")

    def alerts(self) -> list[str]:
        """What the page says over the workflow."""
        return [alert.inner_text() for alert in self.page.locator(ALERTS).all() if alert.is_visible()]

    def overlaps(self) -> list[tuple[str, str]]:
        """The titles of nodes that lie on each other by more than a pixel."""
        boxes = self.page.evaluate(ELEMENT_BOXES if self.mode == NODES_2 else CANVAS_BOXES)
        return [
            (title, other)
            for (title, x, y, w, h), (other, x2, y2, w2, h2) in combinations(boxes, 2)
            if min(x + w, x2 + w2) - max(x, x2) > 1 and min(y + h, y2 + h2) - max(y, y2) > 1
        ]

    def changing_seeds(self) -> list[str]:
        """The titles of nodes whose seed is another after each Run."""
        return self.page.evaluate(
            "app.graph._nodes.filter(n => n.widgets?.some(w => w.name === 'control_after_generate'"
            " && w.value !== 'fixed')).map(n => n.title)"
        )

    def run_and_wait(self) -> Run:
        """Click Run, and wait for the end and for every picture to be on its node.

        Raises:
            AssertionError: The server refused the workflow, a node failed, or a picture is not shown.
        """
        self._messages.clear()
        with self.page.expect_response(lambda r: r.url.endswith("/prompt") and r.request.method == "POST") as sent:
            self.page.locator(RUN).first.click()
        assert sent.value.ok, sent.value.text()
        key = sent.value.json()["prompt_id"]
        entry = self.server.finished(key)
        failed = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
        assert not failed, f"{failed[0]['node_type']}: {failed[0]['exception_message']}"
        for _ in range(100):  # messages arrive while playwright waits
            if self._said(key, "execution_success"):
                break
            self.page.wait_for_timeout(50)
        for node, output in entry["outputs"].items():
            if output.get("images"):
                self.page.wait_for_function(SHOWN, arg=[node, self.mode == NODES_2], timeout=10_000)
        ran = {message["node"] for message in self._said(key, "executing")} - {None}
        cached = {node for message in self._said(key, "execution_cached") for node in message["nodes"]}
        return Run(entry, ran, cached)

    def _said(self, key: str, kind: str) -> list[dict]:
        return [m["data"] for m in self._messages if m["type"] == kind and m["data"].get("prompt_id") == key]

    def drag_slider(self, node_type: str, name: str, share: float) -> float:
        """Drag a node's slider with the mouse to a share of its range, and return the widget's value."""
        if self.mode == NODES_2:
            number = self.page.evaluate("type => app.graph._nodes.find(n => n.type === type).id", node_type)
            slider = self.page.locator(f'[data-node-id="{number}"] [data-slot=slider][aria-label="{name}"]')
            box, thumb = slider.bounding_box(), slider.get_by_role("slider").bounding_box()
            # The thumb is what is dragged, and it stays inside of the track at both ends.
            half = thumb["width"] / 2
            left, y, width = box["x"] + half, box["y"] + box["height"] / 2, box["width"] - 2 * half
            start = thumb["x"] + half
        else:
            left, y, width = self.page.evaluate(CANVAS_SLIDER, [node_type, name, SLIDER_MARGIN, HALF_A_WIDGET])
            start = left + width / 2
        mouse = self.page.mouse
        mouse.move(start, y)
        mouse.down()
        mouse.move(left + width * share, y, steps=8)
        mouse.up()
        self.page.evaluate(SETTLED)
        return self.page.evaluate(
            "([type, name]) => app.graph._nodes.find(n => n.type === type).widgets.find(w => w.name === name).value",
            [node_type, name],
        )

    def app_inputs(self) -> list[list[str]]:
        """The [node, widget] pairs that app mode shows; the key of one ends in ":node:widget"."""
        items = self.page.locator("[data-testid=linear-widgets] [data-testid=app-mode-widget-item]")
        items.first.wait_for()
        return [item.get_attribute("data-widget-key").split(":")[-2:] for item in items.all()]

    def app_can_run(self) -> bool:
        return self.page.locator("[data-testid=linear-run-button]").first.is_visible()

    def screenshot(self, name: str, *more: str) -> None:
        """Write a picture of the page into the folder that SCREENSHOTS names, if it names one."""
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            words = re.sub(r"[^\w]+", "-", name).strip("-").lower()
            self.page.screenshot(path=Path(folder) / f"{'.'.join((words, self.mode, *more))}.png")
