"""The same transformer behind diffusers and behind ComfyUI: one h, one edit."""

from __future__ import annotations

import pytest
import torch
from helpers.families import conditioning, latent
from helpers.tensors import relative
from helpers.transformers import (
    CFG,
    SHAPES,
    SIGMA,
    WIDTH,
    Transformer,
    comfyui_sd3,
    diffusers_sd3,
    learn,
    moved,
    sd3_denoiser,
    state,
)
from singular_edit.core import EditError
from singular_edit.core.denoiser import BottleneckRecorder
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.recipes import hspace
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.samplers import Schedule


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("diffusers")
    return diffusers_sd3()


@pytest.fixture(scope="module")
def sd3(graph, network):
    with torch.inference_mode():
        model = comfyui_sd3(network)
    return Transformer("sd3", model, graph.schedule(6, model))


@pytest.mark.parametrize("block", range(SHAPES["sd3"][1]))
@pytest.mark.parametrize("cfg", [1.0, CFG])
def test_h_and_the_edited_prediction_agree(network, sd3, block, cfg):
    layer = f"double_block:{block}"
    here, there = BottleneckRecorder(moved), BottleneckRecorder(moved)
    ours = sd3.predict(here, cfg=cfg, layer=layer)
    with torch.no_grad():
        denoise = sd3_denoiser(network, cfg, layer=layer)
        theirs = denoise(state(), torch.tensor(SIGMA), there)
        plain = denoise(state(), torch.tensor(SIGMA))
    assert here.seen[0].shape == (2, WIDTH, 6, 8)
    assert relative(here.seen[0], there.seen[0]) < 1e-4
    assert relative(ours, theirs) < 1e-4
    assert relative(theirs, plain) > 1e-2


@pytest.mark.parametrize("method", ["readout", "combined"])
def test_an_edited_picture_agrees(graph, network, sd3, method):
    """What was learned inside ComfyUI edits through diffusers alike, by Asyrp's steps."""
    direction = learn(graph, sd3, method)
    sampling = sd3.model.get_model_object("model_sampling")
    schedule = Schedule(sd3.sigmas, sampling.percent_to_sigma)
    x = state()
    with torch.inference_mode():
        denoise = sd3_denoiser(network, CFG, layer=direction.layer)
        theirs = hspace.edit(denoise, x, schedule, direction, EditSettings(strength=1.2))
        plain = hspace.edit(denoise, x, schedule, direction, EditSettings(strength=0.0))
    from singular_edit.backends.comfyui.noise import InvertedNoise

    code = InvertedNoise(sd3.model, x, float(sd3.sigmas[0]))
    with torch.inference_mode():
        guider = graph.custom.CFGGuider().get_guider(sd3.model, conditioning("sd3", 1), conditioning("sd3", 2), CFG)[0]
        out = graph.custom.SamplerCustomAdvanced().sample(
            code, guider, graph.asyrp(direction, strength=1.2), sd3.sigmas, latent("sd3")
        )[0]["samples"]
        ours = sd3.model.model.process_latent_in(out)
    assert relative(ours, theirs) < 1e-4
    assert relative(theirs, plain) > 1e-3


def test_a_direction_of_another_layer_gets_a_sentence(network):
    direction = TableDirection(
        torch.tensor([0.9, 0.1]), {"table": torch.ones(1, WIDTH, 1, 1)}, {"layer": "double_block:2"}
    )
    schedule = Schedule(torch.tensor([0.9, 0.4, 0.0]), lambda percent: 1 - percent)
    denoise = sd3_denoiser(network, layer="double_block:1")
    with pytest.raises(EditError, match="learned at double_block:2 of a transformer but h of this model is taken at"):
        hspace.edit(denoise, state(), schedule, direction)
