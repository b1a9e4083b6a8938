"""What benchmarks/hspace.py edits with: directions at their own layer and scale, on both embedded models."""

import pytest
import torch
from helpers.benchmarks import benchmark
from singular_edit.core import combine_directions
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.layers import layer_info
from singular_edit.core.recipes.settings import READOUT, EditSettings, LearnSettings
from singular_edit.core.response import Response
from singular_edit.demo.evaluation.evaluated import layer_for
from singular_edit.demo.evaluation.session import Session

MOVING = LearnSettings.for_method("combined")
FULL = EditSettings().strength


@pytest.fixture(scope="module", params=["demo", "demo_transformer"])
def session(request):
    model = request.getfixturevalue(request.param)
    return Session(model, model.sample([50_100]), "glasses", steps=2, traced=True)


@pytest.fixture(scope="module")
def direction(session):
    """A direction at the layer where one that moves h is learned, there at the shipped scale."""
    table = 0.3 * torch.randn(1, *session.model.bottleneck, generator=torch.Generator().manual_seed(0))
    info = {"name": "random", **layer_info(layer_of(session))}
    return TableDirection(session.sigmas[:-1], {"table": table}, info).with_response(Response((1.0, FULL), (0.9, 1.0)))


def layer_of(session):
    return session.denoiser(layer=layer_for(session.model, MOVING)).layer


def test_a_transformer_is_moved_in_the_middle_and_read_late(demo, demo_transformer):
    readout = LearnSettings.for_method(READOUT)
    assert layer_for(demo, MOVING) == layer_for(demo, readout) == "auto"
    assert layer_for(demo_transformer, MOVING) == "double_block:2"
    assert layer_for(demo_transformer, readout) == "double_block:4"


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
