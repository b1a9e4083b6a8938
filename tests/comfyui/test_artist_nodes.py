"""Learn Attribute, Prepare Picture, Edit Picture, Strength Sheet and Load Attribute inside a real ComfyUI."""

import base64

import pytest
import torch
from helpers.families import UNETS, tiny
from helpers.graph import assert_unchanged, weights
from helpers.patches import lora
from singular_edit.core import EditError
from singular_edit.core.recipes.attributes import load_attribute, with_info
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.faces import ATTRIBUTES

LEARN = {"without": "a face", "with": "a face with glasses", "effort": "quick", "steps": 6}
LATENT_SVD = {**LEARN, "method": "latent svd"}
SHORT = {**LATENT_SVD, "steps": 3, "width": 128, "height": 128}  # where it does not matter how well it learns
STEPS = 10


@pytest.fixture(scope="module")
def face(graph):
    return graph.run("DemoFace", seed=50001, glasses="off")[0]


def prepare(graph, image, **inputs):
    given = dict(model=graph.model, clip=graph.clip, vae=graph.vae, image=image, steps=STEPS)
    return graph.run("PreparePicture", **{**given, **inputs})


@pytest.fixture(scope="module")
def prepared(graph, face):
    return prepare(graph, face)


@pytest.fixture(scope="module")
def glasses():
    return load_attribute(readout_path("glasses"))


def learn(graph, **inputs):
    return graph.run("LearnAttribute", **{"model": graph.model, "clip": graph.clip, **inputs})


@pytest.fixture(scope="module")
def learned(graph):
    """(attribute, info) of the first and of the second time."""
    return learn(graph, **LEARN), learn(graph, **LEARN)


def glasses_in(demo, pictures):
    """The judge's logits for glasses."""
    small = torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), pictures.shape[1] // 64)
    return demo.logits(small)[:, ATTRIBUTES.index("glasses")]


def share_of_way(picture, whole, rebuilt):
    """How far a picture is on the straight way from rebuilt to whole."""
    way = whole - rebuilt
    return float(((picture - rebuilt) * way).sum() / way.square().sum())


def test_the_picture_comes_back(prepared, face):
    picture, rebuilt, report = prepared
    assert report.splitlines()[0].startswith("Comes back")
    assert f"{STEPS} model calls" in report.splitlines()[0]
    assert rebuilt.shape == face.shape
    assert (rebuilt - face).abs().mean() < 0.05  # the VAE's own loss
    assert picture.steps == STEPS


def test_strength_0_is_the_rebuilt_picture_bit_for_bit(graph, prepared, glasses):
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=glasses, strength=0.0)
    assert torch.equal(after, before)
    assert torch.equal(before, prepared[1])


@pytest.mark.parametrize("path", [readout_path("glasses"), svd_path("glasses")], ids=lambda path: path.name)
def test_both_kinds_of_attribute_put_glasses_on(graph, prepared, demo, path):
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=load_attribute(path), strength=1.5)
    assert glasses_in(demo, before) < 0 < glasses_in(demo, after)


def test_it_is_the_edit_of_asyrp_sampler_on_a_trace(graph, prepared, glasses):
    picture = prepared[0]
    after, _ = graph.run("EditPicture", picture=picture, attribute=glasses, strength=1.2)
    code, _, _, sigmas, trace = graph.trace(
        {"samples": picture.latent}, sigmas=graph.schedule(STEPS), cfg=1.5, positive=graph.prompt("")
    )
    sampler = graph.asyrp(glasses, strength=1.2, trace=trace)
    edited = graph.sample(code, sampler, cfg=1.5, positive=graph.prompt(""), sigmas=sigmas)
    with torch.inference_mode():
        difference = (graph.vae.decode(edited) - after).abs()
    # A patch of the MODEL meets the range of pictures before the trace's correction, Asyrp Sampler after it.
    assert difference.mean() < 1e-3
    assert difference.max() < 5 / 255


def test_a_mask_keeps_the_picture_elsewhere(graph, prepared):
    hat = load_attribute(readout_path("hat"))
    height, width = prepared[1].shape[1:3]
    mask = torch.zeros(1, height, width)
    mask[:, : height // 2] = 1
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=hat, strength=1.5, mask=mask)
    change = (after - before).abs()
    assert change[:, : height // 2].max() > 0.2
    # The decoder looks a few places beyond.
    assert change[:, height * 5 // 8 :].max() < 0.02
    # Of a wider picture, which lost both ends when it was prepared, white at an end is outside.
    wider = torch.zeros(1, height, width * 5 // 4)
    wider[..., : width // 8] = 1
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=hat, strength=1.5, mask=wider)
    assert (after - before).abs().max() < 0.02


def test_other_samplers_are_solved_for(graph, face, glasses, demo):
    picture, rebuilt, report = prepare(graph, face, sampler="heun")
    assert report.startswith("Comes back well")
    assert picture.trace is None
    after, _ = graph.run("EditPicture", picture=picture, attribute=glasses, strength=1.5)
    assert glasses_in(demo, rebuilt) < 0 < glasses_in(demo, after)
    # Half of the way; where the picture may not change, what comes back does not.
    mask = (torch.arange(rebuilt.shape[1]) < rebuilt.shape[1] // 2).float()[None, :, None].expand(rebuilt.shape[:3])
    options = {"picture": picture, "attribute": glasses, "mask": mask, "fade": 0.6}
    half, whole = graph.run("StrengthSheet", strengths="0.5, 1", **options)[1]
    assert share_of_way(half, whole, rebuilt[0]) == pytest.approx(0.5, abs=0.1)
    assert (half - whole)[rebuilt.shape[1] * 5 // 8 :].abs().max() < 0.02


def test_a_sheet_shows_each_strength_with_its_label(graph, prepared, glasses):
    sheet, images = graph.run("StrengthSheet", picture=prepared[0], attribute=glasses, strengths="0, 1;1.5")
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=glasses, strength=1.0)
    assert len(images) == 3
    assert torch.equal(images[:1], before)
    assert torch.equal(images[1:2], after)
    height, width = before.shape[1:3]
    strip = sheet.shape[1] - height
    assert strip > 0
    assert sheet.shape[2] > 3 * width
    for column in range(3):
        label = sheet[:, :strip, column * sheet.shape[2] // 3 : (column + 1) * sheet.shape[2] // 3]
        assert label.min() < 0.5 < label.max()


@pytest.mark.parametrize("text", ["", "a, b", "0, 99", "nan", "inf", "1, " * 50 + "1"])
def test_strengths_that_are_none_are_refused(graph, prepared, glasses, text):
    with pytest.raises(EditError, match="strengths holds"):
        graph.run("StrengthSheet", picture=prepared[0], attribute=glasses, strengths=text)


@pytest.mark.parametrize("size", [(100, 300), (333, 222), (16, 16)])
def test_a_picture_of_any_size_is_prepared_with_its_aspect(graph, size):
    image = torch.rand(1, *size, 4, generator=torch.Generator().manual_seed(0))
    _, rebuilt, _ = prepare(graph, image, steps=3)
    height, width = rebuilt.shape[1:3]
    assert abs((height / width) / (size[0] / size[1]) - 1) < 0.5
    native = graph.run("DemoFace", seed=0)[0].shape[1]
    assert 0.5 < height * width / native**2 < 2


def test_max_side_limits_the_longer_side(graph):
    _, rebuilt, _ = prepare(graph, torch.rand(1, 200, 400, 3), steps=3, max_side=128)
    assert max(rebuilt.shape[1:3]) == 128


def test_an_empty_description_takes_the_attributes_own_words(graph, face, glasses):
    attribute = with_info(glasses, {"source_prompt": "a face with hat"})
    picture, _, _ = prepare(graph, face, attribute=attribute, steps=3)
    assert torch.equal(picture.prompts.positive[0][0], graph.prompt("a face with hat")[0][0])


def test_the_same_question_is_learned_once(learned):
    (first, report), (second, again) = learned
    assert report.splitlines()[-1].startswith("Saved as learned/a face with glasses_")
    assert again.startswith("Learned before")
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name]), name


def test_what_was_learned_puts_glasses_on(graph, prepared, learned, demo):
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=learned[0][0], strength=1.5)
    assert glasses_in(demo, before) < 0 < glasses_in(demo, after)


def test_what_was_learned_says_what_it_is(learned):
    info = learned[1][0].info
    assert info["model_class"] == "DemoConfig"
    assert (info["source_prompt"], info["target_prompt"]) == ("a face", "a face with glasses")
    assert (info["steps"], info["cfg"]) == ("6", "1")


def test_another_name_is_the_same_question_and_another_file(graph, learned):
    attribute, text = learn(graph, **LEARN, name="my/../glasses")
    assert text.startswith("Learned before")
    assert attribute.name == "my/../glasses"
    assert "loaded from learned/myglasses_" in text


def test_latent_svd_learns_for_every_model(graph, prepared):
    attribute, text = learn(graph, **LATENT_SVD)
    assert "Saved as learned/" in text
    assert attribute.sigma > 0
    after, before = graph.run("EditPicture", picture=prepared[0], attribute=attribute, strength=1.0)
    assert (after - before).abs().max() > 0.1


def test_another_question_is_learned_anew(graph):
    """Another text, seed, effort, size or LoRA asks something else."""
    learn(graph, **SHORT)
    with torch.inference_mode():
        import comfy.sd

        styled, _ = comfy.sd.load_lora_for_models(graph.model, None, lora(graph), 1.0, 0.0)
    for other in ({"with": "a face with hat"}, {"learn_seed": 1}, {"width": 192}, {"model": styled}):
        for answer in ("Saved as", "Learned before"):
            assert answer in learn(graph, **{**SHORT, "name": "other", **other})[1], other


def test_a_damaged_file_is_learned_again(graph, comfy):
    from pathlib import Path

    import folder_paths

    short = {**SHORT, "learn_seed": 7}
    _, text = learn(graph, **short)
    name = text.splitlines()[-1].removeprefix("Saved as ").rstrip(".")
    path = Path(folder_paths.get_full_path_or_raise("latent_attributes", name))
    path.write_bytes(path.read_bytes()[:-100])
    _, text = learn(graph, **short)
    assert "Saved as" in text
    assert load_attribute(path).name == "a face with glasses"


def test_learning_leaves_the_model_as_it_was(graph):
    before, options = weights(graph.model), repr(graph.model.model_options)
    learn(graph, **{**SHORT, "learn_seed": 8})
    assert_unchanged(graph.model, before, options)


def test_equal_texts_are_refused(graph):
    with pytest.raises(EditError, match="without and with are both 'a face'"):
        learn(graph, **{**LEARN, "with": " a face "})


def test_a_readout_needs_a_picture_model(graph):
    with pytest.raises(EditError, match="latents have 3 dimensions"):
        learn(graph, **LEARN, model=tiny("wan"))


@pytest.mark.parametrize("family", UNETS)
def test_the_family_of_a_model_is_read_off_it(comfy, family):
    from singular_edit.backends.comfyui.family import family_of, native_side

    model = tiny(family).model
    found = family_of(model)
    assert (found.bottleneck_channels, found.place_size, found.text_width) == (64, 2, 64)
    assert found.prediction == ("v_prediction" if family == "sd2_v" else "eps")
    assert native_side(model) >= 512


def test_load_attribute_shows_what_a_file_says(graph):
    attribute, info = graph.run("LoadAttribute", file="demo/glasses.readout.safetensors")
    assert attribute.name == "glasses"
    assert "From 'a face' to 'a face with glasses'." in info


def test_a_file_is_saved_with_its_maker_and_a_preview(graph, face, glasses):
    from singular_edit.backends.previews import preview_of

    (name,) = graph.run(
        "SaveAttribute", attribute=glasses, filename_prefix="shared/g", preview=face, creator="me", licence="CC0"
    )
    attribute, info = graph.run("LoadAttribute", file=name)
    assert "Creator: me." in info
    shown = preview_of(attribute)
    assert shown.shape == face.shape
    assert (shown - face).abs().mean() < 0.05


@pytest.mark.parametrize("preview", ["!", base64.b64encode(b"GIF89a").decode(), "A" * 400_000])
def test_a_strange_preview_is_left_out(comfy, glasses, preview):
    from singular_edit.backends.previews import preview_of

    assert preview_of(with_info(glasses, {"preview": preview})) is None


@pytest.mark.parametrize("node", ["EditPicture", "StrengthSheet"])
def test_a_wrong_wire_is_refused_in_a_sentence(graph, prepared, glasses, node):
    with pytest.raises(EditError, match="wire Prepare Picture"):
        graph.run(node, picture=glasses, attribute=glasses, strength=1.0) if node == "EditPicture" else graph.run(
            node, picture=glasses, attribute=glasses
        )
    with pytest.raises(EditError, match="wire Learn Attribute or Load Attribute"):
        graph.run(node, picture=prepared[0], attribute=prepared[0])
