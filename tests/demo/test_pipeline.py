"""The embedded model as a diffusers pipeline edits as the recipes do on the model itself."""

from __future__ import annotations

import pytest
import torch
from singular_edit.core.recipes import hspace, latent_svd
from singular_edit.core.recipes.inversion import invert
from singular_edit.core.recipes.latent_svd import edited_step
from singular_edit.core.recipes.settings import EditSettings
from singular_edit.core.samplers import Schedule
from singular_edit.demo.attributes import readout_path, svd_path
from singular_edit.demo.faces import render

pytest.importorskip("diffusers")

STEPS = 10
# Of pictures from 0 to 1.
SAME = 1e-3


@pytest.fixture(scope="module")
def edit():
    import singular_edit
    from singular_edit.demo.pipeline import load_pipeline

    pipe = load_pipeline()
    pipe.set_progress_bar_config(disable=True)
    with singular_edit.attach(pipe) as attached:
        yield attached


def test_the_same_edits_as_the_recipes(edit, demo):
    picture = render(50_001, glasses=False)
    code = edit.invert(picture, "a face", steps=STEPS, guidance=1.5)
    denoise = demo.denoiser("a face", cfg=1.5)
    schedule = Schedule(demo.sigmas(STEPS), demo.percent_to_sigma)
    inverted = invert(denoise, demo.encode(picture), schedule.sigmas, "traced")
    readout = edit.load(readout_path("glasses"))
    svd = edit.load(svd_path("glasses"))
    trace = dict(trace=inverted.trace)
    by_readout = hspace.edit(denoise, inverted.code, schedule, readout, EditSettings(1.2), **trace)
    by_svd = latent_svd.edit(
        denoise, inverted.code, schedule.sigmas, svd, strength=0.9, step=edited_step(svd, schedule), **trace
    )
    plain = edit(code, output_type="pt")
    for ours, theirs in (
        (edit(code, {readout: 1.2}, output_type="pt"), by_readout),
        (edit(code, {svd: 0.9}, output_type="pt"), by_svd),
    ):
        assert (ours - demo.decode(theirs)).abs().max() < SAME
        assert (ours - plain).abs().max() > 0.2


def test_it_draws_what_it_is_asked_for(edit, demo):
    generator = torch.Generator().manual_seed(1)
    asked = dict(num_inference_steps=20, guidance_scale=3.0, generator=generator, output_type="pt")
    drawn = torch.as_tensor(edit.pipe(["a face with hat"] * 4, **asked).images)
    assert demo.judged(drawn)[:, 2].sum() >= 3
