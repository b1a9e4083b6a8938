"""Apply Attribute: an attribute as a MODEL patch, in stock samplers of a real ComfyUI."""

from dataclasses import replace

import pytest
import torch
from helpers.families import UNETS, conditioning, latent, tiny
from helpers.graph import assert_unchanged, empty_latent, weights
from helpers.patches import controlnet, lora
from singular_edit.core import EditError, Readout, combine_directions, load_hdirection
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.core.recipes.defaults import END_PERCENT as END
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.faces import ATTRIBUTES

ONE_PIXEL = 1 / 255
STEPS = 12


@pytest.fixture(scope="module")
def glasses():
    return load_hdirection(readout_path("glasses"))


@pytest.fixture(scope="module")
def hat():
    return load_hdirection(readout_path("hat"))


@pytest.fixture(scope="module")
def sigmas(graph):
    return graph.schedule(STEPS)


def applied(graph, attribute, strength=1.5, model=None, **inputs):
    return graph.run("ApplyAttribute", model=model or graph.model, attribute=attribute, strength=strength, **inputs)[0]


def drawn(graph, model, sampler="euler", cfg=2.0, sigmas=None, positive=None):
    """A new picture from noise, by a stock sampler."""
    if isinstance(sampler, str):
        sampler = graph.sampler(sampler)
    if sigmas is None:
        sigmas = graph.schedule(STEPS)
    return graph.sample_noise(graph.random_noise(3), empty_latent(2), cfg, model, sampler, sigmas, positive)


def pixels(graph, latents):
    with torch.inference_mode():
        return graph.vae.decode(latents)


def shows_glasses(graph, demo, latents):
    """The judge's logits for glasses, above 0 where it sees some."""
    pictures = pixels(graph, latents).movedim(-1, 1)
    small = torch.nn.functional.avg_pool2d(pictures, pictures.shape[-1] // 64)
    return demo.logits(small)[:, ATTRIBUTES.index("glasses")]


@pytest.mark.parametrize("strength", [1.5, -1.0, 3.0])
@pytest.mark.parametrize("cfg", [2.0, 1.0])
def test_it_draws_what_asyrp_sampler_draws(graph, glasses, strength, cfg):
    stock = pixels(graph, drawn(graph, applied(graph, glasses, strength), cfg=cfg))
    asyrp = pixels(graph, drawn(graph, graph.model, graph.asyrp(glasses, strength=strength, edit_percent=END), cfg=cfg))
    plain = pixels(graph, drawn(graph, graph.model, cfg=cfg))
    assert (stock - asyrp).abs().max() < ONE_PIXEL
    assert (stock - plain).abs().max() > 20 * ONE_PIXEL


def test_no_strength_leaves_what_pictures_reach(graph, glasses):
    strong = glasses.scaled(10.0)
    old = replace(strong, tensors={name: one for name, one in strong.tensors.items() if name != "range"})
    plain, kept, free = (
        float(drawn(graph, model).abs().max())
        for model in (graph.model, applied(graph, strong, 3.0), applied(graph, old, 3.0))
    )
    assert kept < 1.5 * plain
    assert free > 3 * plain, "an older file has no range"


@pytest.mark.parametrize("path", [readout_path("glasses"), svd_path("hat")], ids=lambda path: path.name)
def test_strength_0_is_the_model_bit_for_bit(graph, path):
    model = applied(graph, load_attribute(path), 0.0)
    assert torch.equal(drawn(graph, model), drawn(graph, graph.model))


def test_outside_of_its_window_the_model_is_unchanged_bit_for_bit(graph, glasses):
    late = applied(graph, glasses, start=0.0, end=0.01)
    assert torch.equal(drawn(graph, late), drawn(graph, graph.model))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "uni_pc", "heun", "euler_ancestral"])
def test_other_samplers_show_it_too(graph, glasses, demo, sampler):
    plain, edited = (
        shows_glasses(graph, demo, drawn(graph, m, sampler)) for m in (graph.model, applied(graph, glasses))
    )
    assert (edited > 0).all()
    assert (plain < 0).any()


def test_two_in_a_row_are_their_sum(graph, glasses, hat):
    chained = applied(graph, hat, 1.0, applied(graph, glasses, 1.0))
    total = applied(graph, combine_directions([(1.0, glasses), (1.0, hat)]), 1.0)
    difference = (pixels(graph, drawn(graph, chained)) - pixels(graph, drawn(graph, total))).abs()
    assert difference.mean() < ONE_PIXEL / 4
    # Where one of them alone would leave what pictures reach, their order makes a little difference.
    assert difference.max() < 10 * ONE_PIXEL


def test_lora_controlnet_and_freeu_stay_in_place(graph, glasses):
    import comfy_extras.nodes_freelunch as freelunch

    with torch.inference_mode():
        import comfy.sd

        styled, _ = comfy.sd.load_lora_for_models(graph.model, None, lora(graph), 1.0, 0.0)
        styled = freelunch.FreeU_V2().patch(styled, 1.1, 1.1, 0.9, 0.9)[0]
        hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0))
        positive, _ = graph.stock.ControlNetApplyAdvanced().apply_controlnet(
            graph.source, graph.negative, controlnet(graph), hint, 1.0, 0.0, 1.0
        )
    plain = drawn(graph, styled, positive=positive)
    edited = drawn(graph, applied(graph, glasses, model=styled), positive=positive)
    asyrp = drawn(graph, styled, graph.asyrp(glasses, strength=1.5, edit_percent=END), positive=positive)
    assert (edited - asyrp).abs().max() < 1e-3
    assert (edited - plain).abs().max() > 0.1
    assert (plain - drawn(graph, graph.model)).abs().max() > 0.1


def test_nothing_is_left_on_the_model(graph, glasses):
    before, options = weights(graph.model), repr(graph.model.model_options)
    drawn(graph, applied(graph, glasses))
    assert_unchanged(graph.model, before, options)


def test_an_svd_attribute_is_applied_where_it_suits(graph):
    """In one stock run it does what two KSamplers with Latent SVD Edit between them do."""
    attribute = load_attribute(svd_path("hat"))
    sigmas = graph.schedule(25)
    step = int((sigmas - attribute.sigma).abs().argmin()) - 1  # a mean is applied a step earlier
    once = drawn(graph, applied(graph, attribute, 1.0), sigmas=sigmas)
    code = graph.ksampler(empty_latent(2), end=step, seed=3)
    edited = graph.run("LatentSVDEdit", latent=code, attribute=attribute, strength=1.0)[0]
    twice = graph.ksampler(edited, start=step, seed=3)["samples"]
    assert (once - twice).abs().max() < 1e-3


def test_latent_svd_sampler_edits_where_the_file_says(graph):
    attribute = load_attribute(svd_path("hat"))
    at_start = dict(wrapped=graph.euler, attribute=attribute, strength=1.0, start_percent=0.2)
    where_learned = graph.run("SVDSampler", **at_start, where_learned=True)[0]
    applied_once = drawn(graph, applied(graph, attribute, 1.0))
    assert torch.equal(drawn(graph, graph.model, where_learned), applied_once)
    assert not torch.equal(drawn(graph, graph.model, graph.run("SVDSampler", **at_start)[0]), applied_once)


def test_a_direction_that_moves_the_bottleneck_takes_eulers_place(graph):
    direction = TableDirection(torch.tensor([14.0, 1.0]), {"table": torch.randn(1, 128, 4, 4)}, {"name": "push"})
    model = applied(graph, direction, 0.5)
    asyrp = drawn(graph, graph.model, graph.asyrp(direction, strength=0.5, edit_percent=END))
    assert torch.equal(drawn(graph, model), asyrp)
    with pytest.raises(EditError, match="moves the bottleneck, which is done in euler's steps"):
        drawn(graph, model, "dpmpp_2m")
    with pytest.raises(EditError, match="second direction here that moves the bottleneck"):
        drawn(graph, applied(graph, direction, 0.5, model))


def test_an_inversion_refuses_a_model_whose_sampler_is_replaced(graph):
    model = applied(graph, load_attribute(svd_path("hat")), 1.0)
    with pytest.raises(EditError, match="wire the MODEL from before Apply Attribute"):
        graph.invert(graph.faces([3]), model=model)


def test_a_window_without_a_step_is_refused(graph, glasses):
    with pytest.raises(EditError, match=r"start is 0\.9 and end is 0\.5"):
        applied(graph, glasses, start=0.9, end=0.5)


@pytest.mark.parametrize("family", UNETS)
def test_it_runs_in_every_family_with_a_unet(graph, family):
    model = tiny(family)
    shape = latent(family)["samples"].shape
    width, place = 64, 2
    noise = torch.Generator().manual_seed(0)
    readout = Readout.fresh(width, shape[1], place, 1.0, torch.tensor([5.0, 0.1]), generator=noise, info={})
    readout.tensors["out.weight"].normal_(generator=noise)
    samples = {}
    for strength in (0.0, 1.0):
        with torch.inference_mode():
            import comfy.sample

            samples[strength] = comfy.sample.sample_custom(
                applied(graph, readout, strength, model),
                torch.randn(shape, generator=torch.Generator().manual_seed(1)),
                2.0,
                graph.sampler("dpmpp_2m"),
                graph.schedule(6, model),
                conditioning(family, 1),
                conditioning(family, 2),
                torch.zeros(shape),
                disable_pbar=True,
                seed=0,
            )
    assert torch.isfinite(samples[1.0]).all()
    assert not torch.equal(samples[0.0], samples[1.0])


@pytest.mark.parametrize("path", [readout_path("glasses"), svd_path("hat")], ids=lambda path: path.name)
@pytest.mark.parametrize("family", UNETS)
def test_a_file_of_another_family_is_refused_in_a_sentence(graph, path, family):
    with pytest.raises(EditError) as refused:
        applied(graph, load_attribute(path), 1.0, tiny(family))
    assert "model" in str(refused.value)
    assert "tensor" not in str(refused.value)
