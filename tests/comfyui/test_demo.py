"""The embedded model's side of ComfyUI: pictures at a size one can see, and previews."""

import pytest
import torch
from helpers.graph import SIZE, Graph, empty_latent
from helpers.tensors import psnr, relative
from singular_edit.demo import faces
from singular_edit.demo.enlarge import enlarge, reduce
from singular_edit.demo.loader import read_weights
from singular_edit.demo.networks import FaceVAE
from torch.nn import functional as F

SEEDS = range(40, 48)


@pytest.fixture(scope="module", autouse=True)
def _inference_mode():
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def pictures(graph):
    return torch.cat([graph.run("DemoFace", seed=seed)[0] for seed in SEEDS])


@pytest.fixture(scope="module")
def latents(graph, pictures):
    return graph.stock.VAEEncode().encode(graph.vae, pictures)[0]["samples"]


def channels_first(pictures):
    return pictures.movedim(-1, 1)


def test_a_demo_face_is_the_render_enlarged(pictures):
    assert pictures.shape == (len(SEEDS), 256, 256, 3)
    renders = faces.render(faces.sample(SEEDS))
    assert torch.equal(reduce(channels_first(pictures)), renders)
    assert torch.equal(channels_first(pictures)[..., 3::4, 1::4], renders)


def test_the_vae_sees_the_picture_it_was_trained_on(graph, pictures, latents):
    small = FaceVAE()
    small.load_state_dict(read_weights("vae")[0])
    renders = faces.render(faces.sample(SEEDS)) * 2 - 1
    assert relative(latents, small.encode(renders)) < 1e-6
    rebuilt = small.decode(latents) / 2 + 0.5
    decoded = channels_first(graph.vae.decode(latents))
    assert relative(decoded, enlarge(rebuilt.clamp(0, 1))) < 1e-6
    assert psnr(decoded, channels_first(pictures), peak=1) > 28


@pytest.mark.parametrize("size", [(16, 16), (70, 33), (64, 64), (300, 257), (512, 256)])
def test_a_picture_of_any_size_comes_back_at_the_size_that_fits(graph, size):
    height, width = (side // 16 for side in size)
    latent = graph.stock.VAEEncode().encode(graph.vae, torch.rand(2, *size, 3))[0]
    assert latent["samples"].shape == (2, 4, height, width)
    sampled = graph.sample(latent, sigmas=graph.schedule(2))
    assert graph.vae.decode(sampled).shape == (2, 16 * height, 16 * width, 3)


def test_tiles_join(graph, pictures, latents):
    tiled = graph.vae.encode_tiled(pictures, tile_x=192, tile_y=192, overlap=64)
    assert psnr(tiled, latents) > 25
    tiled = graph.vae.decode_tiled(latents, tile_x=12, tile_y=12, overlap=4)
    assert psnr(channels_first(tiled), channels_first(graph.vae.decode(latents)), peak=1) > 25


def test_an_empty_latent_of_128_pixels_gives_a_picture_of_256(graph):
    latent = graph.stock.EmptyLatentImage().generate(128, 128, 1)[0]
    inputs = (graph.model, 0, 2, 2.0, "euler", "normal", graph.source, graph.negative)
    sampled = graph.stock.KSampler().sample(*inputs, latent)[0]["samples"]
    assert sampled.shape == empty_latent(1)["samples"].shape == (1, *SIZE)
    assert graph.vae.decode(sampled).shape == (1, 256, 256, 3)


def test_the_latent_preview_shows_the_face(graph, pictures, latents):
    """Its pixels are the picture's mean colours, far nearer than those of one colour or of another face."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod

    latent_preview.args.preview_method, before = LatentPreviewMethod.Auto, latent_preview.args.preview_method
    try:
        previewer = latent_preview.get_previewer(torch.device("cpu"), graph.model.model.latent_format)
    finally:
        latent_preview.args.preview_method = before
    colours = F.adaptive_avg_pool2d(channels_first(pictures), SIZE[1:])
    x0 = graph.model.model.process_latent_in(latents)
    for i, wanted in enumerate(colours):
        shown = previewer.decode_latent_to_preview(x0[i : i + 1])
        seen = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).reshape(*SIZE[1:], 3)
        seen = seen.movedim(-1, 0).float() / 255
        error = (seen - wanted).square().mean()
        plain = wanted.var(dim=(1, 2), correction=0).mean()
        assert error < 0.4 * plain
        assert error < 0.5 * (seen - colours[i - 1]).square().mean()
