"""h of transformers inside ComfyUI: small random models of SD3 and Flux."""

from __future__ import annotations

import pytest
import torch
from helpers.families import conditioning, tiny
from helpers.tensors import relative
from helpers.transformers import SHAPES, Transformer, moved, random_readout, state
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection


@pytest.fixture(scope="module", params=list(SHAPES))
def transformer(request, graph):
    with torch.inference_mode():
        model = tiny(request.param)
    return Transformer(request.param, model, graph.schedule(5, model))


@pytest.mark.parametrize("size", [(12, 16), (9, 7)])
def test_h_is_the_grid_of_the_image_tokens_of_the_prompt(transformer, size):
    for block in range(SHAPES[transformer.name][1]):
        seen = []
        transformer.predict(lambda h: seen.append(h) or h, x=state(size), layer=f"double_block:{block}")
        [h] = seen
        assert h.shape == (2, transformer.width, -(-size[0] // 2), -(-size[1] // 2))


def test_an_edit_of_nothing_is_bit_for_bit_the_plain_prediction(transformer):
    plain = transformer.predict()
    assert torch.equal(transformer.predict(lambda h: h + torch.zeros_like(h)), plain)
    assert relative(transformer.predict(moved), plain) > 1e-3


def test_only_the_prompts_rows_are_edited_unless_asked(transformer):
    rows = []

    def recorded(h):
        rows.append(len(h))
        return moved(h)

    one = transformer.predict(recorded)
    both = transformer.predict(recorded, edit_uncond=True)
    assert rows == [2, 4]
    assert relative(both, one) > 1e-3


def test_the_pair_is_two_calls(transformer):
    plain, edited = transformer.predict(moved, pair=True)
    assert torch.equal(plain, transformer.predict())
    assert torch.equal(edited, transformer.predict(moved))


def test_where_the_prompt_has_an_area_h_is_of_that_area(transformer):
    area = [
        [tokens, {**more, "area": (8, 6, 2, 4), "strength": 1.0}] for tokens, more in conditioning(transformer.name, 3)
    ]
    seen = []
    transformer.predict(lambda h: seen.append(h.shape) or moved(h), positive=conditioning(transformer.name, 1) + area)
    assert {shape[-2:] for shape in seen} == {(6, 8), (4, 3)}


def test_tokens_of_reference_pictures_are_left_alone(graph, comfy):
    """Flux appends them after the picture's, as Qwen-Image does."""
    with torch.inference_mode():
        model = tiny("flux")
    flux = Transformer("flux", model, graph.schedule(5, model))
    [[tokens, more]] = conditioning("flux", 1)
    reference = [[tokens, {**more, "reference_latents": [state((4, 4), 7, 1)]}]]
    outputs = []

    def watched(args, extra_options):
        outputs.append(args["img"].clone())
        return extra_options["original_block"](args)

    follower = model.clone()
    follower.set_model_patch_replace(watched, "dit", "double_block", 1)
    seen = []
    plain = flux.predict(model=follower, positive=reference, cfg=1.0)
    edited = flux.predict(
        lambda h: seen.append(h.shape) or moved(h), model=follower, positive=reference, cfg=1.0, layer="double_block:0"
    )
    assert seen == [(2, 64, 6, 8)]
    before, after = outputs
    assert before.shape == after.shape == (2, 48 + 4, 64)
    assert torch.equal(before[:, 48:], after[:, 48:])
    assert not torch.equal(before[:, :48], after[:, :48])
    assert relative(edited, plain) > 1e-3


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_patches_of_others_on_the_same_block_still_act(graph, transformer, strength):
    """Whether they come before or after our own."""
    layer = transformer.last_layer
    block = int(layer.split(":")[1])

    def twice(args, extra_options):
        out = extra_options["original_block"](args)
        return {**out, "img": out["img"] + 0.5 * out["img"].flip(-1)}

    patched = transformer.model.clone()
    patched.set_model_patch_replace(twice, "dit", "double_block", block)
    alone = transformer.predict(model=patched)
    assert relative(alone, transformer.predict()) > 1e-3
    assert torch.equal(transformer.predict(lambda h: h + 0.0, model=patched, layer=layer), alone)
    readout = random_readout(transformer, layer)
    first = graph.run("ApplyAttribute", model=patched, attribute=readout, strength=strength)[0]
    last = graph.run("ApplyAttribute", model=transformer.model, attribute=readout, strength=strength)[0]
    last.set_model_patch_replace(twice, "dit", "double_block", block)
    a, b = transformer.sample(graph, first), transformer.sample(graph, last)
    assert torch.equal(a, b)
    assert torch.equal(a, transformer.sample(graph, patched)) == (strength == 0)


def test_a_direction_of_a_unet_gets_a_sentence_on_a_transformer(graph, transformer):
    foreign = TableDirection(torch.tensor([14.0, 1.0]), {"table": torch.ones(1, 64, 1, 1)}, {"name": "hat"})
    sentence = "'hat' was learned at the bottleneck of a U-Net but this model is a transformer of"
    with pytest.raises(EditError, match=sentence):
        transformer.sample(graph, sampler=graph.asyrp(foreign))
    with pytest.raises(EditError, match=sentence):
        graph.run("ApplyAttribute", model=transformer.model, attribute=foreign, strength=1.0)


def test_a_direction_of_a_transformer_gets_a_sentence_elsewhere(graph, transformer):
    readout = random_readout(transformer, "double_block:0")
    with pytest.raises(
        EditError, match=r"'hat' was learned at double_block:0 of a transformer but this model is a U-Net"
    ):
        graph.run("ApplyAttribute", model=graph.model, attribute=readout, strength=1.0)
    too_deep = random_readout(transformer, "double_block:7")
    with pytest.raises(
        EditError, match="'hat' was learned at double_block:7 of a transformer but this model is a tran"
    ):
        graph.run("ApplyAttribute", model=transformer.model, attribute=too_deep, strength=1.0)


def test_a_network_that_does_not_ask_its_patches_gets_a_sentence(graph, transformer, monkeypatch):
    network = transformer.model.model.diffusion_model
    forward = network.forward

    def unpatched(*args, transformer_options, **kwargs):
        return forward(*args, transformer_options={**transformer_options, "patches_replace": {}}, **kwargs)

    monkeypatch.setattr(network, "forward", unpatched)
    sentence = "never reached double_block:0 of a transformer during sampling"
    with pytest.raises(EditError, match=sentence):
        transformer.predict(moved, layer="double_block:0")
    readout = random_readout(transformer, "double_block:0")
    applied = graph.run("ApplyAttribute", model=transformer.model, attribute=readout, strength=1.0)[0]
    with pytest.raises(EditError, match=sentence):
        transformer.sample(graph, applied)
