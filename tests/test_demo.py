"""The embedded model and the pack's main job on it, through diffusers: the numbers of the README, on fewer pictures."""

import pytest
import torch

from singular_edit.core import ddim_inversion, fixed_point_inversion, sample_euler
from singular_edit.demo import editing, faces
from singular_edit.demo.loader import WEIGHTS
from singular_edit.demo.measure import psnr, score
from singular_edit.demo.words import caption


def draw(demo, prompt, count, cfg=2.0, steps=25):
    sigmas = demo.sigmas(steps)
    return demo.decode(sample_euler(demo.denoiser(prompt, cfg=cfg), editing.starting_noise(demo, count, 7, sigmas), sigmas))


def test_weights_are_small():
    assert sum(file.stat().st_size for file in WEIGHTS.glob("*.safetensors")) < 20e6


def test_vae_and_judge_on_held_out_faces(demo):
    drawn = faces.sample(range(400))
    renders = faces.render(drawn)
    rebuilt = demo.decode(demo.encode(renders))
    assert psnr(rebuilt, renders).mean() > 30
    assert (demo.judged(renders) == drawn.attributes).float().mean(0).min() >= 0.99
    assert (demo.judged(rebuilt) == drawn.attributes).float().mean(0).min() >= 0.98


@pytest.mark.parametrize("name", faces.ATTRIBUTES)
def test_text_is_obeyed(demo, name):
    seen = demo.judged(draw(demo, caption([name]), 32)).float().mean(0)
    assert seen[faces.ATTRIBUTES.index(name)] > 0.9


def test_a_face_is_neutral_not_a_denial(demo):
    seen = demo.judged(draw(demo, "a face", 64)).float().mean(0)
    assert (seen > 0.06).all() and (seen < 0.5).all()


@pytest.mark.parametrize("cfg, bar", [(1.0, 60), (5.0, 50)])
def test_round_trip_of_held_out_renders(demo, cfg, bar):
    latents = demo.encode(faces.render(faces.sample(range(16))))
    sigmas, denoise = demo.sigmas(25), demo.denoiser("a face with glasses", cfg=cfg)
    code, report = fixed_point_inversion(denoise, latents, sigmas)
    exact = psnr(sample_euler(denoise, code, sigmas), latents, 4.0).mean()
    drifted = psnr(sample_euler(denoise, ddim_inversion(denoise, latents, sigmas)[0], sigmas), latents, 4.0).mean()
    assert exact > bar and exact > drifted + 20, report.text()


@pytest.fixture(scope="module", params=["glasses", "hat"])
def session(request, demo):
    return editing.Session(demo, faces.sample(range(50_100, 50_112)), request.param)


def test_the_unedited_picture_lacks_the_attribute(session):
    plain = score(session, editing.unedited(session))
    assert plain.success < 0.1 and plain.kept > 0.95


def test_svd_from_the_pictures_own_pair(session):
    edited = score(session, editing.svd_own_pair(session))
    assert edited.success >= 0.75 and edited.kept >= 0.93
    assert edited.psnr > score(session, editing.unedited(session)).psnr


def test_asyrp_edits_where_baselines_do_not(session):
    recorded = editing.trajectories(session.model, session.attribute, samples=24)
    direction = editing.h_direction(session.model, session.attribute, recorded, train_steps=150)
    edited = score(session, editing.asyrp(session, direction))
    assert edited.success >= 0.75 and edited.kept >= 0.9
    symmetric = score(session, editing.asyrp(session, direction, symmetric=True))
    assert symmetric.success < edited.success - 0.3
    assert torch.equal(editing.asyrp(session, direction, 0.0), editing.unedited(session))


def test_the_command_line_leaves_pictures_and_a_table(demo, tmp_path, capsys, monkeypatch):
    from singular_edit.demo import cli, loader

    monkeypatch.setattr(loader, "load", lambda: demo)
    assert cli.main(["demo", "--output", str(tmp_path), "--count", "2", "--samples", "4", "--steps", "20", "--pairs", "2", "--attributes", "glasses"]) == 0
    table = (tmp_path / "table.txt").read_text()
    assert all(word in table for word in ("prompt swap", "own pair", "Asyrp", "readout", "symmetric", "random dh", "unedited", "round trip"))
    assert (tmp_path / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "glasses.svd.safetensors").exists() and (tmp_path / "glasses.h.safetensors").exists() and (tmp_path / "glasses.readout.safetensors").exists()
