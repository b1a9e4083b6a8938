"""The embedded model: what its card and the README say of it, on fewer pictures."""

import pytest
from singular_edit.core import ddim_inversion, fixed_point_inversion, sample_euler
from singular_edit.demo import faces
from singular_edit.demo.evaluation.score import psnr
from singular_edit.demo.evaluation.session import starting_noise
from singular_edit.demo.loader import WEIGHTS
from singular_edit.demo.words import caption


def draw(demo, prompt, count, cfg=2.0, steps=25):
    sigmas = demo.sigmas(steps)
    return demo.decode(sample_euler(demo.denoiser(prompt, cfg=cfg), starting_noise(demo, count, 7, sigmas), sigmas))


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
    assert (seen > 0.06).all()
    assert (seen < 0.5).all()


@pytest.mark.parametrize("cfg, bar", [(1.0, 60), (5.0, 50)])
def test_round_trip_of_held_out_renders(demo, cfg, bar):
    latents = demo.encode(faces.render(faces.sample(range(16))))
    sigmas, denoise = demo.sigmas(25), demo.denoiser("a face with glasses", cfg=cfg)
    code, report = fixed_point_inversion(denoise, latents, sigmas)
    exact = psnr(sample_euler(denoise, code, sigmas), latents, 4.0).mean()
    drifted = psnr(sample_euler(denoise, ddim_inversion(denoise, latents, sigmas)[0], sigmas), latents, 4.0).mean()
    assert exact > bar and exact > drifted + 20, report.text()
