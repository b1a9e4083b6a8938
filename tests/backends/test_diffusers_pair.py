"""The plain and the edited prediction through diffusers: equal to two calls, at the cost of one encoder."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.tensors import noise, relative
from singular_edit.backends.diffusers import DiffusersDenoiser
from singular_edit.core.denoiser import BottleneckRecorder, denoise_pair

SIGMA = torch.tensor(3.0)
X = 3.0 * noise((2, 4, 16, 16), 1)
SAME = 1e-5


def moved(h):
    return h + 2.0 * noise(tuple(h.shape[1:]), 5) + 0.5 * h.flip(1)


@pytest.fixture
def encoder_runs(demo):
    """One entry for each run of the encoder."""
    runs = []
    handle = demo.unet.down_blocks[0].resnets[0].register_forward_hook(lambda *_: runs.append(1))
    yield runs
    handle.remove()


def hooks_of(unet):
    return [
        len(hooks)
        for module in unet.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._forward_hooks_with_kwargs)
    ]


@torch.no_grad()
def both_ways(denoise):
    """(one call of the pair, two calls), each with what the edit saw."""
    first = BottleneckRecorder(moved)
    second = BottleneckRecorder(moved)
    pair = denoise_pair(denoise, X, SIGMA, first)
    return (*pair, first.seen), (denoise(X, SIGMA), denoise(X, SIGMA, second), second.seen)


def assert_equal(denoise):
    before = hooks_of(denoise.unet)
    (plain, edited, seen), (plain_alone, edited_alone, seen_alone) = both_ways(denoise)
    assert torch.equal(plain, plain_alone)
    assert relative(edited, edited_alone) < SAME
    assert relative(edited_alone, plain_alone) > 50 * SAME
    assert relative(edited - plain, edited_alone - plain_alone) < 1e-3
    assert [torch.equal(a, b) for a, b in zip(seen, seen_alone, strict=True)] == [True]
    assert hooks_of(denoise.unet) == before


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("edit_uncond", [False, True])
def test_one_encoder_for_both_predictions(demo, encoder_runs, cfg, edit_uncond):
    rows = []
    handle = demo.unet.up_blocks[0].resnets[0].register_forward_hook(lambda m, i, o: rows.append(len(o)))
    assert_equal(demo.denoiser("a face with glasses", "a face", cfg, edit_uncond))
    handle.remove()
    assert len(encoder_runs) == 3  # 1 of the pair, 2 of the two calls
    whole = 4 if cfg > 1 else 2
    edited = whole if edit_uncond else 2
    assert rows == [whole, edited, whole, whole]


def test_freeu_of_diffusers(demo, encoder_runs):
    demo.unet.enable_freeu(s1=0.9, s2=0.2, b1=1.3, b2=1.4)
    try:
        assert_equal(demo.denoiser("a face with glasses", "a face", 5.0))
    finally:
        demo.unet.disable_freeu()
    assert len(encoder_runs) == 3


def test_with_gradients_it_is_two_calls(demo, encoder_runs):
    dh = torch.zeros(1, 128, 4, 4, requires_grad=True)
    _, edited = demo.denoiser("a face").denoise_pair(X, SIGMA, lambda h: h + dh)
    edited.square().mean().backward()
    assert dh.grad.norm() > 0
    assert len(encoder_runs) == 2


class Doubled(torch.nn.Module):
    """An attention processor of somebody else."""

    def __init__(self, processor):
        super().__init__()
        self.processor = processor

    def __call__(self, *args, **kwargs):
        return 2 * self.processor(*args, **kwargs)


def of_another_class(unet):
    unet.__class__ = type("Another", (type(unet),), {})


def replaced_block(unet):
    forward = unet.up_blocks[1].forward
    unet.up_blocks[1].forward = lambda **kwargs: 1.1 * forward(**kwargs)


def replaced_forward(unet):
    forward = unet.forward
    unet.forward = lambda *args, **kwargs: forward(*args, **kwargs)


def compiled(unet):
    unet._compiled_call_impl = unet._call_impl


def own_attention(unet):
    unet.set_attn_processor({name: Doubled(processor) for name, processor in unet.attn_processors.items()})


def positional_arguments(unet):
    """A block whose inputs are not named."""
    unet.up_blocks[0].register_forward_pre_hook(
        lambda module, inputs, named: ((named.pop("hidden_states"),), named), with_kwargs=True
    )


@pytest.mark.parametrize(
    "change", [of_another_class, replaced_block, replaced_forward, compiled, own_attention, positional_arguments]
)
def test_what_is_not_diffusers_own_takes_two_whole_calls(demo, change):
    unet = copy.deepcopy(demo.unet)
    change(unet)
    denoise = DiffusersDenoiser(unet, demo.context("a face"), demo.context(""), 5.0, alphas_cumprod=demo.alphas_cumprod)
    runs = []
    unet.down_blocks[0].resnets[0].register_forward_hook(lambda *_: runs.append(1))
    assert_equal(denoise)
    assert len(runs) == 4


def test_hooks_go_when_the_network_fails(demo):
    unet = copy.deepcopy(demo.unet)
    before = hooks_of(unet)
    denoise = DiffusersDenoiser(unet, demo.context("a face")[..., :3], alphas_cumprod=demo.alphas_cumprod)
    with torch.no_grad(), pytest.raises(RuntimeError):
        denoise.denoise_pair(X, SIGMA, moved)
    assert hooks_of(unet) == before
