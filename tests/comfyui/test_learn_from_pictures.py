"""Learn Attribute, and the library, learn by latent svd from pictures of the user's own in place of random ones."""

import pytest
import torch
from helpers.graph import assert_unchanged, weights
from helpers.tensors import relative
from singular_edit.core import EditError
from singular_edit.core.latent_svd.pair_notes import LEFT_OUT_SHARE
from singular_edit.core.latent_svd.svd import compose
from singular_edit.demo.architectures import UNET
from singular_edit.demo.enlarge import reduce
from singular_edit.demo.faces import ATTRIBUTES

STEPS = 8
LEARN = {"without": "a face", "with": "a face with glasses", "effort": "quick", "steps": STEPS, "method": "latent svd"}
SHORT = {**LEARN, "steps": 3, "width": 128, "height": 128}  # where it does not matter how well it learns


@pytest.fixture(scope="module")
def faces(graph):
    """Three faces without glasses, IMAGE [3, 256, 256, 3]."""
    return torch.cat([graph.run("DemoFace", seed=60500 + i, glasses="off")[0] for i in range(3)])


def learn(graph, image, **inputs):
    given = {"model": graph.model, "clip": graph.clip, "vae": graph.vae, "learn_from": image, **LEARN, **inputs}
    return graph.run("LearnAttribute", **given)


@pytest.fixture(scope="module")
def learned(graph, faces):
    return learn(graph, faces)


def glasses_in(demo, pictures):
    """The judge's logits for glasses."""
    return demo.logits(reduce(pictures.movedim(-1, 1), UNET.enlargement))[:, ATTRIBUTES.index("glasses")]


def test_what_pictures_teach_comes_in_another_picture(graph, learned, demo):
    attribute, text = learned
    assert "of them" in text
    assert "Saved as learned/a face with glasses_" in text
    assert 0 <= float(attribute.info[LEFT_OUT_SHARE]) <= 1
    other = graph.run("DemoFace", seed=50001, glasses="off")[0]
    prepared, _, _ = graph.run(
        "PreparePicture", model=graph.model, clip=graph.clip, vae=graph.vae, image=other, describe="a face", steps=STEPS
    )
    after, before = graph.run("EditPicture", picture=prepared, attribute=attribute, strength=1.0)
    assert glasses_in(demo, before) < 0 < glasses_in(demo, after)


def test_pictures_that_are_too_many_are_said(graph, faces):
    text = learn(graph, faces[:1].repeat(13, 1, 1, 1), **SHORT)[1]
    assert "It is learned from the first 12 of 13 pictures" in text


def test_a_vae_of_another_scale_is_named(graph, faces, monkeypatch):
    encode = graph.vae.encode
    monkeypatch.setattr(graph.vae, "encode", lambda image: torch.nn.functional.avg_pool2d(encode(image), 2))
    with pytest.raises(EditError, match=r"vae makes latents of .* of a picture of .*, but this MODEL works on"):
        learn(graph, faces, **SHORT, learn_seed=7)


def test_it_is_learned_once_and_anew_from_other_pictures(graph, faces, learned):
    again, text = learn(graph, faces)
    assert text.startswith("Learned before")
    assert torch.equal(compose(learned[0].edit), compose(again.edit))
    retouched = faces.clone()
    retouched[1, 100, 100, 1] = 1 - retouched[1, 100, 100, 1].round()
    for other in (faces[:1], retouched):
        assert "Saved as" in learn(graph, other, **SHORT)[1]
        assert "Learned before" in learn(graph, other, **SHORT)[1]


def test_the_library_learns_the_same(graph, faces, learned):
    pytest.importorskip("diffusers")
    import singular_edit
    from singular_edit.demo.pipeline import load_pipeline

    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    small = list(reduce(faces.movedim(-1, 1), UNET.enlargement))
    with singular_edit.attach(pipe) as edit:
        ours = edit.learn("a face", "a face with glasses", pictures=small, effort="quick", steps=STEPS)
        with pytest.raises(EditError, match="method readout learns from what the model draws"):
            edit.learn("a face", "a face with glasses", pictures=small, method="readout")
    theirs = learned[0]
    assert (ours.info["width"], ours.info["height"]) == ("64", "64")
    assert relative(compose(ours.edit), compose(theirs.edit)) < 0.02


def test_pictures_are_brought_to_the_size_that_is_asked_for(graph):
    image = torch.rand(1, 90, 70, 3, generator=torch.Generator().manual_seed(0))
    attribute, _ = learn(graph, image, **{**SHORT, "height": 64})
    assert (attribute.info["width"], attribute.info["height"]) == ("128", "64")


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"vae": None}, "learn_from is wired but vae is not"),
        ({"method": "readout"}, "method readout learns from what the model draws, not from pictures"),
    ],
)
def test_what_pictures_need_is_said_in_a_sentence(graph, faces, inputs, said):
    with pytest.raises(EditError, match=said):
        learn(graph, faces, **inputs)


def test_pictures_that_are_none_are_refused(graph, faces):
    with pytest.raises(EditError, match="learn_from"):
        learn(graph, torch.full_like(faces[:1], float("nan")), **SHORT)


def test_learning_leaves_model_and_pictures_as_they_were(graph, faces):
    before, options, pictures = weights(graph.model), repr(graph.model.model_options), faces.clone()
    learn(graph, faces, **{**SHORT, "learn_seed": 8})
    assert_unchanged(graph.model, before, options)
    assert torch.equal(faces, pictures)
