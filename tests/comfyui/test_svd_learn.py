"""Learning an SVD attribute from codes of stock samplers, and editing with it, inside a real ComfyUI."""

import pytest
import torch
from helpers.graph import empty_latent
from helpers.heads import HAT, pictures, places, with_hats
from helpers.tensors import relative
from singular_edit.core.latent_svd.alignment import moved

STEP = 14


@pytest.fixture(scope="module")
def pair(graph):
    """(source code, target code) of two pictures at STEP, as two KSampler (Advanced) leave them."""
    source = graph.ksampler(empty_latent(2), end=STEP)
    target = graph.ksampler(empty_latent(2), graph.prompt("a face with a hat"), end=STEP)
    return source, target


@pytest.fixture(scope="module")
def one_pair(pair):
    """The codes of the first picture."""
    return tuple({"samples": code["samples"][:1]} for code in pair)


@pytest.fixture(scope="module")
def learned(graph, pair):
    source, target = pair
    return graph.run("SVDAttributeLearn", source=source, target=target, name="hat")


@pytest.fixture(scope="module")
def finish(graph):
    """Goes on from a code to the picture, with the source prompt."""

    def run(latent):
        return graph.ksampler(latent, start=STEP)["samples"]

    return run


def edit(graph, latent, attribute, **inputs):
    return graph.run("LatentSVDEdit", latent=latent, attribute=attribute, **inputs)[0]


def test_the_svd_pair_from_ksampler_advanced(graph, pair, learned, finish):
    source, target = pair
    before = source["samples"].clone()
    attribute, plot, report = learned
    assert "hat" in report
    assert plot.shape[-1] == 3
    plain = finish(source)
    done = finish(edit(graph, source, attribute))
    assert relative(done, plain) > 0.05
    # The edit goes towards the target, not away from it.
    goal = finish(target)
    assert relative(done, goal) < relative(plain, goal)
    away = finish(edit(graph, source, attribute, strength=-1.0))
    assert relative(away, goal) > relative(plain, goal)
    assert torch.equal(source["samples"], before)


def test_at_strength_zero_the_latent_is_handed_on(graph, pair, learned):
    source = {**pair[0], "batch_index": [0, 1]}
    same = edit(graph, source, learned[0], strength=0.0)
    assert torch.equal(same["samples"], source["samples"])
    assert same["batch_index"] == [0, 1]


def test_an_attribute_comes_back_from_its_file(graph, pair, learned):
    path = graph.run("SaveAttribute", attribute=learned[0], filename_prefix="hat")[0]
    loaded = graph.run("LoadSVDAttribute", file=path)[0]
    edited = edit(graph, pair[0], learned[0])["samples"]
    assert torch.equal(edit(graph, pair[0], loaded)["samples"], edited)


def test_the_trained_predictor_agrees_with_the_closed_form(graph, one_pair):
    source, target = one_pair
    closed_form = graph.run("SVDAttributeLearn", source=source, target=target)[0]
    trained, _, report = graph.run("SVDAttributeLearn", source=source, target=target, predictor="mlp")
    exact = edit(graph, source, closed_form)["samples"]
    found = edit(graph, source, trained)["samples"]
    assert relative(found, exact) < 0.1 * relative(source["samples"], exact)
    assert "times that of the closed form" in report
    path = graph.run("SaveAttribute", attribute=trained, filename_prefix="mlp")[0]
    loaded = graph.run("LoadSVDAttribute", file=path)[0]
    assert torch.equal(edit(graph, source, loaded)["samples"], found)


def test_training_the_predictor_can_be_cancelled(graph, one_pair):
    import comfy.model_management as management

    source, target = one_pair
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            graph.run("SVDAttributeLearn", source=source, target=target, predictor="mlp")
    finally:
        management.interrupt_current_processing(False)


def test_a_mask_limits_the_svd_edit(graph, one_pair, learned):
    source, _ = one_pair
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    edited = edit(graph, source, learned[0], mask=mask)["samples"]
    assert torch.equal(edited[..., 8:, :], source["samples"][..., 8:, :])
    assert not torch.equal(edited[..., :8, :], source["samples"][..., :8, :])


def test_a_hat_of_pairs_whose_heads_lie_apart_comes_to_another_head(graph):
    where = places(16)
    source = pictures(where)
    target = {"samples": with_hats(source, where)}
    attribute, _, report = graph.run("SVDAttributeLearn", source={"samples": source}, target=target, name="hat")
    assert "the place was found in 100% of pairs left out" in report
    apart = places(4, seed=1)
    code = pictures(apart, seed=1)
    change = moved(edit(graph, {"samples": code}, attribute)["samples"] - code, -apart).square().mean(1)
    assert (change[..., *HAT].mean((-2, -1)) > 10 * change.mean((-2, -1))).all()
