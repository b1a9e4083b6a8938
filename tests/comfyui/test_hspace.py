"""Sums, means, PCA, masks and the automatic schedule of h-space inside a real ComfyUI, on the demo model."""

import pytest
import torch
from helpers.graph import Graph, relative
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import CombinedDirection, ImplicitDirection

EMPTY = {"samples": torch.zeros(4, 4, 16, 16)}
STEPS = 5


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def code(graph):
    """Two codes to start from, at full noise, in LATENT space."""
    noise = 14.6 * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    return {"samples": graph.model.model.process_latent_out(noise)}


@pytest.fixture(scope="module")
def stock(graph, code):
    return sample(graph, code)


@pytest.fixture(scope="module")
def learned(graph):
    """Two directions as learning leaves them: a map with a network, and a map a step. Random: what they draw does not matter here."""
    generator, sigmas = torch.Generator().manual_seed(0), graph.schedule(STEPS)[:-1]
    network = ImplicitDirection.fresh(128, sigmas, generator, {})
    network.tensors["out.weight"].normal_(std=0.02, generator=generator)
    table = 0.5 * torch.randn(1, 128, 4, 4, generator=generator)
    return {
        "glasses": CombinedDirection(
            sigmas[1:], {**network.tensors, "table": table}, {"name": "glasses", "method": "combined"}
        ),
        "hat": TableDirection(
            sigmas, {"table": 0.5 * torch.randn(STEPS, 128, 4, 4, generator=generator)}, {"name": "hat"}
        ),
    }


def sample(graph, code, sampler=None):
    return graph.sample(code, sampler, cfg=1.0, sigmas=graph.schedule(STEPS))


def edit(graph, code, direction, **inputs):
    return sample(graph, code, graph.run("AsyrpSampler", direction=direction, **inputs)[0])


def shared(graph, **inputs):
    return dict(
        model=graph.model,
        positive=graph.source,
        negative=graph.negative,
        latent_image=EMPTY,
        sigmas=graph.schedule(STEPS),
        **inputs,
    )


def test_a_sum_edits_saves_loads_and_undoes(graph, code, learned, stock):
    both = graph.run("CombineH", direction_1=learned["glasses"], weight_2=-0.5, direction_2=learned["hat"])[0]
    edited = edit(graph, code, both)
    assert not torch.equal(edited, edit(graph, code, learned["glasses"]))
    assert torch.isfinite(edited).all()
    path = graph.run("SaveAttribute", attribute=both, filename_prefix="test/sum")[0]
    assert torch.allclose(edit(graph, code, graph.run("LoadHDirection", file=path)[0]), edited, atol=1e-4)
    alone = graph.run("CombineH", direction_1=learned["glasses"])[0]
    assert torch.equal(edit(graph, code, alone), edit(graph, code, learned["glasses"]))
    nothing = graph.run("CombineH", direction_1=learned["hat"], weight_1=0.0)[0]
    assert torch.equal(edit(graph, code, nothing), stock)
    with pytest.raises(EditError, match="direction_3 is a dict"):
        graph.run("CombineH", direction_1=learned["hat"], direction_3=code)


def test_the_mean_is_a_table_that_edits_nearly_alike(graph, code, learned, stock):
    per_step, plot = graph.run("HDirectionAverage", direction=learned["glasses"], samples=3, **shared(graph))
    flat, _ = graph.run("HDirectionAverage", direction=learned["glasses"], samples=4, method="global", **shared(graph))
    assert plot.shape[-1] == 3
    assert isinstance(per_step, TableDirection)
    assert len(per_step.tensors["table"]) == len(per_step.sigmas) > 1 == len(flat.tensors["table"])
    wanted = edit(graph, code, learned["glasses"])
    for direction in (per_step, flat):
        got = edit(graph, code, direction)
        cosine = torch.nn.functional.cosine_similarity((got - stock).flatten(), (wanted - stock).flatten(), 0)
        assert cosine > 0.8


def test_principal_directions_have_two_ends_and_repeat(graph, code, stock):
    run = lambda component: graph.run("HDirectionPCA", samples=6, component=component, **shared(graph))
    (first, plot), (second, _) = run(0), run(1)
    assert plot.shape[-1] == 3
    assert torch.equal(first.tensors["table"], run(0)[0].tensors["table"])
    flat = lambda d: torch.nn.functional.normalize(d.tensors["table"].flatten(1), dim=1)
    assert (flat(first) * flat(second)).sum(dim=1).abs().max() < 1e-3  # orthogonal at every step
    up, down = (edit(graph, code, first, strength=s) - stock for s in (0.5, -0.5))
    assert torch.nn.functional.cosine_similarity(up.flatten(), down.flatten(), 0) < -0.5
    with pytest.raises(EditError, match="samples is 6; component 5 needs at least 8"):
        run(5)


def test_a_mask_keeps_the_edit_inside(graph, code, learned, stock):
    mask = torch.zeros(1, 64, 64)
    mask[:, :24] = 1
    whole = edit(graph, code, learned["hat"], strength=3.0)
    inside = edit(graph, code, learned["hat"], strength=3.0, mask=mask) - stock
    top, bottom = inside[..., :6, :].square().mean(), inside[..., 8:, :].square().mean()
    assert bottom < 0.25 * (whole - stock)[..., 8:, :].square().mean()
    assert top > 2 * bottom
    assert torch.equal(edit(graph, code, learned["hat"], mask=torch.zeros(64, 64)), stock)
    ones = edit(graph, code, learned["hat"], strength=3.0, mask=torch.ones(2, 64, 64))
    assert torch.allclose(ones, whole, atol=1e-3)
    # One mask a picture: only the second picture is edited.
    second = edit(graph, code, learned["hat"], mask=torch.stack([torch.zeros(64, 64), torch.ones(64, 64)]))
    assert torch.allclose(second[0], stock[0], atol=1e-4)
    assert relative(second[1], stock[1]) > 1e-3


def test_symmetric_does_less(graph, code, learned, stock):
    plain, symmetric = (relative(edit(graph, code, learned["hat"], symmetric=s), stock) for s in (False, True))
    assert 0 < symmetric < 0.7 * plain
    assert torch.equal(edit(graph, code, learned["hat"], symmetric=True, strength=0.0), stock)


def test_the_automatic_schedule_of_a_picture(graph):
    inputs = {**shared(graph), "latent_image": graph.faces([11, 12]), "vae": graph.vae, "cfg": 1.0}
    edit_percent, boost_percent, plot = graph.run("AsyrpSchedule", **inputs)
    assert 0.2 < edit_percent < 1
    assert 0.2 < boost_percent <= 1
    assert plot.shape[-1] == 3
    longer = graph.run("AsyrpSchedule", **inputs, strength_threshold=0.005, quality_threshold=10.0)
    assert longer[0] > edit_percent
    assert longer[1] == 0
    with pytest.raises(EditError, match="latent_image is an empty latent"):
        graph.run("AsyrpSchedule", **shared(graph), vae=graph.vae)


def test_lpips_says_what_it_lacks(graph, monkeypatch, tmp_path):
    import sys
    import types

    from singular_edit.backends.perceptual import distance_named

    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(EditError, match="pip install lpips, or use ms-ssim"):
        distance_named("lpips")
    monkeypatch.setitem(sys.modules, "lpips", types.ModuleType("lpips"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(EditError, match="needs AlexNet's weights at"):
        distance_named("lpips")


def test_the_distance_is_one(pack_nodes):
    from singular_edit.backends.perceptual import distance_named

    measure = distance_named("ms-ssim")
    for size in (24, 64, 200):
        a, b = torch.rand(2, 3, 3, size, size, generator=torch.Generator().manual_seed(0))
        assert measure(a, a).abs().max() < 1e-5
        assert (measure(a, b) > 0.5).all()
        assert measure(a, b).shape == (3,)
        nearer = measure(a, a.lerp(b, 0.1))
        assert (nearer > 0).all()
        assert (nearer < measure(a, b)).all()
