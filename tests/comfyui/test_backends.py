"""The same weights behind diffusers and behind ComfyUI: one model."""

import pytest
import torch
from helpers.graph import Graph, relative
from singular_edit.backends.diffusers import normal_sigmas
from singular_edit.core import sample_euler


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


def test_schedules_agree(graph, demo):
    for steps in (4, 25, 50):
        assert torch.allclose(normal_sigmas(demo.alphas_cumprod, steps), graph.schedule(steps), rtol=1e-5)
    sampling = graph.model.get_model_object("model_sampling")
    for percent in (0.0, 0.2, 0.5, 0.7, 0.99, 1.0):
        assert demo.percent_to_sigma(percent) == pytest.approx(float(sampling.percent_to_sigma(percent)), rel=1e-4)


@pytest.mark.parametrize("cfg", [1.0, 3.0])
@pytest.mark.parametrize("sigma", [14.6, 2.0, 0.1])
def test_predictions_agree(graph, demo, cfg, sigma):
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
    from singular_edit.backends.comfyui.session import run

    x = sigma * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    schedule = torch.tensor([sigma, 0.0])
    shift = lambda h: h + 0.3
    for edit in (None, shift):

        def algorithm(model, extra_args, _, sigmas):
            return ComfyDenoiser(model, extra_args)(x, sigmas[0], edit)

        with torch.inference_mode():
            ours = run(graph.model, graph.target, graph.negative, cfg, torch.zeros_like(x), schedule, algorithm)
            theirs = demo.denoiser("a face with glasses", cfg=cfg)(x, schedule[0], edit)
        assert relative(ours, theirs) < 1e-4
    with torch.inference_mode():
        assert relative(theirs, demo.denoiser("a face with glasses", cfg=cfg)(x, schedule[0])) > 1e-3  # the edit acts


def test_a_25_step_sample_agrees(graph, demo):
    noise = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs = sample_euler(
            demo.denoiser("a face with glasses", cfg=2.0), noise * (1 + demo.sigmas(25)[0] ** 2) ** 0.5, demo.sigmas(25)
        )
        latent = graph.stock.common_ksampler(
            graph.model,
            _seed_of(noise),
            25,
            2.0,
            "euler",
            "normal",
            graph.target,
            graph.negative,
            {"samples": torch.zeros(2, 4, 16, 16)},
        )[0]["samples"]
        ours = graph.model.model.process_latent_in(latent)
    assert relative(ours, theirs) < 1e-3


def _seed_of(noise):
    """KSampler draws its noise from torch.manual_seed(seed); ours was drawn from seed 1."""
    assert torch.equal(noise, torch.randn(noise.shape, generator=torch.manual_seed(1)))
    return 1


def test_gradients_agree(graph, demo):
    """d loss / d dh through ComfyUI's decoder is that through diffusers'."""
    from singular_edit.backends.comfyui.denoiser import ComfyDenoiser, with_trainable_decoder
    from singular_edit.backends.comfyui.session import run

    x = 2.0 * torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    grads = []

    def backward(denoise, sigma):
        dh = torch.zeros(1, 128, 4, 4, requires_grad=True)
        with torch.enable_grad():
            denoise(x.clone(), sigma.clone(), lambda h: h + dh).square().mean().backward()
        grads.append(dh.grad)

    with torch.inference_mode(False):
        run(
            with_trainable_decoder(graph.model),
            graph.source,
            graph.negative,
            2.0,
            torch.zeros_like(x),
            torch.tensor([2.0, 0.0]),
            lambda model, extra_args, _, sigmas: backward(
                ComfyDenoiser(model, extra_args, differentiable=True), sigmas[0]
            ),
        )
    backward(demo.denoiser("a face", cfg=2.0), torch.tensor(2.0))
    assert grads[0].norm() > 0
    assert relative(grads[0], grads[1]) < 1e-3


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_a_readout_edits_alike(graph, demo, cfg):
    """Asyrp Sampler inside ComfyUI and the core on diffusers: same code, same readout, same guidance."""
    from singular_edit.core import EditWindow, Readout, sample_asyrp
    from singular_edit.core.hspace.strength import bind_edit

    readout = Readout.fresh(128, 4, 4, 1.0, demo.sigmas(12)[2:-1], torch.Generator().manual_seed(0), {})
    readout.tensors["out.weight"].normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    sigmas, noise = demo.sigmas(12), torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    start = noise * (1 + sigmas[0] ** 2) ** 0.5
    with torch.inference_mode():
        denoise, window = (
            demo.denoiser("a face", cfg=cfg),
            EditWindow(demo.percent_to_sigma(0.9), edit_from=readout.start),
        )
        edit, amount, reading = bind_edit(readout, 1.2, sigmas, window)
        theirs, plain = (
            sample_asyrp(denoise, start, sigmas, edit, window, amount=amount, reading=reading),
            sample_euler(denoise, start, sigmas),
        )
        code = {"samples": graph.model.model.process_latent_out(start)}
        ours = graph.model.model.process_latent_in(
            graph.sample(code, graph.run("AsyrpSampler", direction=readout, strength=1.2)[0], cfg=cfg, sigmas=sigmas)
        )
    assert relative(ours, theirs) < 1e-3
    assert relative(theirs, plain) > 0.05
