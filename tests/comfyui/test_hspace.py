"""Sums, means, PCA, masks and the automatic schedule of h-space inside a real ComfyUI, on the demo model."""

import sys
import types

import pytest
import torch
from helpers.graph import empty_latent
from helpers.tensors import noise, relative
from singular_edit.backends.perceptual import distance_named
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import CombinedDirection, ImplicitDirection

STEPS = 5
SIGMA_MAX = 14.6


@pytest.fixture(scope="module")
def code(graph):
    """Two codes to start from, at full noise, in LATENT space."""
    return {"samples": graph.model.model.process_latent_out(SIGMA_MAX * noise((2, 4, 16, 16), seed=3))}


@pytest.fixture(scope="module")
def stock(graph, code):
    return sample(graph, code)


@pytest.fixture(scope="module")
def glasses(graph):
    """A map with a network, as learning leaves it. Random: what it draws does not matter here."""
    generator = torch.Generator().manual_seed(0)
    sigmas = graph.schedule(STEPS)[:-1]
    network = ImplicitDirection.fresh(128, sigmas, generator, {})
    network.tensors["out.weight"].normal_(std=0.02, generator=generator)
    table = 0.5 * torch.randn(1, 128, 4, 4, generator=generator)
    return CombinedDirection(sigmas[1:], {**network.tensors, "table": table}, {"name": "glasses", "method": "combined"})


@pytest.fixture(scope="module")
def hat(graph):
    """A map a step, likewise."""
    table = 0.5 * noise((STEPS, 128, 4, 4), seed=1)
    return TableDirection(graph.schedule(STEPS)[:-1], {"table": table}, {"name": "hat"})


def sample(graph, code, sampler=None):
    return graph.sample(code, sampler, cfg=1.0, sigmas=graph.schedule(STEPS))


def edit(graph, code, direction, **inputs):
    return sample(graph, code, graph.asyrp(direction, **inputs))


def run(graph, node, **inputs):
    """A node that samples on its own."""
    defaults = dict(
        model=graph.model,
        positive=graph.source,
        negative=graph.negative,
        latent_image=empty_latent(4),
        sigmas=graph.schedule(STEPS),
    )
    return graph.run(node, **{**defaults, **inputs})


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0)


def test_a_sum_edits_saves_loads_and_undoes(graph, code, glasses, hat, stock):
    both = graph.run("CombineH", direction_1=glasses, weight_2=-0.5, direction_2=hat)[0]
    edited = edit(graph, code, both)
    only_glasses = edit(graph, code, glasses)
    assert not torch.equal(edited, only_glasses)
    assert torch.isfinite(edited).all()
    path = graph.run("SaveAttribute", attribute=both, filename_prefix="test/sum")[0]
    loaded = graph.run("LoadHDirection", file=path)[0]
    assert torch.allclose(edit(graph, code, loaded), edited, atol=1e-4)
    single = graph.run("CombineH", direction_1=glasses)[0]
    assert torch.equal(edit(graph, code, single), only_glasses)
    nothing = graph.run("CombineH", direction_1=hat, weight_1=0.0)[0]
    assert torch.equal(edit(graph, code, nothing), stock)
    with pytest.raises(EditError, match="direction_3 is a dict"):
        graph.run("CombineH", direction_1=hat, direction_3=code)


def test_the_mean_is_a_table_that_edits_nearly_alike(graph, code, glasses, stock):
    per_step, plot = run(graph, "HDirectionAverage", direction=glasses, samples=3)
    flat, _ = run(graph, "HDirectionAverage", direction=glasses, samples=4, method="global")
    assert plot.shape[-1] == 3
    assert isinstance(per_step, TableDirection)
    assert len(per_step.sigmas) > 1
    assert len(per_step.tensors["table"]) == len(per_step.sigmas)
    assert len(flat.tensors["table"]) == 1
    wanted = edit(graph, code, glasses) - stock
    for direction in (per_step, flat):
        assert cosine(edit(graph, code, direction) - stock, wanted) > 0.8


def test_principal_directions_have_two_ends_and_repeat(graph, code, stock):
    first, plot = run(graph, "HDirectionPCA", samples=6, component=0)
    second, _ = run(graph, "HDirectionPCA", samples=6, component=1)
    again, _ = run(graph, "HDirectionPCA", samples=6, component=0)
    assert plot.shape[-1] == 3
    assert torch.equal(first.tensors["table"], again.tensors["table"])
    cosines = torch.nn.functional.cosine_similarity(
        first.tensors["table"].flatten(1), second.tensors["table"].flatten(1), dim=1
    )
    assert cosines.abs().max() < 1e-3  # orthogonal at every step
    up = edit(graph, code, first, strength=0.5) - stock
    down = edit(graph, code, first, strength=-0.5) - stock
    assert cosine(up, down) < -0.5
    with pytest.raises(EditError, match="samples is 6; component 5 needs at least 8"):
        run(graph, "HDirectionPCA", samples=6, component=5)


def test_a_mask_keeps_the_edit_inside(graph, code, hat, stock):
    mask = torch.zeros(1, 64, 64)
    mask[:, :24] = 1
    whole = edit(graph, code, hat, strength=3.0)
    inside = edit(graph, code, hat, strength=3.0, mask=mask) - stock
    top = inside[..., :6, :].square().mean()
    bottom = inside[..., 8:, :].square().mean()
    assert bottom < 0.25 * (whole - stock)[..., 8:, :].square().mean()
    assert top > 2 * bottom
    assert torch.equal(edit(graph, code, hat, mask=torch.zeros(64, 64)), stock)
    ones = edit(graph, code, hat, strength=3.0, mask=torch.ones(2, 64, 64))
    assert torch.allclose(ones, whole, atol=1e-3)


def test_a_batch_takes_a_mask_for_each_picture(graph, code, hat, stock):
    masks = torch.stack([torch.zeros(64, 64), torch.ones(64, 64)])
    second = edit(graph, code, hat, mask=masks)
    assert torch.allclose(second[0], stock[0], atol=1e-4)
    assert relative(second[1], stock[1]) > 1e-3


def test_symmetric_does_less(graph, code, hat, stock):
    plain = relative(edit(graph, code, hat), stock)
    symmetric = relative(edit(graph, code, hat, symmetric=True), stock)
    assert 0 < symmetric < 0.7 * plain
    assert torch.equal(edit(graph, code, hat, symmetric=True, strength=0.0), stock)


def test_the_automatic_schedule_of_a_picture(graph):
    inputs = dict(latent_image=graph.faces([11, 12]), vae=graph.vae, cfg=1.0)
    edit_percent, boost_percent, plot = run(graph, "AsyrpSchedule", **inputs)
    assert 0.2 < edit_percent < 1
    assert 0.2 < boost_percent <= 1
    assert plot.shape[-1] == 3
    longer, from_the_start, _ = run(graph, "AsyrpSchedule", **inputs, strength_threshold=0.005, quality_threshold=10.0)
    assert longer > edit_percent
    assert from_the_start == 0
    with pytest.raises(EditError, match="latent_image is an empty latent"):
        run(graph, "AsyrpSchedule", vae=graph.vae)


def test_lpips_says_what_it_lacks(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(EditError, match="pip install lpips, or use ms-ssim"):
        distance_named("lpips")
    monkeypatch.setitem(sys.modules, "lpips", types.ModuleType("lpips"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(EditError, match="needs AlexNet's weights at"):
        distance_named("lpips")


@pytest.mark.parametrize("size", [24, 64, 200])
def test_the_distance_is_one(comfy, size):
    measure = distance_named("ms-ssim")
    a, b = torch.rand(2, 3, 3, size, size, generator=torch.Generator().manual_seed(0))
    far = measure(a, b)
    nearer = measure(a, a.lerp(b, 0.1))
    assert measure(a, a).abs().max() < 1e-5
    assert far.shape == (3,)
    assert (far > 0.5).all()
    assert (nearer > 0).all()
    assert (nearer < far).all()
