"""One network, used from several sides: threads, sliders, and other processes that get a code."""

from __future__ import annotations

import gc
import io
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from helpers.pipelines import SIDE, attach, hooks_of, tiny_pipeline
from singular_edit.core import EditError, Training
from singular_edit.core.recipes.settings import LearnSettings

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

PICTURE = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
STEPS = 4
READOUT = replace(LearnSettings.for_method("readout"), samples=4, calibration_noises=2, training=Training(8, 0.03, 4))
INSIDE = "a slider of this pipeline is open"


@pytest.fixture(scope="module")
def plain():
    """(pipeline, attached, code, readout)."""
    pipe = tiny_pipeline("sd15")
    edit = attach(pipe)
    code = edit.invert(PICTURE, "a face", steps=STEPS)
    return pipe, edit, code, edit.learn("a face", "a hat", settings=READOUT, steps=STEPS)


def draw(pipe):
    return pipe(
        "a face", generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type="latent"
    ).images


def test_threads_get_what_they_would_get_alone(plain):
    pipe, edit, code, readout = plain
    strengths = [-1.0, 0.5, 1.0, 2.0] * 2
    alone = [edit(code, {readout: strength}, output_type="latent") for strength in strengths]
    edits = [edit, attach(pipe)]

    def edited(i):
        return edits[i % 2](code, {readout: strengths[i]}, output_type="latent")

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(edited, range(len(strengths))))
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_calls_inside_of_a_slider_block_get_a_sentence(plain):
    pipe, edit, code, readout = plain
    unedited = edit(code, output_type="latent")
    for one in (edit, attach(pipe)):
        with edit.slider({readout: 1.0}):
            with pytest.raises(EditError, match=INSIDE):
                one.invert(PICTURE, "a face", steps=STEPS)
            with pytest.raises(EditError, match=INSIDE):
                one.learn("a face", "a hat", settings=READOUT, steps=STEPS)
            with pytest.raises(EditError, match=INSIDE):
                one(code)
        assert torch.equal(one(code, output_type="latent"), unedited)


def test_a_slider_that_was_never_left_ends_with_detach(plain):
    pipe, edit, code, readout = plain
    with attach(pipe) as other:
        block = other.slider({readout: 1.0})
        block.__enter__()
        with pytest.raises(EditError, match=INSIDE):
            edit(code)
    assert edit(code)


def test_a_slider_leaves_nothing_behind(plain):
    pipe, edit, _, readout = plain
    hooks = hooks_of(pipe)
    with edit.slider({readout: 1.0}):
        draw(pipe)
        slider = weakref.ref(edit._sliders[0])
    gc.collect()
    assert slider() is None
    assert hooks_of(pipe) == hooks


def saved_and_loaded(code):
    buffer = io.BytesIO()
    torch.save(code, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
@pytest.mark.parametrize("carried", [lambda code: pickle.loads(pickle.dumps(code)), saved_and_loaded])
def test_a_code_that_was_pickled_is_edited_alike(plain, family, carried):
    if family == "sd15":
        _, edit, code, readout = plain
    else:
        edit = attach(tiny_pipeline(family))
        code = edit.invert(PICTURE, "a face", steps=STEPS)
        readout = edit.learn("a face", "a hat", settings=READOUT, steps=STEPS)
    again = carried(code)
    asked = dict(until=0.6, output_type="latent")
    assert torch.equal(edit(again, {readout: 1.0}, **asked), edit(code, {readout: 1.0}, **asked))
    assert again.report.text() == code.report.text()
