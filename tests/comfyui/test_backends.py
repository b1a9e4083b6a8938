"""The same weights behind diffusers and behind ComfyUI: one model, for each of the two."""

from typing import Any, NamedTuple

import pytest
import torch
from helpers.graph import Graph, empty_latent
from helpers.tensors import noise, relative
from singular_edit.core import sample_euler

SHAPE = (2, 4, 16, 16)


class Sides(NamedTuple):
    """An embedded model in ComfyUI and through diffusers."""

    graph: Graph
    demo: Any

    @property
    def shape(self):
        return (2, *self.demo.latent_shape)


@pytest.fixture(scope="module", params=["unet", "transformer"])
def sides(request, pack_nodes):
    if request.param == "unet":
        return Sides(request.getfixturevalue("graph"), request.getfixturevalue("demo"))
    return Sides(Graph(pack_nodes, request.param), request.getfixturevalue("demo_transformer"))


def test_schedules_agree(sides):
    for steps in (4, 10, 25, 50):
        assert torch.allclose(sides.demo.sigmas(steps), sides.graph.schedule(steps), rtol=1e-5)
    sampling = sides.graph.model.get_model_object("model_sampling")
    for percent in (0.0, 0.2, 0.5, 0.7, 0.99, 1.0):
        assert sides.demo.percent_to_sigma(percent) == pytest.approx(
            float(sampling.percent_to_sigma(percent)), rel=1e-4
        )


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("progress", [0.0, 0.4, 0.9])
def test_plain_predictions_agree(sides, cfg, progress):
    """At sigma_max too, and far from the mean of the picture, so that the network's share is seen."""
    sampling = sides.graph.model.get_model_object("model_sampling")
    sigma = min(float(sampling.percent_to_sigma(progress)), float(sampling.sigma_max))
    x = sides.demo.scaled(noise(sides.shape, 0), torch.tensor(sigma))
    denoise = sides.demo.denoiser("a face with glasses", cfg=cfg)
    with torch.inference_mode():
        theirs = denoise(x, torch.tensor(sigma))
        assert relative(predicted_in_comfyui(sides.graph, x, sigma, cfg, None), theirs) < 1e-4
        assert relative(x, theirs) > 0.05
        assert relative(sides.demo.denoiser("a face", cfg=cfg)(x, torch.tensor(sigma)), theirs) > 1e-3


def shifted(h):
    return h + 0.3


def predicted_in_comfyui(graph, x, sigma, cfg, h_edit):
    """D under "a face with glasses", from ComfyUI's sampling session."""
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    def algorithm(model, extra_args, _, sigmas):
        return ComfyDenoiser(model, extra_args)(x, sigmas[0], h_edit)

    prompts = Prompts(graph.target, graph.negative, cfg)
    return run_in_session(graph.model, prompts, torch.zeros_like(x), torch.tensor([sigma, 0.0]), algorithm)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sigma", [14.6, 2.0, 0.1])
def test_predictions_agree(graph, demo, cfg, sigma):
    x = sigma * noise(SHAPE, 0)
    denoise = demo.denoiser("a face with glasses", cfg=cfg)
    with torch.inference_mode():
        plain = denoise(x, torch.tensor(sigma))
        edited = denoise(x, torch.tensor(sigma), shifted)
        assert relative(predicted_in_comfyui(graph, x, sigma, cfg, None), plain) < 1e-4
        assert relative(predicted_in_comfyui(graph, x, sigma, cfg, shifted), edited) < 1e-4
        assert relative(edited, plain) > 1e-3  # the edit acts


def test_denoisers_of_one_session_each_keep_their_prompt_and_guidance(graph, demo):
    """One that asks at the session's own guidance does so after another one asked without guidance."""
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import POSITIVE, TARGET, Prompts, run_in_session

    x, sigma = 2.0 * noise(SHAPE, 0), torch.tensor(2.0)

    def algorithm(model, extra_args, _, sigmas):
        guided = ComfyDenoiser(model, extra_args, prompt=POSITIVE)
        unguided = ComfyDenoiser(model, extra_args, prompt=TARGET, cfg=1.0)
        chosen_by_guider = ComfyDenoiser(model, extra_args)
        return [denoise(x, sigma) for denoise in (unguided, guided, unguided, chosen_by_guider)] + [guided.guidance]

    prompts = Prompts(graph.source, graph.negative, 3.0, graph.target)
    with torch.inference_mode():
        *found, guidance = run_in_session(
            graph.model, prompts, torch.zeros_like(x), torch.tensor([2.0, 0.0]), algorithm
        )
        source, target = demo.denoiser("a face", cfg=3.0), demo.denoiser("a face with glasses", cfg=1.0)
        wanted = [denoise(x, sigma) for denoise in (target, source, target, source)]
    assert guidance == 3.0
    for ours, theirs in zip(found, wanted, strict=True):
        assert relative(ours, theirs) < 1e-4


def test_a_25_step_sample_agrees(sides):
    graph, demo, shape = sides.graph, sides.demo, sides.shape
    start = noise(shape, 1)
    # KSampler draws its noise from torch.manual_seed(seed).
    assert torch.equal(start, torch.randn(shape, generator=torch.manual_seed(1)))
    sigmas = demo.sigmas(25)
    with torch.inference_mode():
        theirs = sample_euler(demo.denoiser("a face with glasses", cfg=2.0), demo.scaled(start, sigmas[0]), sigmas)
        latent = graph.stock.common_ksampler(
            graph.model, 1, 25, 2.0, "euler", "normal", graph.target, graph.negative, empty_latent(2, shape[1:])
        )[0]
        ours = graph.model.model.process_latent_in(latent["samples"])
    assert relative(ours, theirs) < 1e-3


def test_gradients_agree(graph, demo):
    """d loss / d dh through ComfyUI's decoder is that through diffusers'."""
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser, with_trainable_decoder
    from singular_edit.backends.comfyui.session import Prompts, run_in_session

    x = 2.0 * noise((1, 4, 16, 16), 0)

    def gradient(denoise, sigma):
        dh = torch.zeros(1, 128, 4, 4, requires_grad=True)
        with torch.enable_grad():
            denoise(x.clone(), sigma.clone(), lambda h: h + dh).square().mean().backward()
        return dh.grad

    def algorithm(model, extra_args, _, sigmas):
        return gradient(ComfyDenoiser(model, extra_args, differentiable=True), sigmas[0])

    prompts = Prompts(graph.source, graph.negative, 2.0)
    schedule = torch.tensor([2.0, 0.0])
    with torch.inference_mode(False):
        wrapped = with_trainable_decoder(graph.model)
        ours = run_in_session(wrapped, prompts, torch.zeros_like(x), schedule, algorithm)
    theirs = gradient(demo.denoiser("a face", cfg=2.0), torch.tensor(2.0))
    assert ours.norm() > 0
    assert relative(ours, theirs) < 1e-3


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_readout_edits_alike(graph, demo, cfg):
    """Asyrp Sampler inside ComfyUI and the core on diffusers: same code, same readout, same guidance."""
    from singular_edit.core import EditWindow, Readout, sample_asyrp
    from singular_edit.core.hspace.strength import bind_edit
    from singular_edit.core.recipes.defaults import END_PERCENT

    sigmas = demo.sigmas(12)
    generator = torch.Generator().manual_seed(0)
    readout = Readout.fresh(128, 4, 4, 1.0, sigmas[2:-1], generator=generator, info={})
    readout.tensors["out.weight"].normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    start = noise(SHAPE, 1) * (1 + sigmas[0] ** 2) ** 0.5
    denoise = demo.denoiser("a face", cfg=cfg)
    window = EditWindow(demo.percent_to_sigma(END_PERCENT), edit_from=readout.start)
    with torch.inference_mode():
        theirs = sample_asyrp(denoise, start, sigmas, bind_edit(readout, 1.2, sigmas, window), window)
        plain = sample_euler(denoise, start, sigmas)
        code = {"samples": graph.model.model.process_latent_out(start)}
        sampler = graph.run("AsyrpSampler", direction=readout, strength=1.2)[0]
        ours = graph.model.model.process_latent_in(graph.sample(code, sampler, cfg=cfg, sigmas=sigmas))
    assert relative(ours, theirs) < 1e-3
    assert relative(theirs, plain) > 0.05
