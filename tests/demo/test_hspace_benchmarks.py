"""What benchmarks/hspace.py edits with: directions at their own layer and scale, on both embedded models."""

import pytest
import torch
from helpers.benchmarks import benchmark
from singular_edit.core import combine_directions
from singular_edit.core.denoiser import layer_of
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.layers import AUTO, MIDDLE_BLOCK, layer_info
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.response import Response
from singular_edit.demo.architectures import TRANSFORMER
from singular_edit.demo.evaluation.evaluated import denoiser_at
from singular_edit.demo.evaluation.session import Session

MOVED = "double_block:2"
FULL = defaults.FULL_SCALE


@pytest.fixture(scope="module", params=["demo", "demo_transformer"])
def session(request):
    model = request.getfixturevalue(request.param)
    return Session(model, model.sample([50_100]), "glasses", steps=2, traced=True)


@pytest.fixture(scope="module")
def direction(session):
    """A direction that is there at the shipped scale, of the transformer at another layer than the automatic one."""
    table = 0.3 * torch.randn(1, *session.model.bottleneck, generator=torch.Generator().manual_seed(0))
    layer = MOVED if session.model.architecture is TRANSFORMER else MIDDLE_BLOCK
    info = {"name": "random", **layer_info(layer)}
    return TableDirection(session.sigmas[:-1], {"table": table}, info).with_response(Response((1.0, FULL), (0.9, 1.0)))


def test_h_is_where_it_is_asked_for(demo, demo_transformer):
    for model, layer, where in (
        (demo, AUTO, MIDDLE_BLOCK),
        (demo, MIDDLE_BLOCK, MIDDLE_BLOCK),
        (demo_transformer, AUTO, "double_block:4"),
        (demo_transformer, MOVED, MOVED),
    ):
        assert layer_of(denoiser_at(model, layer, "a face", 1.5)) == where


def test_an_edit_is_made_once_and_where_it_is_there(session, direction):
    properties = benchmark("hspace_properties")
    plain = properties.edited_latents(session, direction, EditSettings(0.0))
    edited = properties.edited_latents(session, direction)
    assert plain.shape == (1, *session.model.latent_shape)
    assert (edited - plain).norm() > 1e-2 * plain.norm()
    # A sum is at strength 1 where its members are.
    alone = properties.edited_latents(session, combine_directions([(1.0, direction)]))
    assert torch.allclose(alone, edited, atol=1e-5)
    assert torch.allclose(properties.at_share(session, direction, 1.0), edited, atol=1e-5)
    assert not torch.allclose(properties.at_share(session, direction, 0.5), edited, atol=1e-3)
