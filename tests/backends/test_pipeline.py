"""singular_edit.attach on small random pipelines of five families: what each of them must do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.pipelines import FAMILIES, SIDE, UNETS, attach, hooks_of, tiny_pipeline, weights_of
from helpers.tensors import noise, relative
from singular_edit.core import EditError, Training, sample_euler
from singular_edit.core.recipes.settings import LearnSettings, PairSettings

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

STEPS = 6
PICTURE = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
SMALL_READOUT = replace(
    LearnSettings.for_method("readout"),
    samples=8,
    calibration_noises=4,
    training=Training(steps=20, learning_rate=0.03, batch=16),
)
SMALL_SVD = PairSettings(4, (1, 2), count=4)


class Bench:
    """A pipeline with what was made with it, or with attributes that were made with another of the same weights."""

    def __init__(self, family: str, dtype: torch.dtype = torch.float32, attributes=None, *, offloaded=False) -> None:
        self.family = family
        self.pipe = tiny_pipeline(family, dtype)
        if offloaded:
            self.pipe.enable_model_cpu_offload(device="cpu")
        self.weights = weights_of(self.pipe)
        self.drawn = self.draw()
        # transformers keeps hooks of its own on text encoders.
        self.hooks = hooks_of(self.pipe)
        self.edit = attach(self.pipe)
        self.code = self.edit.invert(PICTURE, "a face", steps=STEPS, guidance=3.0, size=SIDE)
        if attributes is not None:
            self.attributes = attributes
            return
        small = dict(steps=STEPS, size=SIDE)
        self.svd = self.edit.learn("a face", "a hat", settings=SMALL_SVD, **small)
        self.readout = self.edit.learn("a face", "a hat", settings=SMALL_READOUT, **small)
        self.attributes = [self.svd, self.readout]

    def draw(self, seed: int = 0, **asked):
        """A plain call of the pipeline."""
        generator = torch.Generator().manual_seed(seed)
        size = dict(height=SIDE, width=SIDE, num_inference_steps=STEPS)
        drawn = self.pipe("a face", generator=generator, output_type="pt", **size, **asked).images
        return torch.as_tensor(drawn).float()


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request):
    return Bench(request.param)


def test_the_denoiser_is_the_pipelines_own(bench):
    """Our Euler on the scheduler's noise levels draws what the pipeline draws: prompt, guidance and scale agree."""
    from singular_edit.backends.pipeline.flux_denoiser import packed
    from singular_edit.backends.pipeline.recognise import model_of

    model = model_of(bench.pipe)
    start = noise((1, model.latent_channels, SIDE // 2, SIDE // 2), 3)
    flux = bench.family == "flux"
    guided = dict(true_cfg_scale=3.0, guidance_scale=3.5) if flux else dict(guidance_scale=3.0)
    theirs = bench.pipe(
        "a face",
        negative_prompt="a hat",
        latents=packed(start) if flux else start.clone(),
        height=SIDE,
        width=SIDE,
        num_inference_steps=4,
        output_type="latent",
        **guided,
    ).images
    scheduler = bench.pipe.scheduler
    denoise = model.denoiser(model.encode_prompt("a face"), model.encode_prompt("a hat"), 3.0)
    ours = sample_euler(denoise, start * getattr(scheduler, "init_noise_sigma", 1.0), scheduler.sigmas)
    assert relative(packed(ours) if flux else ours, theirs) < 1e-4


def test_a_picture_comes_back(bench):
    assert bench.code.report.calls == STEPS
    assert bench.code.report.round_trip.min() >= 100
    assert bench.code.trace is not None
    assert len(bench.code) == 2


def test_strength_0_is_the_plain_picture_bit_for_bit_and_edits_change_it(bench):
    plain = bench.edit(bench.code, output_type="latent")
    for one in bench.attributes:
        assert torch.equal(bench.edit(bench.code, {one: 0.0}, output_type="latent"), plain)
        half, whole = bench.edit(bench.code, one, strengths=[0.5, 1.0], output_type="latent")
        assert 1e-3 < relative(half, plain) < relative(whole, plain)
        assert relative(bench.edit(bench.code, {one: -0.5}, output_type="latent"), half) > 1e-3


def test_attributes_add_up(bench):
    both = bench.edit(bench.code, dict.fromkeys(bench.attributes, 1.0), output_type="latent")
    for one in bench.attributes:
        assert relative(both, bench.edit(bench.code, {one: 1.0}, output_type="latent")) > 1e-3


def test_outside_of_a_mask_nothing_changes(bench):
    mask = torch.zeros(SIDE, SIDE)
    mask[:, SIDE // 2 :] = 1
    plain = bench.edit(bench.code, output_type="latent")
    for one in bench.attributes:
        edited = bench.edit(bench.code, {one: 1.0}, mask=mask, output_type="latent")
        left, right = (relative(*pair) for pair in zip(edited.chunk(2, dim=-1), plain.chunk(2, dim=-1), strict=True))
        assert left < 1e-5
        assert right > 1e-3


def test_pictures_come_as_asked(bench):
    images = bench.edit(bench.code)
    assert [image.size for image in images] == [(SIDE, SIDE)] * 2
    tensor = bench.edit(bench.code, output_type="pt")
    assert tensor.shape == PICTURE.shape
    assert 0 <= tensor.min() <= tensor.max() <= 1


def test_a_callback_edits_a_plain_call(bench):
    assert torch.equal(bench.draw(callback_on_step_end=bench.edit.callback(bench.svd, 0.0)), bench.drawn)
    edited = bench.draw(callback_on_step_end=bench.edit.callback(bench.svd, 1.0))
    assert relative(edited, bench.drawn) > 1e-4
    assert torch.equal(bench.draw(), bench.drawn)


def test_a_slider_edits_plain_calls(bench):
    if bench.family not in UNETS:
        with pytest.raises(EditError, match="a slider needs a U-Net"), bench.edit.slider({bench.svd: 1.0}):
            pass
        return
    with bench.edit.slider({bench.readout: 0.0}):
        assert torch.equal(bench.draw(), bench.drawn)
    with bench.edit.slider({bench.readout: 1.0}):
        edited = bench.draw()
    assert relative(edited, bench.drawn) > 1e-3
    assert torch.equal(bench.draw(), bench.drawn)


def test_the_pipeline_is_as_it_was_when_detached(bench):
    with attach(bench.pipe) as edit:
        if bench.family in UNETS:
            block = edit.slider(bench.readout)
            block.__enter__()  # and never left
            assert hooks_of(bench.pipe) > bench.hooks
    assert hooks_of(bench.pipe) == bench.hooks
    after = weights_of(bench.pipe)
    assert all(torch.equal(after[name], weight) for name, weight in bench.weights.items())
    assert torch.equal(bench.draw(), bench.drawn)
    assert all(weight.requires_grad and weight.grad is None for weight in edit._model.network.parameters())
    with pytest.raises(EditError, match="the pipeline was detached"):
        edit.invert(PICTURE)


def test_a_file_goes_out_and_comes_back(bench, tmp_path):
    for i, one in enumerate(bench.attributes):
        one.save(tmp_path / f"{i}.safetensors")
        again = bench.edit.load(tmp_path / f"{i}.safetensors")
        assert again.info == one.info
        assert again.info["target_prompt"] == "a hat"
        assert len(again.info["preview"]) > 100
        edited, same = (bench.edit(bench.code, {hat: 1.0}, output_type="latent") for hat in (one, again))
        assert relative(edited, same) < 1e-5


def test_in_bfloat16_with_offloading(bench):
    pytest.importorskip("accelerate")
    other = Bench(bench.family, torch.bfloat16, attributes=bench.attributes, offloaded=True)
    assert other.code.report.round_trip.min() >= 100
    plain = other.edit(other.code, output_type="pt")
    for one in other.attributes:
        assert torch.equal(other.edit(other.code, {one: 0.0}, output_type="pt"), plain)
        edited = other.edit(other.code, {one: 1.0}, output_type="pt")
        assert torch.isfinite(edited).all()
        assert relative(edited, plain) > 1e-3
    other.edit.detach()
    assert other.pipe.vae.dtype == torch.bfloat16
    assert hooks_of(other.pipe) == other.hooks
    assert torch.equal(other.draw(), other.drawn)


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_a_direction_that_moves_h_is_learned_without_a_trace_in_the_weights(family):
    bench = Bench(family)
    settings = replace(
        LearnSettings.for_method("combined"), samples=4, calibration_noises=2, training=Training(4, 0.03, 2)
    )
    direction = bench.edit.learn("a face", "a hat", settings=settings, steps=STEPS, size=SIDE)
    edited = bench.edit(bench.code, {direction: 1.0}, output_type="latent")
    assert relative(edited, bench.edit(bench.code, output_type="latent")) > 1e-4
    network = getattr(bench.pipe, "unet", None) or bench.pipe.transformer
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_a_layer_that_is_asked_for_is_the_one_that_is_edited():
    bench = Bench("sd3")
    settings = replace(SMALL_READOUT, layer="double_block:0")
    readout = bench.edit.learn("a face", "a hat", settings=settings, steps=STEPS, size=SIDE)
    assert readout.layer == "double_block:0" != bench.readout.layer
    edited = bench.edit(bench.code, {readout: 1.0}, output_type="latent")
    assert relative(edited, bench.edit(bench.code, output_type="latent")) > 1e-3
    with pytest.raises(EditError, match="layer"):
        bench.edit(bench.code, {readout: 1.0, bench.readout: 1.0})


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_a_readout_is_learned_where_no_method_is_named(family):
    from singular_edit.backends.pipeline.lesson import Lesson
    from singular_edit.backends.pipeline.recognise import model_of

    assert Lesson("a face", "a hat").settings_for(model_of(tiny_pipeline(family))).method == "readout"


def test_what_is_no_pipeline_gets_a_sentence():
    with pytest.raises(EditError, match="pipe is a dict; a loaded diffusers pipeline"):
        attach({})
    pipe = tiny_pipeline("sd15")
    pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(EditError, match="9 input channels, 4 of them"):
        attach(pipe)
    pipe = tiny_pipeline("flux")
    pipe.transformer.register_to_config(in_channels=128)
    with pytest.raises(EditError, match="latents of 32 channels but its VAE makes 16"):
        attach(pipe)
    pipe = tiny_pipeline("sd15")
    pipe.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(EditError, match="prediction_type 'sample'"):
        attach(pipe)
