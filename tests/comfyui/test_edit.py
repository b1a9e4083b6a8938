"""Learning and editing inside a real ComfyUI, with stock nodes on both sides, in one process.

What is learned and inverted here is shared by the tests, and the schedule is short.
"""

from typing import NamedTuple

import pytest
import torch
from helpers.graph import assert_unchanged, empty_latent, weights
from helpers.tensors import relative
from singular_edit.core import load_hdirection
from singular_edit.demo.attributes import readout_path
from torch import Tensor

STEPS = 8
CFG = 1.5
METHODS = ("readout", "combined", "implicit", "global", "vector", "difference")
TRAINED = "implicit"  # the method that is trained until it is good


class Untouched(NamedTuple):
    """The model before anything was learned on it."""

    weights: dict[str, Tensor]
    options: str
    sampled: Tensor


@pytest.fixture(scope="module")
def untouched(graph):
    sampled = graph.ksampler(empty_latent(2))["samples"]
    return Untouched(weights(graph.model), repr(graph.model.model_options), sampled)


@pytest.fixture(scope="module")
def code(graph):
    faces = graph.faces([11, 12], glasses="off")
    return graph.invert(faces, cfg=CFG, sigmas=graph.schedule(STEPS))[0]


@pytest.fixture(scope="module")
def stock(graph, code):
    """What the stock sampler makes of the code."""
    return sample(graph, code)


@pytest.fixture(scope="module")
def learn(graph, untouched):
    """h-Space Direction Learn, once for each method."""
    learned = {}

    def once(method):
        if method not in learned:
            learned[method] = train(graph) if method == TRAINED else graph.learn(method)
        return learned[method]

    return once


@pytest.fixture(scope="module")
def direction(learn):
    return learn(TRAINED)[0]


def train(graph):
    return graph.learn(TRAINED, steps=40, sigmas=graph.schedule(12))


def sample(graph, code, sampler=None):
    return graph.sample(code, sampler, cfg=CFG, sigmas=graph.schedule(STEPS))


def edit(graph, code, direction, **inputs):
    return sample(graph, code, graph.asyrp(direction, **inputs))


@pytest.mark.parametrize("inputs", [dict(strength=0.0), dict(edit_percent=0.0)])
def test_strength_zero_and_a_closed_window_are_the_stock_sampler_bit_for_bit(graph, code, stock, direction, inputs):
    assert torch.equal(edit(graph, code, direction, **inputs), stock)


def test_an_edit_changes_the_picture_and_leaves_nothing_behind(graph, code, stock, learn, untouched):
    edited = edit(graph, code, learn("global")[0], strength=1.0)
    assert relative(edited, stock) > 1e-3
    assert torch.isfinite(edited).all()
    assert torch.equal(graph.ksampler(empty_latent(2))["samples"], untouched.sampled)
    assert_unchanged(graph.model, untouched.weights, untouched.options)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_comes_back_from_its_file(graph, code, learn, method):
    direction, plot, report = learn(method)
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert method in report
    path = graph.run("SaveAttribute", attribute=direction, filename_prefix=f"test/{method}")[0]
    again = graph.run("LoadHDirection", file=path)[0]
    assert torch.allclose(edit(graph, code, direction), edit(graph, code, again), atol=1e-4)


def test_learning_is_repeatable(graph, learn):
    first = learn("readout")[0]
    again = graph.learn("readout")[0]
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


def test_training_makes_a_direction_better(learn):
    assert float(learn(TRAINED)[2].split("loss ")[1].split()[0]) < 0.9


def test_edit_uncond_and_boost_and_seed(graph, code, direction):
    plain = edit(graph, code, direction)
    assert not torch.equal(edit(graph, code, direction, edit_uncond=True), plain)
    boosted = edit(graph, code, direction, boost_percent=0.7, noise_seed=1)
    assert torch.equal(boosted, edit(graph, code, direction, boost_percent=0.7, noise_seed=1))
    assert not torch.equal(boosted, edit(graph, code, direction, boost_percent=0.7, noise_seed=2))
    assert not torch.equal(boosted, plain)
    assert torch.equal(edit(graph, code, direction, boost_percent=0.7, eta=0.0), plain)


def test_the_h_patch_comes_before_other_patches(graph, code, direction):
    """FreeU acts on the same block; the edit must see the raw bottleneck, and both must act."""
    from comfy_extras.nodes_freelunch import FreeU

    with torch.inference_mode():
        free = FreeU().patch(graph.model, 1.2, 1.3, 0.9, 0.5)[0]
    options = dict(cfg=CFG, model=free, sigmas=graph.schedule(STEPS))
    assert torch.isfinite(graph.sample(code, graph.asyrp(direction), **options)).all()
    still = graph.asyrp(direction, strength=0.0)
    assert torch.equal(graph.sample(code, still, **options), graph.sample(code, **options))


@pytest.mark.parametrize("what", ["learn", "invert", "pair"])
def test_cancel_leaves_the_model_clean(graph, code, stock, what):
    import comfy.model_management as management

    start = {
        "learn": lambda: graph.learn("global"),
        "invert": lambda: graph.invert(graph.faces([1])),
        "pair": lambda: graph.pair(latent_image=empty_latent(1)),
    }[what]
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            start()
    finally:
        management.interrupt_current_processing(False)
    assert torch.equal(sample(graph, code), stock)


def test_what_learning_takes_is_said_before_and_in_the_report(graph, caplog):
    """Recorded in the log before the first of it, with the node's own number of noises."""
    with caplog.at_level("INFO"):
        report = graph.learn("readout", steps=4)[2]
    said = next(record.getMessage() for record in caplog.records if "evaluations of the model" in record.getMessage())
    assert "learning from 2 noises takes at most" in said
    assert said.endswith("MB of host memory")
    assert said.split(": ", 1)[1] in report


def test_a_readout_can_be_cancelled_while_it_trains(graph, monkeypatch):
    """Its training asks nothing of the model, which is where other methods notice."""
    import comfy.model_management as management
    from singular_edit.core.recipes import hspace

    record = hspace.record_prediction_changes

    def record_and_cancel(*args, **options):
        changes = record(*args, **options)
        management.interrupt_current_processing(True)
        return changes

    monkeypatch.setattr(hspace, "record_prediction_changes", record_and_cancel)
    try:
        with pytest.raises(management.InterruptProcessingException):
            graph.learn("readout")
    finally:
        management.interrupt_current_processing(False)


def test_a_readout_reads_the_prompt_alone(graph, code):
    readout = load_hdirection(readout_path("glasses"))
    assert torch.equal(edit(graph, code, readout, edit_uncond=True), edit(graph, code, readout))


def test_denoised_output_is_the_edited_picture(graph, code):
    """At strength 1 the picture without the edit is drawn last, to measure the change by."""
    (sampler,) = graph.run("AsyrpSampler", direction=load_hdirection(readout_path("glasses")))
    with torch.inference_mode():
        output, denoised = graph.custom.SamplerCustom().sample(
            graph.model, False, 0, CFG, graph.source, graph.negative, sampler, graph.schedule(STEPS), code
        )
    assert torch.equal(output["samples"], denoised["samples"])
