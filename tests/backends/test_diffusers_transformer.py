"""The flow denoiser of a diffusers transformer, by hand and against ComfyUI's class with the same weights."""

from __future__ import annotations

import pytest
import torch
from helpers.families import SD3, conditioning
from helpers.tensors import relative
from helpers.transformers import WIDTH, Prompt, comfyui_sd3, diffusers_sd3, sd3_denoiser, state
from singular_edit.backends.diffusers_transformer import TransformerDenoiser, normal_sigmas, percent_to_sigma
from singular_edit.core import EditError
from singular_edit.core.denoiser import is_flow, layer_of

SHIFT = 3.0  # of SD3
BLOCKS = SD3["num_blocks"]
SIGMAS = (1.0, 0.7, 0.05)


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("diffusers")
    return diffusers_sd3()


@pytest.fixture(scope="module")
def model(comfy, network):
    with torch.inference_mode():
        return comfyui_sd3(network)


def in_comfyui(model, x, sigma, cfg, h_edit=None, **options):
    """D under prompt 1, guided away from prompt 2, from ComfyUI's sampling session."""
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    def algorithm(wrapped, extra_args, _, sigmas):
        return ComfyDenoiser(wrapped, extra_args, **options)(x, sigmas[0], h_edit)

    prompts = Prompts(conditioning("sd3", 1), conditioning("sd3", 2), cfg)
    return run_in_session(model, prompts, torch.zeros_like(x), torch.tensor([sigma, 0.0]), algorithm)


@torch.no_grad()
def test_the_prediction_is_the_velocity_taken_off_and_guided(network):
    x = state()
    sigma = torch.tensor(0.6)

    def velocity(prompt):
        return network(
            x,
            encoder_hidden_states=prompt.context.expand(2, -1, -1),
            pooled_projections=prompt.pooled.expand(2, -1),
            timestep=torch.full((2,), 600.0),
        ).sample

    positive = velocity(Prompt.of(1))
    negative = velocity(Prompt.of(2))
    assert relative(sd3_denoiser(network)(x, sigma), x - 0.6 * positive) < 1e-5
    guided = negative + 3 * (positive - negative)
    assert relative(sd3_denoiser(network, 3.0)(x, sigma), x - 0.6 * guided) < 1e-5
    assert is_flow(sd3_denoiser(network))
    assert layer_of(sd3_denoiser(network)) == "double_block:2"


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 25])
def test_the_schedule_is_comfyuis(comfy, shift, steps):
    import comfy.model_sampling
    import comfy.samplers

    sampling = comfy.model_sampling.ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=shift)
    theirs = comfy.samplers.calculate_sigmas(sampling, "normal", steps)
    ours = normal_sigmas(shift, steps)
    assert ours.shape == (steps + 1,)
    assert torch.allclose(ours, theirs, rtol=1e-5)
    for percent in (-0.1, 0.0, 0.2, 0.5, 0.99, 1.0):
        assert percent_to_sigma(shift, percent) == pytest.approx(float(sampling.percent_to_sigma(percent)), rel=1e-5)


@pytest.mark.parametrize("size", [(12, 16), (9, 7)])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_predictions_agree_with_comfyui(model, network, size, cfg, sigma):
    x = state(size)
    with torch.inference_mode():
        ours = sd3_denoiser(network, cfg)(x, torch.tensor(sigma))
        theirs = in_comfyui(model, x, sigma, cfg)
    assert ours.shape == x.shape
    assert relative(ours, theirs) < 1e-4
    assert relative(ours, x) > 1e-3  # the network acts


@pytest.mark.parametrize("size", [(12, 16), (9, 7)])
def test_h_is_the_grid_of_the_image_tokens(network, size):
    seen = []
    inputs = []
    handle = network.transformer_blocks[2].register_forward_hook(lambda module, given, out: inputs.append(out[1]))
    with torch.no_grad():
        denoise = sd3_denoiser(network, 2.0, layer="double_block:2")
        denoise(state(size), torch.tensor(0.5), lambda h: seen.append(h) or h)
    handle.remove()
    [h] = seen
    height, width = -(-size[0] // 2), -(-size[1] // 2)
    assert h.shape == (2, WIDTH, height, width)
    tokens = inputs[0][:2].unflatten(1, (height, width))
    assert torch.equal(h, tokens.movedim(-1, 1))


@torch.no_grad()
def test_an_edit_of_nothing_is_bit_for_bit_the_plain_prediction(network):
    x = state()
    sigma = torch.tensor(0.5)
    for block in range(BLOCKS):
        for cfg in (1.0, 3.0):
            denoise = sd3_denoiser(network, cfg, layer=f"double_block:{block}")
            assert torch.equal(denoise(x, sigma, lambda h: h + torch.zeros_like(h)), denoise(x, sigma))


@torch.no_grad()
def test_only_the_prompts_rows_are_edited_unless_asked(network):
    x = state()
    sigma = torch.tensor(0.5)
    rows = []

    def moved(h):
        rows.append(len(h))
        # Not the same number in all channels, which the network's norms take away.
        return h + torch.linspace(-1, 1, WIDTH)[:, None, None]

    plain = sd3_denoiser(network, 3.0)(x, sigma)
    one = sd3_denoiser(network, 3.0)(x, sigma, moved)
    both = sd3_denoiser(network, 3.0, edit_uncond=True)(x, sigma, moved)
    assert rows == [2, 4]
    assert relative(one, plain) > 1e-3
    assert relative(both, one) > 1e-3


def test_the_gradient_through_the_blocks_is_that_of_finite_differences(network):
    x = state()
    sigma = torch.tensor(0.5)
    denoise = sd3_denoiser(network, 2.0, layer="double_block:1")
    direction = torch.randn(1, WIDTH, 6, 8, generator=torch.Generator().manual_seed(3))

    def loss(dh):
        return denoise(x, sigma, lambda h: h + dh).double().square().mean()

    dh = torch.zeros_like(direction, requires_grad=True)
    loss(dh).backward()
    along = (dh.grad * direction).sum().item()
    with torch.no_grad():
        step = 0.02
        measured = (loss(step * direction) - loss(-step * direction)).item() / (2 * step)
    assert abs(along) > 1e-3 * dh.grad.norm().item()
    assert along == pytest.approx(measured, rel=0.02)
    assert all(weight.grad is None for weight in network.parameters())


def test_blocks_that_are_not_there_get_a_sentence(network):
    with pytest.raises(EditError, match="'double_block:9' but this model is a transformer of 4 blocks"):
        sd3_denoiser(network, layer="double_block:9")
    with pytest.raises(EditError, match="'middle_block' but this model is a transformer"):
        sd3_denoiser(network, layer="middle_block")
    with pytest.raises(EditError, match="layer is 'block 3'"):
        sd3_denoiser(network, layer="block 3")


def test_other_networks_get_a_sentence(demo):
    prompt = Prompt.of(1)
    with pytest.raises(EditError, match="UNet2DConditionModel is not a transformer of the SD3 family"):
        TransformerDenoiser(demo.unet, prompt.context, pooled=prompt.pooled)
