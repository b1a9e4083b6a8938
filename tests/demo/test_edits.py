"""The main job on the embedded model, through diffusers: the numbers of docs/results/edits.md, on fewer pictures."""

from dataclasses import replace

import pytest
import torch
from singular_edit.core import SVDAttribute, load_hdirection
from singular_edit.core.recipes.settings import READOUT, EditSettings, LearnSettings
from singular_edit.demo import attributes, faces
from singular_edit.demo.evaluation import edits, learning
from singular_edit.demo.evaluation.score import score
from singular_edit.demo.evaluation.session import Session

SYMMETRIC = EditSettings(1.5, retries=0, symmetric=True)


def once(direction):
    """The shipped settings at the strength where a direction is there, for a picture that is sampled once."""
    return replace(edits.there(direction), retries=0)


@pytest.fixture(scope="module")
def session(demo):
    return Session(demo, faces.sample(range(50_100, 50_103)), "hat", traced=True)


@pytest.fixture(scope="module")
def plain(session):
    return edits.unedited(session)


def test_the_unedited_picture_lacks_the_attribute(session, plain):
    unedited = score(session, plain)
    assert unedited.success < 0.1
    assert unedited.kept > 0.95


def test_svd_from_the_pictures_own_pair(session, plain):
    edited = score(session, edits.svd_own_pair(session))
    assert edited.success >= 0.75
    assert edited.kept >= 0.93
    assert edited.psnr > score(session, plain).psnr


def test_the_attribute_files_that_ship_edit_held_out_faces(session, plain):
    attribute = SVDAttribute.load(attributes.svd_path(session.attribute))
    readout = load_hdirection(attributes.readout_path(session.attribute))
    for edited in (edits.svd_apply(session, attribute), edits.asyrp(session, readout)):
        found = score(session, edited)
        assert found.success >= 0.9
        assert found.kept >= 0.93
        assert found.psnr > score(session, plain).psnr + 1
    assert torch.equal(edits.asyrp(session, readout, EditSettings(0.0)), plain)


@pytest.fixture(scope="module")
def few(demo):
    return Session(demo, faces.sample(range(50_100, 50_104)), "glasses", traced=True)


def test_a_readout_of_few_noises_edits_held_out_faces(demo, few):
    shipped = LearnSettings.for_method(READOUT)
    settings = replace(
        shipped, calibration_noises=8, samples=64, training=replace(shipped.training, steps=400), start_percent=0.24
    )
    learned = learning.learned_readout(demo, few.attribute, settings)
    assert learned.progress == pytest.approx(0.8, abs=0.1)
    edited = score(few, edits.asyrp(few, learned.direction, once(learned.direction)))
    assert edited.success >= 0.85
    assert edited.kept >= 0.9
    assert edited.psnr > score(few, edits.unedited(few)).psnr + 1


def test_a_learned_direction_edits_where_its_baselines_do_not(demo, few):
    s = few
    shipped = LearnSettings.for_method("combined")
    settings = replace(
        shipped, calibration_noises=4, samples=12, training=replace(shipped.training, steps=50), start_percent=0.24
    )
    recorded = learning.trajectories(demo, s.attribute, settings)
    direction = learning.h_direction(demo, s.attribute, recorded, settings)
    edited = score(s, edits.asyrp(s, direction, replace(once(direction), strength=1.5)))
    assert edited.success >= 0.75
    assert edited.kept >= 0.85
    symmetric = score(s, edits.asyrp(s, direction, SYMMETRIC))
    assert symmetric.success < edited.success - 0.3
