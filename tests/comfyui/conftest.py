"""A graph of the demo model inside ComfyUI, a fresh one for each file."""

import pytest
from helpers.graph import Graph


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)
