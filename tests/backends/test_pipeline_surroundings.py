"""An attached pipeline beside what else is done to pipelines: offloading, LoRAs, compilation, other schedulers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.pipelines import SIDE, attach, hooks_of, tiny_pipeline
from helpers.tensors import noise, relative
from singular_edit.core import EditError, Training
from singular_edit.core.latent_svd import pair_notes
from singular_edit.core.recipes.settings import LearnSettings, PairSettings

diffusers = pytest.importorskip("diffusers")
pytest.importorskip("transformers")

STEPS = 6
PICTURE = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
READOUT = replace(LearnSettings.for_method("readout"), samples=8, calibration_noises=4, training=Training(20, 0.03, 16))


@pytest.fixture(scope="module")
def plain():
    """(pipeline, attached, code, readout, svd, edited latents)."""
    pipe = tiny_pipeline("sd15")
    edit = attach(pipe)
    code = edit.invert(PICTURE, "a face", steps=STEPS, guidance=3.0)
    readout = edit.learn("a face", "a hat", settings=READOUT, steps=STEPS)
    svd = edit.learn("a face", "a hat", settings=PairSettings(4, (1, 2), count=4), steps=STEPS)
    return pipe, edit, code, readout, svd, edit(code, {readout: 1.0, svd: 0.5}, output_type="latent")


def draw(pipe, **asked):
    generator = torch.Generator().manual_seed(0)
    drawn = pipe("a face", generator=generator, num_inference_steps=10, output_type="latent", **asked).images
    return torch.as_tensor(drawn)


@pytest.mark.parametrize("whole_models", [True, False])
def test_with_offloading(plain, whole_models):
    accelerate = pytest.importorskip("accelerate")
    _, _, _, readout, svd, expected = plain
    pipe = tiny_pipeline("sd15")
    if whole_models:
        pipe.enable_model_cpu_offload(device="cpu")
    else:
        # What enable_sequential_cpu_offload does to each of the networks: every layer's weights come and go.
        accelerate.cpu_offload(pipe.unet, torch.device("cpu"))
        accelerate.cpu_offload(pipe.vae, torch.device("cpu"))
        assert pipe.unet.conv_in.weight.device.type == "meta"
    unedited = draw(pipe)
    hooks = hooks_of(pipe)
    with attach(pipe) as edit:
        code = edit.invert(PICTURE, "a face", steps=STEPS, guidance=3.0)
        assert code.report.round_trip.min() >= 100
        assert relative(edit(code, {readout: 1.0, svd: 0.5}, output_type="latent"), expected) < 1e-5
        with edit.slider({readout: 1.0}):
            assert relative(draw(pipe), unedited) > 1e-3
        assert torch.equal(draw(pipe), unedited)
    assert hooks_of(pipe) == hooks


def test_with_a_lora(plain):
    peft = pytest.importorskip("peft")
    _, _, _, readout, _, expected = plain
    pipe = tiny_pipeline("sd15")
    edit = attach(pipe)
    # As load_lora_weights does it; the file itself plays no part here.
    pipe.unet.add_adapter(peft.LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    code = edit.invert(PICTURE, "a face", steps=STEPS, guidance=3.0)
    assert code.report.round_trip.min() >= 100
    edited = edit(code, {readout: 1.0}, output_type="latent")
    assert relative(edited, edit(code, output_type="latent")) > 1e-3
    assert relative(edited, expected) > 1e-4
    pipe.unet.delete_adapters("default")


@pytest.mark.parametrize("inside", [False, True])
def test_with_a_compiled_unet(plain, inside):
    _, _, _, readout, svd, expected = plain
    pipe = tiny_pipeline("sd15")
    if inside:
        pipe.unet.compile(backend="eager")
    else:
        pipe.unet = torch.compile(pipe.unet, backend="eager")
    edit = attach(pipe)
    code = edit.invert(PICTURE, "a face", steps=STEPS, guidance=3.0)
    assert code.report.round_trip.min() >= 100
    assert relative(edit(code, {readout: 1.0, svd: 0.5}, output_type="latent"), expected) < 1e-4
    with pytest.raises(EditError, match="U-Net is compiled"), edit.slider(readout):
        pass


SCHEDULERS = {
    "EulerDiscreteScheduler": {"timestep_spacing": "leading"},
    "DDIMScheduler": {"clip_sample": False, "set_alpha_to_one": True},
    "DPMSolverMultistepScheduler": {},
    "UniPCMultistepScheduler": {},
    "HeunDiscreteScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": True},
    "EulerAncestralDiscreteScheduler": {},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_callback_and_a_slider_with_any_scheduler(plain, name):
    pipe, edit, _, readout, svd, _ = plain
    stock = pipe.scheduler
    pipe.scheduler = getattr(diffusers, name).from_config(stock.config, **SCHEDULERS[name])
    try:
        unedited = draw(pipe)
        seen = []
        callback = edit.callback(svd, 1.0)

        def counted(*step):
            answer = callback(*step)
            seen.append(bool(answer))
            return answer

        edited = draw(pipe, callback_on_step_end=counted)
        assert sum(seen) == 1
        assert relative(edited, unedited) > 3e-3
        with edit.slider({readout: 1.0}):
            assert relative(draw(pipe), unedited) > 3e-3
        assert torch.equal(draw(pipe), unedited)
    finally:
        pipe.scheduler = stock


def test_two_scales_of_latents_are_edited_alike(plain):
    """DDIM is Euler in another scale: callback and slider make the same picture in both."""
    pipe, edit, _, readout, svd, _ = plain
    stock = pipe.scheduler
    pictures = {}
    start = noise((1, 4, SIDE // 2, SIDE // 2), 5)
    for name in ("EulerDiscreteScheduler", "DDIMScheduler"):
        settings = {**SCHEDULERS[name], "timestep_spacing": "leading", "steps_offset": 0}
        pipe.scheduler = getattr(diffusers, name).from_config(stock.config, **settings)
        pictures[name] = []
        asked = dict(latents=start.clone(), guidance_scale=2.0)
        for callback in (None, edit.callback(svd, 1.0)):
            pictures[name].append(draw(pipe, callback_on_step_end=callback, **asked))
        with edit.slider({readout: 1.0}):
            pictures[name].append(draw(pipe, **asked))
    pipe.scheduler = stock
    euler, ddim = pictures.values()
    assert relative(euler[0], ddim[0]) < 1e-3
    for i in (1, 2):
        change, same = euler[i] - euler[0], ddim[i] - ddim[0]
        assert relative(change, same) < 0.1
        assert relative(euler[i], euler[0]) > 2e-3


@pytest.mark.parametrize("times", [1.0, 20.0])
def test_a_slider_is_what_an_edit_does(plain, times):
    """The same noise, the same levels: hooks in the pipeline's own loop, and the recipe; within and at the range."""
    from singular_edit.backends.pipeline.recognise import model_of
    from singular_edit.core.recipes.edit import edit as edit_recipe
    from singular_edit.core.samplers import Schedule

    pipe, edit, _, readout, _, _ = plain
    readout = readout.scaled(times)
    model = model_of(pipe)
    start = noise((1, 4, SIDE // 2, SIDE // 2), 6)
    with edit.slider({readout: 1.2}):
        theirs = pipe(
            "a face", latents=start.clone(), num_inference_steps=4, guidance_scale=2.0, output_type="latent"
        ).images
    schedule = Schedule(pipe.scheduler.sigmas, model.schedule(4).percent_to_sigma)
    denoise = model.denoiser(model.encode_prompt("a face"), model.encode_prompt(""), 2.0)
    x = start * pipe.scheduler.init_noise_sigma
    ours = edit_recipe(denoise, x, schedule, [(readout, 1.2)])
    assert relative(theirs, ours) < 1e-4
    assert relative(ours, edit_recipe(denoise, x, schedule, [])) > 1e-3
    free = readout.tensors.keys() - {"range"}
    unlimited = replace(readout, tensors={name: readout.tensors[name] for name in free})
    limited = relative(ours, edit_recipe(denoise, x, schedule, [(unlimited, 1.2)]))
    assert (limited > 0.1) is (times > 1)


@pytest.mark.parametrize(("enough", "level"), [(0.0, "INFO"), (1.1, "WARNING")])
def test_learning_says_in_how_many_pairs_left_out_an_attribute_comes(plain, caplog, monkeypatch, enough, level):
    monkeypatch.setattr(pair_notes, "ENOUGH_LEFT_OUT", enough)
    with caplog.at_level("INFO", "singular_edit"):
        plain[1].learn("a face", "a hat", name="hat", settings=PairSettings(2, (1,), count=3), steps=3)
    said = [record for record in caplog.records if "hat: tried on pairs left out" in record.getMessage()]
    assert [record.levelname for record in said] == [level]
    assert (pair_notes.OTHER_WAYS in said[0].getMessage()) is (level == "WARNING")
