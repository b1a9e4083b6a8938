"""One ComfyUI server with the pack, one browser, and one page a mode."""

from __future__ import annotations

import json

import pytest
from helpers.browser import CLASSIC, ELSEWHERE, NODES_2, SETTINGS, Page, chromium, put_stand_ins
from helpers.server import Server, copied_pack


# A running browser holds this process's event loop, which other tests need: nothing here outlives its file.
@pytest.fixture(scope="module")
def context():
    """A browser that reaches this machine alone."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    program = chromium()
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # A container has no user namespaces for Chromium's sandbox; the page is our own server's.
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        context.route(ELSEWHERE, lambda route: route.abort())
        yield context
        browser.close()


@pytest.fixture(scope="module")
def page_server(context, comfyui_path, tmp_path_factory):
    base = tmp_path_factory.mktemp("page")
    copied_pack(base / "custom_nodes" / "singular-edit")
    settings = base / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(SETTINGS))
    put_stand_ins(base)
    server = Server(comfyui_path, base)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=[CLASSIC, NODES_2])
def page(request, context, page_server):
    opened = Page(context, page_server, request.param)
    if request.param == NODES_2 and not opened.offers_nodes_2():
        opened.page.close()
        pytest.skip("this frontend has no Nodes 2.0")
    opened.use_nodes_2(request.param == NODES_2)
    yield opened
    opened.page.close()
