"""What may depend on more than it is given: the plain and the edited prediction are then two whole calls."""

from __future__ import annotations

import pytest
import torch
from helpers.pairs import Job, assert_pair_is_two_calls


@pytest.fixture(scope="module")
def job(graph):
    return Job(graph.model, graph.target, graph.source)


def unknown_output_patch(model, monkeypatch):
    runs = []

    def every_second_run(h, hsp, transformer_options):
        runs.append(1)
        return h * (1.0 + len(runs) % 2), hsp

    model.set_model_output_block_patch(every_second_run)


def unknown_attention_patch(model, monkeypatch):
    model.set_model_attn1_output_patch(lambda n, extra_options: 1.5 * n)


def unknown_attention(model, monkeypatch):
    model.set_model_attn1_replace(lambda q, k, v, extra_options: 2 * v, "output", 3)


def unknown_option(model, monkeypatch):
    model.model_options["transformer_options"]["of_another_node"] = torch.ones(2)


def diffusion_model_wrapper(model, monkeypatch):
    from comfy.patcher_extension import WrappersMP

    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, lambda executor, *args, **kwargs: 1.1 * executor(*args, **kwargs))


def apply_model_wrapper(model, monkeypatch):
    from comfy.patcher_extension import WrappersMP

    model.add_wrapper(WrappersMP.APPLY_MODEL, lambda executor, *args, **kwargs: 1.1 * executor(*args, **kwargs))


def model_function_wrapper(model, monkeypatch):
    model.set_model_unet_function_wrapper(lambda apply, args: 1.1 * apply(args["input"], args["timestep"], **args["c"]))


def replaced_forward(model, monkeypatch):
    network = model.model.diffusion_model
    forward = network._forward
    monkeypatch.setattr(network, "_forward", lambda *args, **kwargs: 1.1 * forward(*args, **kwargs), raising=False)


def subclass(model, monkeypatch):
    network = model.model.diffusion_model
    monkeypatch.setattr(network, "__class__", type("Another", (type(network),), {}))


def compiled(model, monkeypatch):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    set_torch_compile_wrapper(model=model, backend="eager")


def compiled_in_place(model, monkeypatch):
    network = model.model.diffusion_model
    monkeypatch.setattr(network, "_compiled_call_impl", network._call_impl)


def replaced_for_all(model, monkeypatch):
    kind = type(model.model.diffusion_model)
    forward = kind._forward
    monkeypatch.setattr(kind, "_forward", lambda self, *args, **kwargs: 1.1 * forward(self, *args, **kwargs))


def replaced_layer(model, monkeypatch):
    layer = model.model.diffusion_model.output_blocks[1][0]
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda *args: 1.1 * forward(*args), raising=False)


def injected_layer(model, monkeypatch):
    class Half(torch.nn.Module):
        def forward(self, x):
            return x / 2

    blocks = model.model.diffusion_model.output_blocks
    longer = type(blocks[2])(*blocks[2], Half())
    monkeypatch.setitem(blocks._modules, "2", longer)


WHOLE = [
    replaced_for_all,
    replaced_layer,
    injected_layer,
    unknown_output_patch,
    unknown_attention_patch,
    unknown_attention,
    unknown_option,
    diffusion_model_wrapper,
    apply_model_wrapper,
    model_function_wrapper,
    replaced_forward,
    subclass,
    compiled,
    compiled_in_place,
]


@pytest.mark.parametrize("patch", WHOLE, ids=lambda patch: patch.__name__)
def test_patches_that_take_two_whole_calls(job, monkeypatch, patch):
    model = job.model.clone()
    with torch.inference_mode():
        patch(model, monkeypatch)
    if patch is compiled:  # a compiled layer runs no hooks
        one = job._replace(model=model).run(pair=True)
        two = job._replace(model=model).run(pair=False)
        assert torch.equal(one.edited, two.edited)
    else:
        one, two = assert_pair_is_two_calls(job._replace(model=model))
        assert one.encoder == two.encoder
        assert torch.equal(one.edited, two.edited)


def test_a_wrapper_that_a_prompts_hook_brings_takes_two_whole_runs_of_that_prompt(job):
    import comfy.hooks
    from comfy.patcher_extension import WrappersMP

    def louder(executor, *args, **kwargs):
        return 1.1 * executor(*args, **kwargs)

    options = {"wrappers": {WrappersMP.DIFFUSION_MODEL: {"other": [louder]}}}
    hooks = comfy.hooks.HookGroup()
    scope = comfy.hooks.EnumHookScope.HookedOnly
    hooks.add(comfy.hooks.TransformerOptionsHook(transformers_dict=options, hook_scope=scope))
    with torch.inference_mode():
        positive = comfy.hooks.set_hooks_for_conditioning(job.positive, hooks)
    one, _ = assert_pair_is_two_calls(job._replace(positive=positive))
    assert one.encoder == [2, 2, 2]
