"""h-space on the real model families (small random networks), and on models without h."""

from typing import Any, NamedTuple

import pytest
import torch
from helpers.families import UNETS, conditioning, latent, tiny
from helpers.graph import assert_unchanged, weights
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection


class Family(NamedTuple):
    """A family's name and MODEL, and its schedule."""

    name: str
    model: Any
    sigmas: torch.Tensor

    @property
    def inputs(self) -> dict[str, Any]:
        """What every node that samples is given."""
        return dict(
            model=self.model,
            negative=conditioning(self.name, 2),
            latent_image=latent(self.name),
            sigmas=self.sigmas,
        )


def family_of(graph, name):
    with torch.inference_mode():
        model = tiny(name)
    return Family(name, model, graph.schedule(5, model))


@pytest.fixture(scope="module", params=UNETS)
def family(request, graph):
    return family_of(graph, request.param)


@pytest.fixture(scope="module")
def stock(graph, family):
    return sample(graph, family, graph.euler)


def learn(graph, family, method):
    name = family.name
    prompts = dict(source=conditioning(name, 1), target=conditioning(name, 3))
    return graph.learn(method, **family.inputs, **prompts, samples=4, cfg=1.0)[0]


def sample(graph, family, sampler, *, cfg=3.0, picture=None):
    name = family.name
    stock = graph.custom.SamplerCustom()
    positive = conditioning(name, 1)
    negative = conditioning(name, 2)
    start = picture or latent(name)
    with torch.inference_mode():
        out = stock.sample(family.model, True, 5, cfg, positive, negative, sampler, family.sigmas, start)
    return out[0]["samples"]


def edit(graph, family, direction, *, picture=None, **inputs):
    return sample(graph, family, graph.asyrp(direction, **inputs), picture=picture)


@pytest.mark.parametrize("method", ["readout", "combined"])
def test_learning_and_editing_leave_nothing_behind(graph, family, stock, method):
    before = weights(family.model)
    options = repr(family.model.model_options)
    direction = learn(graph, family, method)
    edited = edit(graph, family, direction)
    assert torch.isfinite(edited).all()
    assert not torch.equal(edited, stock)
    # Other sizes too: a vector fits, a map is resized.
    other = latent(family.name, (16, 8))
    assert edit(graph, family, direction, picture=other).shape == other["samples"].shape
    for inputs in (
        dict(strength=0.0),
        dict(edit_percent=0.0),
        dict(strength=0.0, symmetric=True, mask=torch.ones(8, 8)),
    ):
        assert torch.equal(edit(graph, family, direction, **inputs), stock)
    assert torch.equal(sample(graph, family, graph.euler), stock)
    assert_unchanged(family.model, before, options)


def test_derived_directions(graph, family, stock):
    direction = learn(graph, family, "implicit")
    inputs = dict(**family.inputs, positive=conditioning(family.name, 1))
    mean = graph.run("HDirectionAverage", direction=direction, samples=4, **inputs)[0]
    principal = graph.run("HDirectionPCA", samples=5, component=1, **inputs)[0]
    both = graph.run("CombineH", direction_1=mean, direction_2=principal, weight_2=-0.5)[0]
    for made in (mean, principal, both):
        edited = edit(graph, family, made)
        assert torch.isfinite(edited).all()
        assert not torch.equal(edited, stock)


def table(sigmas, channels):
    """A direction that was learned on a bottleneck of this width."""
    return TableDirection(sigmas, {"table": torch.ones(1, channels, 1, 1)}, {"name": "hat"})


def test_a_direction_of_another_width_gets_a_sentence(graph, family):
    foreign = table(torch.tensor([14.0, 1.0]), 1280)
    with pytest.raises(EditError, match="'hat' was learned on a bottleneck of 1280 channels but this model has 64"):
        edit(graph, family, foreign)


@pytest.fixture(scope="module")
def video(graph):
    """A family with neither a U-Net nor image tokens that are a picture's grid."""
    return family_of(graph, "wan")


NO_H = "no U-Net bottleneck.*use a U-Net model .*or method latent svd"


def test_learning_without_h_gets_a_sentence(graph, video):
    with pytest.raises(EditError, match=NO_H):
        learn(graph, video, "vector")


@pytest.mark.parametrize("node", ["HDirectionPCA", "HDirectionAverage"])
def test_deriving_without_h_gets_a_sentence(graph, video, node):
    inputs = dict(**video.inputs, positive=conditioning(video.name, 1))
    if node == "HDirectionAverage":
        inputs["direction"] = table(video.sigmas[:-1], 64)
    with pytest.raises(EditError, match=NO_H):
        graph.run(node, **inputs)


def test_editing_without_h_gets_a_sentence(graph, video):
    sampler = graph.asyrp(table(video.sigmas[:-1], 64))
    with pytest.raises(EditError, match=NO_H):
        sample(graph, video, sampler, cfg=1.0)
