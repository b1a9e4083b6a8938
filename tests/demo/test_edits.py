"""The pack's main job on the embedded model, through diffusers: the numbers of the README, on fewer pictures."""

import pytest
import torch
from singular_edit.demo import faces
from singular_edit.demo.evaluation import edits
from singular_edit.demo.evaluation.score import score
from singular_edit.demo.evaluation.session import Session


@pytest.fixture(scope="module", params=["glasses", "hat"])
def session(request, demo):
    return Session(demo, faces.sample(range(50_100, 50_112)), request.param)


def test_the_unedited_picture_lacks_the_attribute(session):
    plain = score(session, edits.unedited(session))
    assert plain.success < 0.1
    assert plain.kept > 0.95


def test_svd_from_the_pictures_own_pair(session):
    edited = score(session, edits.svd_own_pair(session))
    assert edited.success >= 0.75
    assert edited.kept >= 0.93
    assert edited.psnr > score(session, edits.unedited(session)).psnr


def test_asyrp_edits_where_baselines_do_not(session):
    recorded = edits.trajectories(session.model, session.attribute, samples=24)
    direction = edits.h_direction(session.model, session.attribute, recorded, train_steps=150)
    edited = score(session, edits.asyrp(session, direction))
    assert edited.success >= 0.75
    assert edited.kept >= 0.9
    symmetric = score(session, edits.asyrp(session, direction, symmetric=True))
    assert symmetric.success < edited.success - 0.3
    assert torch.equal(edits.asyrp(session, direction, 0.0), edits.unedited(session))


def test_the_command_line_leaves_pictures_and_a_table(demo, tmp_path, capsys, monkeypatch):
    from singular_edit import cli
    from singular_edit.demo import loader

    monkeypatch.setattr(loader, "load", lambda: demo)
    assert (
        cli.main(
            [
                "demo",
                "--output",
                str(tmp_path),
                "--count",
                "2",
                "--samples",
                "4",
                "--steps",
                "20",
                "--pairs",
                "2",
                "--attributes",
                "glasses",
            ]
        )
        == 0
    )
    table = (tmp_path / "table.txt").read_text()
    assert all(
        word in table
        for word in ("prompt swap", "own pair", "Asyrp", "readout", "symmetric", "random dh", "unedited", "round trip")
    )
    assert (tmp_path / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "glasses.svd.safetensors").exists()
    assert (tmp_path / "glasses.h.safetensors").exists()
    assert (tmp_path / "glasses.readout.safetensors").exists()
