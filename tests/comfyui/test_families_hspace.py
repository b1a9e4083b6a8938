"""h-space on the real model families (small random networks): learn, derive, combine, edit; and models without a U-Net."""

import pytest
import torch
from helpers.families import conditioning, latent, tiny
from helpers.graph import Graph
from singular_edit.core import EditError

UNETS = ("sd15", "sd2_v", "sdxl")


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module", params=UNETS)
def family(request, graph):
    """A family's name, MODEL, shared node inputs and a direction learned on it."""
    name = request.param
    with torch.inference_mode():
        model = tiny(name)
    shared = dict(
        model=model, negative=conditioning(name, 2), latent_image=latent(name), sigmas=graph.schedule(5, model)
    )
    return name, model, shared


def learn(graph, name, shared, method, **inputs):
    return graph.run(
        "HDirectionLearn",
        **{
            **shared,
            **dict(
                source=conditioning(name, 1), target=conditioning(name, 3), method=method, samples=4, steps=8, cfg=1.0
            ),
            **inputs,
        },
    )[0]


def sample(graph, name, model, sampler, cfg=3.0, picture=None):
    with torch.inference_mode():
        return graph.custom.SamplerCustom().sample(
            model,
            True,
            5,
            cfg,
            conditioning(name, 1),
            conditioning(name, 2),
            sampler,
            graph.schedule(5, model),
            picture or latent(name),
        )[0]["samples"]


def state(model):
    return {key: value.clone() for key, value in model.model.state_dict().items()}


@pytest.mark.parametrize("method", ["readout", "combined", "vector"])
def test_learning_and_editing_leave_nothing_behind(graph, family, method):
    name, model, shared = family
    before, options, stock = state(model), repr(model.model_options), sample(graph, name, model, graph.euler)
    direction = learn(graph, name, shared, method)
    edited = sample(graph, name, model, graph.run("AsyrpSampler", direction=direction)[0])
    assert torch.isfinite(edited).all()
    assert not torch.equal(edited, stock)
    # Other sizes too: a vector fits, a map is resized.
    other = latent(name, (16, 8))
    assert (
        sample(graph, name, model, graph.run("AsyrpSampler", direction=direction)[0], picture=other).shape
        == other["samples"].shape
    )
    for inputs in (
        dict(strength=0.0),
        dict(edit_percent=0.0),
        dict(strength=0.0, symmetric=True, mask=torch.ones(8, 8)),
    ):
        still = graph.run("AsyrpSampler", direction=direction, **inputs)[0]
        assert torch.equal(sample(graph, name, model, still), stock)
    assert torch.equal(sample(graph, name, model, graph.euler), stock)
    after = state(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert repr(model.model_options) == options
    assert not any(getattr(module, "weight_function", []) for module in model.model.modules())


def test_derived_directions(graph, family):
    name, model, shared = family
    direction, inputs = learn(graph, name, shared, "implicit"), {**shared, "positive": conditioning(name, 1)}
    mean = graph.run("HDirectionAverage", direction=direction, samples=4, **inputs)[0]
    principal = graph.run("HDirectionPCA", samples=5, component=1, **inputs)[0]
    both = graph.run("CombineH", direction_1=mean, direction_2=principal, weight_2=-0.5)[0]
    stock = sample(graph, name, model, graph.euler)
    for made in (mean, principal, both):
        edited = sample(graph, name, model, graph.run("AsyrpSampler", direction=made)[0])
        assert torch.isfinite(edited).all()
        assert not torch.equal(edited, stock)


def test_a_direction_of_another_width_gets_a_sentence(graph, family):
    from singular_edit.core.hspace.direction import TableDirection

    name, model, _ = family
    foreign = TableDirection(torch.tensor([14.0, 1.0]), {"table": torch.ones(1, 1280, 1, 1)}, {"name": "hat"})
    with pytest.raises(EditError, match="'hat' was learned on a bottleneck of 1280 channels but this model has 64"):
        sample(graph, name, model, graph.run("AsyrpSampler", direction=foreign)[0])


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_without_a_bottleneck_every_node_says_so(graph, name):
    from singular_edit.core.hspace.direction import TableDirection

    with torch.inference_mode():
        model = tiny(name)
    shared = dict(
        model=model, negative=conditioning(name, 2), latent_image=latent(name), sigmas=graph.schedule(4, model)
    )
    direction = TableDirection(graph.schedule(4, model)[:-1], {"table": torch.ones(1, 64, 1, 1)}, {"name": "hat"})
    words = "no U-Net bottleneck.*use a U-Net model .*or Latent SVD Edit"
    with pytest.raises(EditError, match=words):
        learn(graph, name, shared, "vector")
    for node, inputs in (("HDirectionPCA", {}), ("HDirectionAverage", dict(direction=direction))):
        with pytest.raises(EditError, match=words):
            graph.run(node, positive=conditioning(name, 1), **shared, **inputs)
    with pytest.raises(EditError, match=words):
        sample(graph, name, model, graph.run("AsyrpSampler", direction=direction)[0], cfg=1.0)
