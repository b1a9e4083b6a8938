"""Learning and editing in h-space of transformers inside ComfyUI: small random models of SD3 and Flux."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from helpers.families import conditioning, latent, tiny
from helpers.graph import assert_unchanged, weights
from helpers.tensors import noise, relative
from helpers.transformers import SHAPES, SIGMA, Transformer, learn, state
from singular_edit.core import EditError, combine_directions, load_hdirection
from singular_edit.core.recipes.defaults import END_PERCENT


@pytest.fixture(scope="module", params=list(SHAPES))
def transformer(request, graph):
    with torch.inference_mode():
        model = tiny(request.param)
    return Transformer(request.param, model, graph.schedule(5, model))


@pytest.mark.parametrize("method", ["readout", "combined"])
def test_learning_and_editing_leave_nothing_behind(graph, transformer, method, tmp_path):
    before = weights(transformer.model)
    options = repr(transformer.model.model_options)
    direction = learn(graph, transformer, method)
    auto = {"sd3": "double_block:2"}.get(transformer.name, "double_block:1")
    assert direction.layer == auto
    direction.save(tmp_path / "direction.safetensors")
    loaded = load_hdirection(tmp_path / "direction.safetensors")
    assert loaded.layer == auto
    stock = transformer.sample(graph)
    edited = transformer.sample(graph, sampler=graph.asyrp(loaded, edit_percent=END_PERCENT))
    assert torch.isfinite(edited).all()
    assert relative(edited, stock) > 1e-4
    applied = graph.run("ApplyAttribute", model=transformer.model, attribute=loaded, strength=1.0)[0]
    assert relative(transformer.sample(graph, applied), edited) < 1e-4
    assert torch.equal(transformer.sample(graph, sampler=graph.asyrp(loaded, strength=0.0)), stock)
    assert_unchanged(transformer.model, before, options)


def test_a_layer_may_be_asked_for(graph, transformer):
    direction = learn(graph, transformer, "vector", layer=transformer.last_layer)
    assert direction.layer == transformer.last_layer
    assert not torch.equal(transformer.sample(graph, sampler=graph.asyrp(direction)), transformer.sample(graph))
    with pytest.raises(EditError, match="'double_block:9' but this model is a transformer of"):
        learn(graph, transformer, "vector", layer="double_block:9")
    first = learn(graph, transformer, "vector", layer="double_block:0")
    with pytest.raises(EditError, match="directions of one layer can be combined"):
        combine_directions([(1.0, first), (1.0, direction)])


def test_derived_directions(graph, transformer):
    name = transformer.name
    direction = learn(graph, transformer, "implicit", layer=transformer.last_layer)
    inputs = dict(
        model=transformer.model,
        positive=conditioning(name, 1),
        negative=conditioning(name, 2),
        latent_image=latent(name),
        sigmas=transformer.sigmas,
    )
    mean = graph.run("HDirectionAverage", direction=direction, samples=4, **inputs)[0]
    principal = graph.run("HDirectionPCA", samples=5, component=1, layer=transformer.last_layer, **inputs)[0]
    both = graph.run("CombineH", direction_1=mean, direction_2=principal, weight_2=-0.5)[0]
    stock = transformer.sample(graph)
    for made in (mean, principal, both):
        assert made.layer == transformer.last_layer
        assert not torch.equal(transformer.sample(graph, sampler=graph.asyrp(made)), stock)


def test_the_gradient_in_comfyui_is_that_of_finite_differences(transformer):
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser, with_trainable_decoder
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    layer = "double_block:0"
    x = state()
    some_way = noise((1, transformer.width, 6, 8), 3)
    step = 0.5

    def algorithm(wrapped, extra_args, _, sigmas):
        denoise = ComfyDenoiser(wrapped, extra_args, differentiable=True, layer=layer)

        def loss(dh):
            return denoise(x.clone(), sigmas[0].clone(), lambda h: h + dh).double().square().mean()

        dh = torch.zeros_like(some_way, requires_grad=True)
        with torch.enable_grad():
            loss(dh).backward()
        # Partly uphill, so that rounding is small beside the difference.
        along = dh.grad / dh.grad.norm() + some_way / some_way.norm()
        with torch.no_grad():
            measured = (loss(step * along) - loss(-step * along)).item() / (2 * step)
        return (dh.grad * along).sum().item(), dh.grad.norm().item(), measured

    prompts = Prompts(conditioning(transformer.name, 1), conditioning(transformer.name, 2), 2.0)
    with torch.inference_mode(False):
        model = with_trainable_decoder(transformer.model, layer)
        schedule = torch.tensor([SIGMA, 0.0])
        slope, norm, measured = run_in_session(model, prompts, torch.zeros_like(x), schedule, algorithm)
    assert abs(slope) > 1e-3 * norm
    assert slope == pytest.approx(measured, rel=0.02)


class Clip:
    """A CLIP whose prompts are random conditionings."""

    seeds: ClassVar[dict[str, int]] = {"a face": 1, "": 2, "a face with glasses": 3}

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return conditioning("sd3", self.seeds[tokens])


def test_learn_attribute_and_apply_attribute_on_sd3(graph):
    """The readout goes a part of the way to the other prompt's picture, in stock samplers; it is learned once."""
    with torch.inference_mode():
        model = tiny("sd3", seed=1)
    asked = dict(model=model, clip=Clip(), width=64, height=64, steps=4, effort="quick")
    readout, info = graph.run("LearnAttribute", **asked)
    assert readout.layer == "double_block:2"
    assert readout.info["blocks"] == "4"
    assert "Saved as" in info
    again, info = graph.run("LearnAttribute", **asked)
    assert again.layer == "double_block:2"
    assert "Learned before" in info
    _, info = graph.run("LearnAttribute", **asked, layer="double_block:1", method="difference")
    assert "Saved as" in info

    def drawn(model, sampler, prompt="a face"):
        positive, negative = Clip().encode_from_tokens_scheduled(prompt), conditioning("sd3", 2)
        empty = {"samples": torch.zeros(4, 16, 8, 8)}
        with torch.inference_mode():
            sample = graph.stock.common_ksampler
            return sample(model, 7, 8, 1.0, sampler, "normal", positive, negative, empty)[0]["samples"]

    def applied(strength):
        return graph.run("ApplyAttribute", model=model, attribute=again, strength=strength)[0]

    for sampler in ("euler", "heun"):
        source = drawn(model, sampler)
        way = drawn(model, sampler, "a face with glasses") - source
        moved = drawn(applied(1.0), sampler) - source
        assert 0.5 < (moved * way).sum() / way.square().sum() < 1.7
        assert torch.cosine_similarity(moved.flatten(1), way.flatten(1)).min() > 0.8
        assert ((drawn(applied(-1.0), sampler) - source) * way).sum() < 0
        assert torch.equal(drawn(applied(0.0), sampler), source)
