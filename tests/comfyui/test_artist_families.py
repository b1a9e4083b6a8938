"""The artist's nodes on small random models of the real families, with a linear VAE and a clip of random texts."""

from dataclasses import replace

import pytest
import torch
from helpers.families import UNETS, FrameVAE, LinearVAE, RandomClip, tiny
from singular_edit.core import EditError
from singular_edit.core.recipes.attributes import describe
from singular_edit.core.recipes.defaults import END_PERCENT
from singular_edit.core.response import Response

FAMILIES = (*UNETS, "sd3", "flux", "qwen_image")
PREDICTIONS = {"sd2_v": "v_prediction", "sd3": "flow", "flux": "flux", "qwen_image": "flux"}
SIDE = 64


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request, graph):
    """(family, model, clip, vae)."""
    family = request.param
    channels = 4 if family in UNETS else 16
    vae = FrameVAE if family == "qwen_image" else LinearVAE
    return family, tiny(family), RandomClip(family), vae(channels)


@pytest.fixture(scope="module")
def prepared(graph, bench):
    _, model, clip, vae = bench
    image = torch.rand(2, SIDE, 2 * SIDE, 3, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.avg_pool2d(image.movedim(-1, 1), 8, ceil_mode=True)
    image = torch.nn.functional.interpolate(image, scale_factor=8).movedim(1, -1)
    inputs = dict(model=model, clip=clip, vae=vae, image=image, describe="a face", steps=6, cfg=3.0, max_side=2 * SIDE)
    return image, graph.run("PreparePicture", **inputs)


@pytest.fixture(scope="module")
def learned(graph, bench):
    """An attribute of latent svd, which every family learns."""
    _, model, clip, _ = bench
    small = {"steps": 6, "effort": "quick", "width": SIDE, "height": SIDE, "method": "latent svd"}
    return graph.run("LearnAttribute", model=model, clip=clip, **small)


def test_a_picture_comes_back_in_every_family(prepared):
    image, (picture, rebuilt, report) = prepared
    assert report.startswith("Comes back well") or report.startswith("Comes back bit for bit")
    assert picture.trace is not None
    assert (rebuilt - image).abs().max() < 1e-3


def test_an_edit_changes_it_and_strength_0_does_not(graph, prepared, learned):
    picture, rebuilt, _ = prepared[1]
    for strength in (0.0, 1.0):
        after, before = graph.run("EditPicture", picture=picture, attribute=learned[0], strength=strength)
        assert torch.equal(before, rebuilt)
        assert torch.isfinite(after).all()
        assert torch.equal(after, before) == (strength == 0)


def test_the_file_says_its_family(bench, learned):
    family, model, _, _ = bench
    info = learned[0].info
    assert info["latent_format"] == type(model.model.latent_format).__name__
    assert info["prediction"] == PREDICTIONS.get(family, "eps")
    assert (info["width"], info["height"]) == (str(SIDE), str(SIDE))
    called = describe(learned[0]).split("learned on ")[1].split("\n")[0]
    assert called == {"sd2_v": "SD 2.x of v-prediction.", "qwen_image": "Qwen-Image."}.get(family, called)
    assert "latents of" not in called


def test_an_automatic_schedule_is_measured_in_every_family(graph, bench):
    family, model, clip, vae = bench
    shape = (2, 4 if family in UNETS else 16, *((1,) if family == "qwen_image" else ()), SIDE // 8, SIDE // 8)
    prompt = clip.encode_from_tokens_scheduled(1)
    asked = dict(model=model, vae=vae, latent_image={"samples": torch.randn(shape)}, positive=prompt, negative=prompt)
    edit, boost, _ = graph.run("AsyrpSchedule", **asked, sigmas=graph.schedule(4, model))
    assert 0 <= edit <= 1
    assert 0 <= boost <= 1


def test_apply_attribute_takes_any_sampler_of_any_family(graph, bench, learned):
    family, model, clip, _ = bench
    prompt = clip.encode_from_tokens_scheduled(1)
    shape = (1, 4 if family in UNETS else 16, SIDE // 8, SIDE // 8)
    drawn = []
    for strength in (0.0, 1.0):
        patched = graph.run("ApplyAttribute", model=model, attribute=learned[0], strength=strength)[0]
        with torch.inference_mode():
            ksampler = graph.stock.KSampler().sample(
                patched, 3, 6, 2.0, "dpmpp_2m", "karras", prompt, prompt, {"samples": torch.zeros(shape)}
            )
        drawn.append(ksampler[0]["samples"])
    assert torch.isfinite(drawn[1]).all()
    assert not torch.equal(*drawn)


def test_another_familys_attribute_is_refused(graph, bench, learned, prepared):
    family, _, _, _ = bench
    other = tiny("flux" if family in UNETS else "sd15")
    with pytest.raises(EditError, match="was learned on") as refused:
        graph.run("ApplyAttribute", model=other, attribute=learned[0], strength=1.0)
    assert "tensor" not in str(refused.value)


def test_a_strength_that_fades_goes_its_share_of_the_way_in_every_family(graph, prepared, learned):
    picture, rebuilt, _ = prepared[1]
    options = {"picture": picture, "attribute": learned[0], "mask": torch.ones(rebuilt.shape[:3]), "fade": 0.8}
    half, whole = (graph.run("EditPicture", strength=strength, **options)[0] for strength in (0.5, 1.0))
    way = whole - rebuilt
    assert float(((half - rebuilt) * way).sum() / way.square().sum()) == pytest.approx(0.5, abs=0.05)
    assert (half - rebuilt).norm() < 0.7 * way.norm()


def test_a_weak_picture_is_edited_again_in_every_family(graph, prepared, learned):
    from singular_edit.nodes.prepared_picture import known_factors

    picture, rebuilt, _ = prepared[1]
    once = graph.run("EditPicture", picture=picture, attribute=learned[0], strength=1.0, retries=0)[0]
    assert not torch.equal(once, rebuilt)

    def usually(change):
        return replace(learned[0], response=Response((learned[0].response.full,), (1.0,), change))

    strong, weak = usually(1e-6), usually(1e3)
    assert torch.equal(graph.run("EditPicture", picture=picture, attribute=strong, strength=1.0)[0], once)
    graph.run("EditPicture", picture=picture, attribute=weak, strength=1.0)
    assert known_factors(picture, strong, END_PERCENT)[2].tolist() == [1.0, 1.0]
    # No scale makes such a change, and so none is kept.
    assert known_factors(picture, weak, END_PERCENT)[2].tolist() == [1.0, 1.0]
