"""Sums, means, PCA, masks and the automatic schedule of h-space inside a real ComfyUI, on the demo model."""

import pytest
import torch
from graph import Graph, relative

from singular_edit.core import EditError
from singular_edit.core.direction import TableDirection

EMPTY = {"samples": torch.zeros(4, 4, 16, 16)}


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def code(graph):
    return graph.invert(graph.faces([11, 12], glasses="off"), cfg=1.5)[0]


@pytest.fixture(scope="module")
def learned(graph):
    run = lambda method, target: graph.run("HDirectionLearn", model=graph.model, source=graph.source, target=graph.prompt(target), negative=graph.negative, method=method,
                                           latent_image=EMPTY, sigmas=graph.schedule(12), samples=4, steps=12, name=target.split()[-1])[0]
    return {"glasses": run("combined", "a face with glasses"), "hat": run("difference", "a face with a hat")}


def edit(graph, code, direction, **inputs):
    return graph.sample(code, graph.run("AsyrpSampler", direction=direction, **inputs)[0], cfg=1.5)


def shared(graph, **inputs):
    return dict(model=graph.model, positive=graph.source, negative=graph.negative, latent_image=EMPTY, sigmas=graph.schedule(12), **inputs)


def test_a_sum_edits_saves_loads_and_undoes(graph, code, learned):
    both = graph.run("CombineH", direction_1=learned["glasses"], weight_2=-0.5, direction_2=learned["hat"])[0]
    edited = edit(graph, code, both)
    assert not torch.equal(edited, edit(graph, code, learned["glasses"])) and torch.isfinite(edited).all()
    path = graph.run("SaveAttribute", attribute=both, filename_prefix="test/sum")[0]
    assert torch.allclose(edit(graph, code, graph.run("LoadHDirection", file=path)[0]), edited, atol=1e-4)
    alone = graph.run("CombineH", direction_1=learned["glasses"])[0]
    assert torch.equal(edit(graph, code, alone), edit(graph, code, learned["glasses"]))
    nothing = graph.run("CombineH", direction_1=learned["hat"], weight_1=0.0)[0]
    assert torch.equal(edit(graph, code, nothing), graph.sample(code, cfg=1.5))
    with pytest.raises(EditError, match="direction_3 is a dict"):
        graph.run("CombineH", direction_1=learned["hat"], direction_3=code)


def test_the_mean_is_a_table_that_edits_nearly_alike(graph, code, learned):
    per_step, plot = graph.run("HDirectionAverage", direction=learned["glasses"], samples=8, **shared(graph))
    flat, _ = graph.run("HDirectionAverage", direction=learned["glasses"], samples=8, method="global", **shared(graph))
    assert plot.shape[-1] == 3 and isinstance(per_step, TableDirection)
    assert len(per_step.tensors["table"]) == len(per_step.sigmas) > 1 == len(flat.tensors["table"])
    stock, wanted = graph.sample(code, cfg=1.5), edit(graph, code, learned["glasses"])
    for direction in (per_step, flat):
        got = edit(graph, code, direction)
        cosine = torch.nn.functional.cosine_similarity((got - stock).flatten(), (wanted - stock).flatten(), 0)
        assert cosine > 0.8


def test_principal_directions_have_two_ends_and_repeat(graph, code):
    run = lambda component: graph.run("HDirectionPCA", samples=12, component=component, **shared(graph))
    (first, plot), (second, _) = run(0), run(1)
    assert plot.shape[-1] == 3 and torch.equal(first.tensors["table"], run(0)[0].tensors["table"])
    flat = lambda d: torch.nn.functional.normalize(d.tensors["table"].flatten(1), dim=1)
    assert (flat(first) * flat(second)).sum(dim=1).abs().max() < 1e-3  # orthogonal at every step
    stock = graph.sample(code, cfg=1.5)
    up, down = (edit(graph, code, first, strength=s) - stock for s in (0.5, -0.5))
    assert torch.nn.functional.cosine_similarity(up.flatten(), down.flatten(), 0) < -0.5
    with pytest.raises(EditError, match="samples is 12; component 11 needs at least 13"):
        run(11)


def test_a_mask_keeps_the_edit_inside(graph, code, learned):
    mask = torch.zeros(1, 64, 64)
    mask[:, :24] = 1
    stock, whole = graph.sample(code, cfg=1.5), edit(graph, code, learned["hat"], strength=3.0)
    inside = edit(graph, code, learned["hat"], strength=3.0, mask=mask) - stock
    top, bottom = inside[..., :6, :].square().mean(), inside[..., 8:, :].square().mean()
    assert bottom < 0.1 * (whole - stock)[..., 8:, :].square().mean() and top > 5 * bottom
    assert torch.equal(edit(graph, code, learned["hat"], mask=torch.zeros(64, 64)), stock)
    ones = edit(graph, code, learned["hat"], strength=3.0, mask=torch.ones(2, 64, 64))
    assert torch.allclose(ones, whole, atol=1e-3)
    # One mask a picture: only the second picture is edited.
    second = edit(graph, code, learned["hat"], mask=torch.stack([torch.zeros(64, 64), torch.ones(64, 64)]))
    assert torch.allclose(second[0], stock[0], atol=1e-4) and relative(second[1], stock[1]) > 1e-3


def test_symmetric_does_less(graph, code, learned):
    stock = graph.sample(code, cfg=1.5)
    plain, symmetric = (relative(edit(graph, code, learned["hat"], symmetric=s), stock) for s in (False, True))
    assert 0 < symmetric < 0.7 * plain
    assert torch.equal(edit(graph, code, learned["hat"], symmetric=True, strength=0.0), stock)
