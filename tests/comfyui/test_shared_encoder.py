"""The plain and the edited prediction of one call: equal to two calls, at the cost of one encoder."""

from __future__ import annotations

import pytest
import torch
from helpers.families import UNETS, conditioning, tiny
from helpers.graph import assert_unchanged, weights
from helpers.pairs import Job, assert_pair_is_two_calls, rows_of
from helpers.patches import controlnet, lora
from helpers.tensors import noise, relative


@pytest.fixture(scope="module", params=UNETS)
def family(request, comfy):
    with torch.inference_mode():
        return request.param, tiny(request.param)


@pytest.mark.parametrize(
    ("cfg", "edit_uncond", "encoder", "decoder"),
    [(1.0, False, [2], [2, 2]), (5.0, False, [4], [4, 2]), (5.0, True, [4], [4, 4])],
)
def test_the_families(family, cfg, edit_uncond, encoder, decoder):
    name, model = family
    before = weights(model)
    options = repr(model.model_options)
    job = Job(model, conditioning(name, 1), conditioning(name, 2), cfg, edit_uncond, (2, 4, 12, 10))
    one, two = assert_pair_is_two_calls(job)
    assert one.encoder == encoder
    assert two.encoder == encoder * 2
    assert one.decoder == decoder
    assert_unchanged(model, before, options)


def test_an_odd_size(family):
    name, model = family
    job = Job(model, conditioning(name, 1), conditioning(name, 2), shape=(1, 4, 9, 13))
    one, _ = assert_pair_is_two_calls(job)
    assert one.encoder == [2]


@pytest.fixture(scope="module")
def job(graph):
    return Job(graph.model, graph.target, graph.source)


@pytest.mark.parametrize("edit_uncond", [False, True])
def test_the_embedded_model(job, edit_uncond):
    one, _ = assert_pair_is_two_calls(job._replace(edit_uncond=edit_uncond))
    assert one.encoder == [4]


def test_conditional_and_unconditional_rows_in_batches_of_their_own(job, monkeypatch):
    monkeypatch.setattr(job.model.model, "memory_required", lambda *args, **kwargs: 1e30)
    one, _ = assert_pair_is_two_calls(job)
    assert one.encoder == [2, 2]
    assert one.decoder == [2, 2, 2]


def test_gradients_off_are_enough_to_share(graph):
    """The unit of strength is measured through the denoiser that a direction is trained through."""
    from singular_edit.backends.comfyui.denoiser import with_trainable_decoder

    job = Job(with_trainable_decoder(graph.model), graph.target, graph.source)
    one, _ = assert_pair_is_two_calls(job, differentiable=True)
    assert one.encoder == [4]


# Patches of stock nodes that are shared exactly.


def freeu(graph, job):
    return job._replace(model=node("nodes_freelunch", "FreeU", job.model, 1.3, 1.4, 0.9, 0.2))


def freeu_v2(graph, job):
    return job._replace(model=node("nodes_freelunch", "FreeU_V2", job.model, 1.3, 1.4, 0.9, 0.2))


def deep_shrink(graph, job):
    inputs = (3, 2.0, 0.0, 1.0, True, "bicubic", "bicubic")
    return job._replace(model=node("nodes_model_downscale", "PatchModelAddDownscale", job.model, *inputs))


def perturbed_attention(graph, job):
    return job._replace(model=node("nodes_pag", "PerturbedAttentionGuidance", job.model, 3.0))


def self_attention(graph, job):
    return job._replace(model=node("nodes_sag", "SelfAttentionGuidance", job.model, 0.5, 2.0))


def rescaled(graph, job):
    return job._replace(model=graph.advanced.RescaleCFG().patch(job.model, 0.7)[0])


def with_lora(graph, job):
    import comfy.sd

    return job._replace(model=comfy.sd.load_lora_for_models(job.model, None, lora(graph), 1.0, 0)[0])


def with_lora_hook(graph, job):
    """A LoRA that belongs to one prompt."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora=lora(graph), strength_model=1.0, strength_clip=0.0)
    positive = comfy.hooks.set_hooks_for_conditioning(job.positive, hooks)
    return job._replace(positive=positive)


def with_controlnet(graph, job):
    hint = graph.run("DemoFace", seed=3)[0]
    net = controlnet(graph)
    apply = graph.stock.ControlNetApplyAdvanced().apply_controlnet
    positive, negative = apply(job.positive, job.negative, net, hint, 1.0, 0.0, 1.0)
    return job._replace(positive=positive, negative=negative)


def areas(graph, job):
    left = graph.stock.ConditioningSetAreaPercentage().append(job.positive, 0.5, 1.0, 0.0, 0.0, 1.0)[0]
    return job._replace(positive=[*left, *graph.source])


def masked(graph, job):
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1.0
    half = graph.stock.ConditioningSetMask().append(job.positive, mask, "default", 1.0)[0]
    return job._replace(positive=[*half, *graph.source])


def node(file, name, model, *inputs):
    """A MODEL patched by a node of comfy_extras, of the old or the new kind."""
    import importlib

    kind = getattr(importlib.import_module(f"comfy_extras.{file}"), name)
    if hasattr(kind, "execute"):
        return kind.execute(model, *inputs).args[0]
    return kind().patch(model, *inputs)[0]


SHARED = {
    freeu: ([4], [4, 2]),
    freeu_v2: ([4], [4, 2]),
    deep_shrink: ([4], [4, 2]),
    perturbed_attention: ([4, 2], [4, 2, 2, 2]),
    self_attention: ([4, 2], [4, 2, 2, 2]),
    rescaled: ([4], [4, 2]),
    with_lora: ([4], [4, 2]),
    with_lora_hook: ([2, 2], [2, 2, 2]),
    with_controlnet: ([4], [4, 2]),
    areas: ([4, 4], [4, 4, 2, 2]),
    masked: ([6], [6, 4]),
}


@pytest.mark.parametrize("patch", SHARED, ids=lambda patch: patch.__name__)
def test_patches_that_are_shared(graph, job, patch):
    with torch.inference_mode():
        patched = patch(graph, job)
    one, _ = assert_pair_is_two_calls(patched)
    encoder, decoder = SHARED[patch]
    assert sorted(one.encoder) == sorted(encoder)
    assert sorted(one.decoder) == sorted(decoder)
    unpatched = job.run(pair=True)
    assert relative(one.plain, unpatched.plain) > 1e-4  # the patch acts


def test_a_run_on_another_input_is_not_replayed(graph, job):
    """Self-Attention Guidance asks about a picture that follows from the edited prediction."""
    with torch.inference_mode():
        patched = self_attention(graph, job._replace(edit_uncond=True))
    one, _ = assert_pair_is_two_calls(patched)
    assert one.encoder == [4, 2, 2]  # of two calls' [4, 2, 4, 2]


def test_a_whole_edit_takes_one_encoder_a_step(graph, monkeypatch):
    """Asyrp Sampler, beside itself with two calls a step; strength 0 is the stock sampler."""
    from singular_edit.backends.comfyui import denoiser
    from singular_edit.core.hspace.direction import TableDirection

    sigmas = graph.schedule(6)
    direction = TableDirection(sigmas[:-1], {"table": noise((6, 128, 4, 4), 2)})
    start = {"samples": noise((2, 4, 16, 16), 3)}
    network = graph.model.model.diffusion_model

    def run(**inputs):
        sampler = graph.asyrp(direction, **inputs) if inputs else None
        with rows_of(network.input_blocks[1][0]) as encoded, rows_of(network.output_blocks[0][0]) as decoded:
            return graph.sample(start, sampler, cfg=3.0, sigmas=sigmas), len(encoded), len(decoded)

    stock, *_ = run()
    shared, encoded, decoded = run(strength=1.0, edit_percent=0.5)
    assert encoded == 6
    assert 6 < decoded < 12
    still, encoded, decoded = run(strength=0.0)
    assert torch.equal(still, stock)
    assert (encoded, decoded) == (6, 6)
    monkeypatch.setattr(denoiser, "can_record", lambda *args: False)
    separate, encoded, _ = run(strength=1.0, edit_percent=0.5)
    assert encoded > 6
    assert relative(shared, separate) < 1e-4
    assert relative(shared, stock) > 1e-2
