"""The embedded models' side of ComfyUI: pictures at a size one can see, and previews."""

import pytest
import torch
from helpers.graph import Graph
from helpers.tensors import psnr, relative
from singular_edit.core import EditError
from singular_edit.demo import faces
from singular_edit.demo.architectures import ARCHITECTURES
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


@pytest.fixture(scope="module", params=ARCHITECTURES)
def graph(request, pack_nodes):
    return Graph(pack_nodes, request.param)


@pytest.fixture(scope="module")
def architecture(graph):
    return ARCHITECTURES[graph.network]


@pytest.fixture(scope="module")
def pictures(graph):
    return torch.cat([graph.run("DemoFace", seed=seed, network=graph.network)[0] for seed in SEEDS])


@pytest.fixture(scope="module")
def latents(graph, pictures):
    return graph.stock.VAEEncode().encode(graph.vae, pictures)[0]["samples"]


def channels_first(pictures):
    return pictures.movedim(-1, 1)


def test_a_demo_face_is_the_render_enlarged(architecture, pictures):
    assert pictures.shape == (len(SEEDS), 256, 256, 3)
    times = architecture.enlargement
    renders = faces.render(faces.sample(SEEDS), size=architecture.side)
    assert torch.equal(reduce(channels_first(pictures), times), renders)
    assert torch.equal(channels_first(pictures)[..., times - 1 :: times, 1::times], renders)


def test_the_vae_sees_the_picture_at_the_size_of_its_model(graph, architecture, pictures, latents):
    small = FaceVAE()
    small.load_state_dict(read_weights("vae")[0])
    assert latents.shape[1:] == architecture.latent_shape
    renders = faces.render(faces.sample(SEEDS), size=architecture.side) * 2 - 1
    assert relative(latents, small.encode(renders)) < 1e-6
    rebuilt = small.decode(latents) / 2 + 0.5
    decoded = channels_first(graph.vae.decode(latents))
    assert relative(decoded, enlarge(rebuilt.clamp(0, 1), architecture.enlargement)) < 1e-6
    assert psnr(decoded, channels_first(pictures), peak=1) > 28


@pytest.mark.parametrize("size", [(16, 16), (70, 33), (64, 64), (300, 257), (512, 256)])
def test_a_picture_of_any_size_comes_back_at_the_size_that_fits(graph, architecture, size):
    ratio = architecture.pixels_per_latent
    height, width = (side // ratio for side in size)
    latent = graph.stock.VAEEncode().encode(graph.vae, torch.rand(2, *size, 3))[0]
    assert latent["samples"].shape == (2, 4, height, width)
    sampled = graph.sample(latent, sigmas=graph.schedule(2))
    assert graph.vae.decode(sampled).shape == (2, ratio * height, ratio * width, 3)


def test_tiles_join(graph, architecture, pictures, latents):
    tiled = graph.vae.encode_tiled(pictures, tile_x=192, tile_y=192, overlap=64)
    assert psnr(tiled, latents) > 25
    side = architecture.latent_shape[-1]
    tiled = graph.vae.decode_tiled(latents, tile_x=3 * side // 4, tile_y=3 * side // 4, overlap=side // 4)
    assert psnr(channels_first(tiled), channels_first(graph.vae.decode(latents)), peak=1) > 25


def test_an_empty_latent_of_the_size_that_the_node_names_gives_a_picture_of_256(graph, architecture):
    side = {"unet": 128, "transformer": 256}[graph.network]
    assert f"{side}x{side}" in graph.pack["DemoModel"].define_schema().description
    latent = graph.stock.EmptyLatentImage().generate(side, side, 1)[0]
    inputs = (graph.model, 0, 2, 2.0, "euler", "normal", graph.source, graph.negative)
    sampled = graph.stock.KSampler().sample(*inputs, latent)[0]["samples"]
    assert sampled.shape == (1, *architecture.latent_shape)
    assert graph.vae.decode(sampled).shape == (1, 256, 256, 3)


def test_a_larger_picture_has_the_trained_one_in_its_middle(graph):
    """Of the transformer: places are counted from the middle, so that four times the area is four times the tokens."""
    network = graph.model.model.diffusion_model
    if graph.network == "unet":
        assert not hasattr(network, "cropped_pos_embed")
        return
    small = network.cropped_pos_embed((32, 32)).unflatten(1, (8, 8))
    large = network.cropped_pos_embed((64, 64)).unflatten(1, (16, 16))
    assert torch.equal(large[:, 4:12, 4:12], small)


def test_the_latent_preview_shows_the_face(graph, architecture, pictures, latents):
    """Its pixels are the picture's mean colours, far nearer than those of one colour or of another face."""
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod

    latent_preview.args.preview_method, before = LatentPreviewMethod.Auto, latent_preview.args.preview_method
    try:
        previewer = latent_preview.get_previewer(torch.device("cpu"), graph.model.model.latent_format)
    finally:
        latent_preview.args.preview_method = before
    size = architecture.latent_shape[1:]
    colours = F.adaptive_avg_pool2d(channels_first(pictures), size)
    x0 = graph.model.model.process_latent_in(latents)
    for i, wanted in enumerate(colours):
        shown = previewer.decode_latent_to_preview(x0[i : i + 1])
        seen = torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).reshape(*size, 3)
        seen = seen.movedim(-1, 0).float() / 255
        error = (seen - wanted).square().mean()
        plain = wanted.var(dim=(1, 2), correction=0).mean()
        assert error < 0.4 * plain
        assert error < 0.5 * (seen - colours[i - 1]).square().mean()


def test_what_was_learned_on_one_model_is_refused_on_the_other(pack_nodes):
    from singular_edit.backends.comfyui.family import check_fits, family_of
    from singular_edit.core import learn_attribute

    models = [Graph(pack_nodes, name).model.model for name in ARCHITECTURES]
    assert family_of(models[0]) != family_of(models[1])
    for here, other in (models, models[::-1]):
        info = {"name": "glasses", **family_of(here).info()}
        attribute = learn_attribute(torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16), info=info)
        check_fits(attribute, here)
        with pytest.raises(EditError, match=r"'glasses' was learned on Demo.* but this model is Demo"):
            check_fits(attribute, other)
