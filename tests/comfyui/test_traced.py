"""Method traced of Latent Invert, and every node that takes its trace, inside a real ComfyUI."""

from functools import cache

import pytest
import torch
from helpers.families import FAMILIES, conditioning, latent, tiny
from helpers.tensors import psnr, relative
from singular_edit.core import EditError, load_hdirection
from singular_edit.demo.attributes import readout_path
from singular_edit.demo.faces import ATTRIBUTES

STEPS = 10


@pytest.fixture(scope="module")
def faces(graph):
    return graph.faces([11, 12], glasses="off")


@pytest.fixture(scope="module")
def sigmas(graph):
    return graph.schedule(STEPS)


@pytest.fixture(scope="module")
def traced(graph, faces, sigmas):
    """(code, noise, report, sigmas, trace) at a guidance where many steps have no solution."""
    return graph.trace(faces, sigmas=sigmas, cfg=7.5, positive=graph.target, measure=True)


@pytest.fixture(scope="module")
def learned(graph):
    """A direction of a method, each learned once."""
    return cache(lambda method: graph.learn(method)[0])


def traced_sampler(graph, trace):
    return graph.run("TracedSampler", trace=trace)[0]


def back(graph, traced, sampler, **inputs):
    """SamplerCustom from the code, at the inversion's guidance and prompt."""
    return graph.sample(traced[0], sampler, **{"cfg": 7.5, "positive": graph.target, "sigmas": traced[3], **inputs})


def decibels(report):
    """How exactly a report says that a picture comes back."""
    return 200.0 if "bit for bit" in report else float(report.split("comes back at ")[1].split(" dB")[0])


def test_the_picture_comes_back_at_one_call_a_step(graph, faces, traced):
    rebuilt = back(graph, traced, traced_sampler(graph, traced[4]))
    assert psnr(rebuilt, faces["samples"]) > 120
    assert "traced for euler: 10 steps" in traced[2]
    assert "10 model calls (1.00 a step)" in traced[2]
    assert decibels(traced[2]) > 120


def test_the_stock_sampler_needs_fixed_point(graph, faces, traced):
    assert psnr(back(graph, traced, graph.euler), faces["samples"]) < 60
    assert "for the stock samplers use fixed_point" in traced[2]


def test_every_method_reports_what_comes_back(graph, faces, sigmas):
    reported = {}
    for method in ("ddim", "fixed_point"):
        code, _, report, matched = graph.invert(faces, method=method, sigmas=sigmas, measure=True)
        reported[method] = decibels(report)
        rebuilt = graph.sample(code, sigmas=matched)
        assert reported[method] == pytest.approx(psnr(rebuilt, faces["samples"]), abs=3)
    assert reported["fixed_point"] > reported["ddim"] + 20


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_every_family_comes_back(graph, name, cfg):
    with torch.inference_mode():
        model = tiny(name)
    picture = latent(name, (8, 6))
    asked = dict(model=model, positive=conditioning(name, 1), negative=conditioning(name, 2), cfg=cfg)
    _, noise, report, matched, trace = graph.trace(picture, **asked, sigmas=graph.schedule(8, model))
    assert "8 model calls (1.00 a step)" in report
    sampler = traced_sampler(graph, trace)
    with torch.inference_mode():
        guider = graph.custom.CFGGuider().get_guider(model, asked["positive"], asked["negative"], cfg)[0]
        advanced = graph.custom.SamplerCustomAdvanced()
        rebuilt = advanced.sample(noise, guider, sampler, matched, picture)[0]["samples"]
    assert relative(rebuilt, picture["samples"]) < 1e-4
    assert torch.equal(picture["samples"], latent(name, (8, 6))["samples"])


@pytest.mark.parametrize("zero_snr", [False, True])
def test_v_prediction_comes_back(graph, zero_snr):
    with torch.inference_mode():
        model = graph.advanced.ModelSamplingDiscrete().patch(tiny("sd2_v"), "v_prediction", zero_snr)[0]
    picture = latent("sd2_v")
    asked = dict(model=model, positive=conditioning("sd2_v", 1), negative=conditioning("sd2_v", 2), cfg=5.0)
    report = graph.trace(picture, **asked, sigmas=graph.schedule(8, model), measure=True)[2]
    assert decibels(report) > 100, report


def test_a_part_of_the_way_comes_back(graph, faces, sigmas):
    part = graph.trace(faces, sigmas=sigmas, cfg=3.0, stop_at_step=4)
    assert torch.equal(part[3], sigmas[4:])
    rebuilt = graph.sample(part[0], traced_sampler(graph, part[4]), cfg=3.0, sigmas=part[3])
    assert psnr(rebuilt, faces["samples"]) > 120
    assert psnr(rebuilt, graph.sample(part[0], cfg=3.0, sigmas=part[3])) < 80


def test_another_prompt_edits_the_picture(graph, faces, sigmas):
    face = graph.trace(faces, sigmas=sigmas, cfg=2.0)
    sampler = traced_sampler(graph, face[4])
    edited = back(graph, face, sampler, cfg=2.0)
    with_glasses = graph.faces([11, 12], glasses="on")["samples"]
    assert psnr(edited, with_glasses) > psnr(faces["samples"], with_glasses) + 2


def test_asyrp_follows_the_trace(graph, traced):
    readout = load_hdirection(readout_path("hat"))
    plain = back(graph, traced, traced_sampler(graph, traced[4]))
    untouched = back(graph, traced, graph.asyrp(readout, strength=0.0, trace=traced[4]))
    assert torch.equal(untouched, plain)
    edited = back(graph, traced, graph.asyrp(readout, strength=1.5, trace=traced[4]))
    removed = back(graph, traced, graph.asyrp(readout, strength=-1.5, trace=traced[4]))
    assert relative(edited, plain) > 0.05
    assert float(((edited - plain) * (removed - plain)).sum()) < 0


@pytest.mark.parametrize("inputs", [{"symmetric": True}, {"boost_percent": 0.5}, {"method": "implicit"}])
def test_every_option_of_asyrp_follows_the_trace(graph, learned, traced, inputs):
    method = inputs.pop("method", "readout")
    direction = learned(method)
    followed = back(graph, traced, graph.asyrp(direction, strength=1.0, trace=traced[4], **inputs))
    stock = back(graph, traced, graph.asyrp(direction, strength=1.0, **inputs))
    assert torch.isfinite(followed).all()
    assert relative(followed, stock) > 1e-3


def test_a_mask_keeps_the_rest_exactly(graph, faces, traced):
    readout = load_hdirection(readout_path("hat"))
    nowhere = graph.asyrp(readout, strength=1.5, trace=traced[4], mask=torch.zeros(1, 64, 64))
    assert psnr(back(graph, traced, nowhere), faces["samples"]) > 120


@pytest.mark.parametrize("kind", ["prompt", "readout"])
def test_a_noise_mask_keeps_the_picture_outside_of_it(graph, faces, traced, kind):
    """Both ways of wiring it: the code with a mask, and the picture with a mask beside the NOISE output."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, :32] = 1
    kept, free = (..., slice(8, 16), slice(None)), (..., slice(0, 8), slice(None))
    if kind == "prompt":
        sampler, prompt = traced_sampler(graph, traced[4]), graph.prompt("a face with a hat")
    else:
        readout = load_hdirection(readout_path("hat"))
        sampler, prompt = graph.asyrp(readout, strength=1.5, edit_percent=1.0, trace=traced[4]), graph.target
    from_code = graph.sample({**traced[0], "noise_mask": mask}, sampler, cfg=7.5, positive=prompt, sigmas=traced[3])
    assert psnr(from_code[kept], faces["samples"][kept]) > 110
    assert psnr(from_code[free], faces["samples"][free]) < 40
    if kind == "readout":
        picture = {**faces, "noise_mask": mask}
        from_noise = graph.sample_noise(
            traced[1], picture, cfg=7.5, sampler=sampler, sigmas=traced[3], positive=graph.target
        )
        assert psnr(from_noise[kept], faces["samples"][kept]) > 110
        assert psnr(from_noise, from_code) > 80


def test_latent_svd_sampler_follows_the_trace(graph, faces, traced):
    source, target = graph.pair()[:2]
    attribute = graph.run("SVDAttributeLearn", source=source, target=target)[0]
    inputs = dict(wrapped=graph.euler, attribute=attribute, start_percent=0.68, trace=traced[4])
    untouched = back(graph, traced, graph.run("SVDSampler", **inputs, strength=0.0)[0])
    assert psnr(untouched, faces["samples"]) > 120
    edited = back(graph, traced, graph.run("SVDSampler", **inputs, strength=1.0)[0])
    # The same by hand: sample to the edited step, edit the code there, and go on from it.
    follow = traced_sampler(graph, traced[4])
    halfway = back(graph, traced, follow, sigmas=traced[3][:8])
    code = graph.run("LatentSVDEdit", latent={"samples": halfway}, attribute=attribute, strength=1.0)[0]
    by_hand = graph.sample(code, follow, cfg=7.5, positive=graph.target, sigmas=traced[3][7:])
    assert relative(edited, by_hand) < 1e-4
    assert relative(edited, untouched) > 1e-2


def test_latent_pair_follows_the_trace(graph, faces, sigmas):
    _, noise, _, matched, trace = graph.trace(faces, sigmas=sigmas, cfg=2.0)
    inputs = dict(noise=noise, latent_image=faces, sigmas=matched, at_step=6, first_parting=2, last_parting=4)
    source, target = graph.pair(**inputs, trace=trace)[:2]
    state = graph.model.model.process_latent_out(trace.states[6])
    assert relative(source["samples"], state) < 1e-5
    assert relative(target["samples"], state) > 1e-2
    assert relative(graph.pair(**inputs)[0]["samples"], state) > 1e-4


def test_an_attribute_learned_from_pictures_of_ones_own_comes_in_others(graph, demo, sigmas):
    """Eight pictures make a mean, and two more, which it was not learned from, come to wear glasses."""
    latent = graph.faces(range(21, 31), glasses="off")
    _, noise, _, matched, trace = graph.trace(latent, sigmas=sigmas, cfg=1.5)
    inputs = dict(noise=noise, latent_image=latent, sigmas=matched, at_step=6, first_parting=2, last_parting=2, cfg=1.5)
    codes, targets, rest, *_ = graph.pair(**inputs, trace=trace)
    source, target = ({"samples": code["samples"][:8]} for code in (codes, targets))
    learned = graph.run("SVDAttributeLearn", source=source, target=target, name="glasses")[0]
    code = graph.run("LatentSVDEdit", latent=codes, attribute=learned)[0]
    edited = graph.sample(code, traced_sampler(graph, trace), sigmas=rest, cfg=1.5)
    for latents, wears in ((latent["samples"], False), (edited, True)):
        pictures = demo.decode(graph.model.model.process_latent_in(latents[8:]))
        assert ((demo.logits(pictures)[:, ATTRIBUTES.index("glasses")] > 0) == wears).all()


def test_a_pair_at_another_target_cfg_differs_by_its_prompts_alone(graph, faces, sigmas):
    _, noise, _, matched, trace = graph.trace(faces, sigmas=sigmas, cfg=5.0)
    inputs = dict(noise=noise, latent_image=faces, sigmas=matched, at_step=6, first_parting=2, last_parting=4, cfg=5.0)
    state = graph.model.model.process_latent_out(trace.states[6])
    same_prompt = graph.pair(**inputs, target=graph.source, target_cfg=2.0, trace=trace)[1]["samples"]
    assert relative(same_prompt, state) < 1e-5
    assert relative(graph.pair(**inputs, target_cfg=2.0, trace=trace)[1]["samples"], state) > 1e-2


def test_a_trace_that_does_not_fit_is_said_in_a_sentence(graph, faces, traced, sigmas):
    follow = traced_sampler(graph, traced[4])
    with pytest.raises(EditError, match=r"10 steps from sigma .* is no part of the trace's"):
        back(graph, traced, follow, sigmas=graph.schedule(STEPS, scheduler="karras"))
    with pytest.raises(EditError, match="wire the code and the trace of the same Latent Invert"):
        graph.sample({"samples": torch.zeros(1, 4, 16, 24)}, follow, sigmas=sigmas)
    noise = graph.random_noise(5)
    with pytest.raises(EditError, match="The sampler adds noise to the trace's code"):
        graph.sample_noise(noise, traced[0], sampler=follow, sigmas=sigmas)
    with pytest.raises(EditError, match="The sampler adds noise to the trace's code"):
        graph.pair(noise=noise, latent_image=faces, sigmas=sigmas, at_step=6, last_parting=5, trace=traced[4])
    with pytest.raises(EditError, match="trace is a str"):
        graph.run("TracedSampler", trace="a trace")
    attribute = graph.run("SVDAttributeLearn", source=faces, target=graph.faces([11, 12], glasses="on"))[0]
    with pytest.raises(EditError, match="wrapped is 'heun', but a trace is of euler's steps"):
        graph.run("SVDSampler", wrapped=graph.sampler("heun"), attribute=attribute, trace=traced[4])


def test_other_methods_have_no_trace_and_say_so(graph, faces, sigmas):
    from comfy_execution.graph_utils import ExecutionBlocker

    for method in ("fixed_point", "ddim"):
        trace = graph.trace(faces, sigmas=sigmas, method=method)[4]
        assert isinstance(trace, ExecutionBlocker)
        assert "Only method traced" in trace.message
    with pytest.raises(EditError, match="method traced inverts euler, but the sampler is 'heun'"):
        graph.trace(faces, sigmas=sigmas, sampler=graph.sampler("heun"))


def test_a_trace_is_not_changed_by_sampling(graph, traced):
    before = traced[4].states.clone()
    back(graph, traced, traced_sampler(graph, traced[4]))
    assert torch.equal(traced[4].states, before)
