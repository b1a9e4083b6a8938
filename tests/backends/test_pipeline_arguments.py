"""What callers give to an attached pipeline: numbers of any library are taken, everything else gets a sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.pipelines import SIDE, attach, tiny_pipeline
from helpers.tensors import relative
from singular_edit.core import EditError, Training
from singular_edit.core.recipes.settings import LearnSettings, PairSettings

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

PICTURE = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
STEPS = 3
NAN = float("nan")
PAIRS = PairSettings(2, (1,), count=2)
READOUT = replace(LearnSettings.for_method("readout"), samples=2, calibration_noises=1, training=Training(2, 0.03, 2))


@pytest.fixture(scope="module")
def edit():
    return attach(tiny_pipeline("sd15"))


@pytest.fixture(scope="module")
def code(edit):
    return edit.invert(PICTURE, "a face", steps=STEPS)


@pytest.fixture(scope="module")
def hat(edit):
    return edit.learn("a face", "a hat", settings=PAIRS, steps=STEPS)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (dict(guidance=NAN), "guidance is nan; a finite number"),
        (dict(guidance=float("inf")), "guidance is inf; a finite number"),
        (dict(guidance="2"), "guidance is '2'; a finite number"),
        (dict(prompt=None), "prompt is None; a text, a list of texts"),
        (dict(negative=None), "negative is None; a text, a list of texts"),
        (dict(negative=None, guidance=1.0), "negative is None; a text, a list of texts"),
        (dict(negative=["a", "b"], guidance=2.0), "negative has 2 rows for 1 pictures"),
        (dict(steps=True), "steps is True; a whole number from"),
        (dict(steps=8.0), "steps is 8.0; a whole number from"),
        (dict(steps=10**20), "a whole number from 1 to 1000"),
        (dict(seed=1.5), "seed is 1.5; a whole number of 64 bits"),
        (dict(seed=None), "seed is None; a whole number of 64 bits"),
        (dict(seed=2**64), "a whole number of 64 bits"),
        (dict(method=["traced"]), "traced are accepted"),
        (dict(size=("64", "64")), "size is"),
    ],
)
def test_what_cannot_be_inverted_with_gets_a_sentence(edit, asked, sentence):
    with pytest.raises(EditError, match=sentence):
        edit.invert(PICTURE, **{"prompt": "a face", "steps": STEPS, **asked})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (dict(target=None), "target is None; a text, a list of texts"),
        (dict(target=""), "target is ''; a text that says"),
        (dict(target=[" "]), "target is .* a text that says"),
        (dict(target=["a hat", "a cap"]), "target holds 2 prompts; one is accepted"),
        (dict(target=["a  face"]), "source and target are both 'a face'"),
        (dict(steps="8"), "steps is '8'; a whole number from"),
        (dict(steps=8.0), "steps is 8.0; a whole number from"),
        (dict(steps=2), "steps is 2; a whole number from 3"),
        (dict(seed=1.5), "seed is 1.5; a whole number of 64 bits"),
        (dict(seed=-(2**64)), "a whole number of 64 bits"),
        (dict(settings={}), "settings is a dict; a LearnSettings or a PairSettings"),
        (dict(settings=None, method=["svd"]), "are accepted for a pipeline"),
        (dict(settings=None, method="nonsense", pictures=PICTURE), "method is 'nonsense'; readout"),
        (dict(settings=None, effort=["good"]), "quick, good, best are accepted"),
        (dict(pictures=[]), "pictures holds no picture"),
    ],
)
def test_what_cannot_be_learned_with_gets_a_sentence(edit, asked, sentence):
    with pytest.raises(EditError, match=sentence):
        edit.learn(**{"source": "a face", "target": "a hat", "settings": PAIRS, "steps": STEPS, **asked})


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (dict(until=NAN), "until is nan; a finite number"),
        (dict(until="1"), "until is '1'; a finite number"),
        (dict(fade="x"), "fade is 'x'; a finite number"),
        (dict(strengths=1.0), "strengths is 1.0; a list of finite numbers"),
        (dict(strengths="12"), "strengths is '12'; a list of finite numbers"),
        (dict(strengths=[1.0, NAN]), "one of strengths is nan; a finite number"),
        (dict(retries="x"), "retries is 'x'; a whole number from 0 to 2"),
        (dict(mask=torch.full((SIDE, SIDE), 2.0)), "a mask holds numbers from 2 to 2"),
    ],
)
def test_what_cannot_be_edited_with_gets_a_sentence(edit, code, hat, asked, sentence):
    with pytest.raises(EditError, match=sentence):
        edit(code, hat, **asked)


def test_numbers_of_any_library_are_numbers(edit, code, hat):
    asked = dict(steps=STEPS, guidance=2.0, seed=7, size=SIDE)
    foreign = dict(steps=np.int64(STEPS), guidance=torch.tensor(2.0), seed=np.int64(7), size=np.int64(SIDE))
    assert torch.equal(edit.invert(PICTURE, **asked).latents, edit.invert(PICTURE, **foreign).latents)
    edited = edit(code, {hat: 1.0}, output_type="latent")
    for one in (np.float32(1), np.int64(1), torch.tensor(1.0)):
        assert torch.equal(edit(code, {hat: one}, output_type="latent"), edited)
    assert torch.equal(edit(code, {hat: 1}, strengths=np.ones(1), output_type="latent")[0], edited)
    for strength in ("1", NAN, None):
        with pytest.raises(EditError, match="the strength of 'a hat' is"):
            edit(code, {hat: strength})


def test_what_a_callback_or_a_slider_cannot_take_gets_a_sentence(edit, hat):
    with pytest.raises(EditError, match="strength is nan; a finite number"):
        edit.callback(hat, NAN)
    with pytest.raises(EditError, match=r"size is 64; \(height, width\) in pixels is accepted"):
        edit.callback(hat, size=64)
    readout = edit.learn("a face", "a hat", settings=READOUT, steps=STEPS)
    with pytest.raises(EditError, match="until is nan; a finite number"), edit.slider(readout, until=NAN):
        pass


@pytest.mark.parametrize("family", ["sdxl", "sd2_v"])
def test_a_code_of_another_kind_of_model_gets_a_sentence(code, family):
    with pytest.raises(EditError, match=r"code was inverted by SD 1\.5 but this pipeline is"):
        attach(tiny_pipeline(family))(code)


@pytest.mark.parametrize("settings", [PAIRS, READOUT])
def test_a_seed_counts_with_settings_too(edit, code, settings):
    def edited(settings, **asked):
        learned = edit.learn("a face", "a hat", settings=settings, steps=STEPS, **asked)
        return edit(code, {learned: 1.0}, output_type="latent")

    plain = edited(settings)
    other = edited(settings, seed=7)
    assert torch.equal(edited(settings, seed=0), plain)
    assert relative(other, plain) > 1e-3
    if settings is READOUT:
        own = replace(settings, training=replace(settings.training, seed=7))
        assert torch.equal(edited(own), other)
        assert torch.equal(edited(own, seed=0), plain)


def test_pictures_that_are_too_many_are_counted_and_said(edit, caplog):
    settings = replace(PAIRS, count=1, evidence_noises=0)
    asked = dict(settings=settings, steps=STEPS)
    with caplog.at_level("WARNING", "singular_edit"):
        learned = edit.learn("a face", "a hat", pictures=PICTURE.expand(3, -1, -1, -1), **asked)
    assert learned.info["pictures"] == "1"
    assert sum("a hat: It is learned from the first 1 of 3 pictures" in text for text in caplog.messages) == 1
    caplog.clear()
    with caplog.at_level("WARNING", "singular_edit"):
        edit.learn("a face", "a hat", pictures=PICTURE, **asked)
    assert not any("the first" in text for text in caplog.messages)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_each_picture_may_have_prompts_of_its_own(family, guidance):
    edit = attach(tiny_pipeline(family))
    asked = dict(steps=STEPS, guidance=guidance)
    both = edit.invert(PICTURE.expand(2, -1, -1, -1), ["a face", "a hat"], negative=["a", "b"], **asked)
    assert both.report.round_trip.min() >= 100
    for i, (prompt, negative) in enumerate((("a face", "a"), ("a hat", "b"))):
        alone = edit.invert(PICTURE, prompt, negative=negative, **asked)
        assert relative(both.latents[i : i + 1], alone.latents) < 1e-4
