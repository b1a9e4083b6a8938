"""The same file everywhere: nodes and library read each other's attributes, and draw the same pictures with them."""

from __future__ import annotations

import pytest
import torch
from helpers.graph import empty_latent
from helpers.tensors import relative
from singular_edit.core import Readout
from singular_edit.core.recipes.attributes import with_info
from singular_edit.core.recipes.settings import PairSettings
from singular_edit.demo.architectures import UNET
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.enlarge import reduce

pytest.importorskip("diffusers")

STEPS = 10
# Of pictures from 0 to 1.
SAME = 1e-3


@pytest.fixture(scope="module")
def face(graph):
    """IMAGE [1, 256, 256, 3]."""
    return graph.run("DemoFace", seed=50001, glasses="off")[0]


@pytest.fixture(scope="module")
def edit():
    import singular_edit
    from singular_edit.demo.pipeline import load_pipeline

    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    with singular_edit.attach(pipe) as attached:
        yield attached


@pytest.fixture(scope="module")
def code(edit, face):
    return edit.invert(small(face), "a face", steps=STEPS)


@pytest.fixture(scope="module")
def prepared(graph, face):
    inputs = dict(model=graph.model, clip=graph.clip, vae=graph.vae, describe="a face", steps=STEPS)
    return graph.run("PreparePicture", image=face, **inputs)


def small(image):
    """An IMAGE inside ComfyUI as the library's picture, [B, 3, 64, 64]."""
    return reduce(image.movedim(-1, 1), UNET.enlargement)


def assert_same_edit(graph, edit, code, prepared, here, there, strength):
    """The library's edit with ``here`` is the node's with ``there``."""
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=there, strength=strength)
    ours = edit(code, {here: strength}, output_type="pt")
    difference = (ours - small(after)).abs()
    assert difference.mean() < SAME
    # The node meets the range of pictures before the trace's correction, the library after it.
    assert difference.max() < (20 * SAME if isinstance(here, Readout) else SAME)
    assert (ours - small(before)).abs().max() > 0.1


def test_the_family_is_the_nodes_own(graph, edit):
    from singular_edit.backends.comfyui.family import family_of

    assert edit.family == family_of(graph.model.model)


def test_an_inversion_is_the_nodes_own(edit, code, prepared):
    rebuilt = edit(code, output_type="pt")
    assert (rebuilt - small(prepared[1])).abs().max() < SAME
    assert (code.latents - prepared[0].code).norm() < 1e-3 * code.latents.norm()


@pytest.mark.parametrize("path", [readout_path("glasses"), svd_path("glasses")], ids=lambda path: path.name)
@pytest.mark.parametrize("strength", [1.2, -0.8])
def test_a_file_of_a_node_edits_alike_in_the_library(graph, edit, code, prepared, path, strength):
    from singular_edit.nodes.learned_files import attribute_folder

    there = with_info(edit.load(path), {"name": "mine"})
    saved = attribute_folder() / graph.run("SaveAttribute", attribute=there, filename_prefix="mine")[0]
    here = edit.load(saved)
    assert here.name == "mine"
    assert_same_edit(graph, edit, code, prepared, here, there, strength)


def test_a_file_of_the_library_edits_alike_in_a_node(graph, edit, code, prepared):
    from singular_edit.nodes.learned_files import attribute_folder

    here = edit.learn("a face", "a face with glasses", settings=PairSettings(7, (2, 4), count=4), steps=STEPS)
    here.save(attribute_folder() / "library.safetensors")
    there, info = graph.run("LoadAttribute", file="library.safetensors")
    assert "From 'a face' to 'a face with glasses'." in info
    assert f"cfg 2, steps {STEPS}, 64 x 64 pixels" in info
    assert_same_edit(graph, edit, code, prepared, here, there, 1.0)


def test_both_learn_the_same(graph, edit):
    """The same two prompts, seed and settings teach a readout alike in a node and in the library."""
    from dataclasses import replace

    from singular_edit.core.recipes.settings import LearnSettings

    learned = graph.learn("readout", samples=16, steps=20, latent_image=empty_latent(8))[0]
    settings = LearnSettings.for_method("readout")
    settings = replace(settings, samples=16, training=replace(settings.training, steps=20))
    ours = edit.learn("a face", "a face with glasses", settings=settings, steps=8)
    h = torch.randn(1, 128, 4, 4, generator=torch.Generator().manual_seed(0))
    changes = [one.change(h, torch.tensor(2.0), (16, 16)) for one in (ours, learned)]
    assert torch.allclose(ours.sigmas, learned.sigmas, rtol=1e-4)
    assert relative(*changes) < 0.05
