"""Latent Invert inside a real ComfyUI against the stock samplers."""

import pytest
import torch
from helpers.graph import empty_latent
from helpers.tensors import psnr, relative
from singular_edit.core import EditError


@pytest.fixture(scope="module")
def faces(graph):
    return graph.faces([1])


@pytest.fixture(scope="module")
def inverted(graph, faces):
    """(code, noise, report, sigmas) of the faces at the node's defaults."""
    return graph.invert(faces)


@pytest.fixture(scope="module")
def back(graph, inverted):
    """What the stock sampler makes of their code."""
    return graph.sample(inverted[0])


@pytest.mark.parametrize(("cfg", "seeds"), [(1.0, [1]), (5.0, [1, 2])])
def test_samplercustom_gives_the_picture_back(graph, cfg, seeds):
    faces = graph.faces(seeds)
    code, _, report, _ = graph.invert(faces, cfg=cfg, positive=graph.target)
    sampled = graph.sample(code, cfg=cfg, positive=graph.target)
    assert relative(sampled, faces["samples"]) < 1e-3, report
    assert "model calls" in report


def test_ddim_is_worse_and_says_so(graph, faces, back):
    code, _, report, _ = graph.invert(faces, method="ddim")
    assert psnr(back, faces["samples"]) > psnr(graph.sample(code), faces["samples"]) + 20
    assert "drift" in report


@pytest.mark.parametrize(
    ("sampler", "scheduler"),
    [
        ("euler", "kl_optimal"),
        ("ddim", "ddim_uniform"),
        ("heun", "karras"),
        ("dpm_2", "exponential"),
        ("dpmpp_2m", "karras"),
    ],
)
def test_every_stock_sampler_gives_the_picture_back_on_the_sigmas_output(graph, faces, sampler, scheduler):
    stock = graph.sampler(sampler)
    sigmas = graph.schedule(12, scheduler=scheduler)
    code, noise, report, matched = graph.invert(faces, cfg=1.5, sigmas=sigmas, sampler=stock)
    from_latent = graph.sample(code, stock, cfg=1.5, sigmas=matched)
    assert relative(from_latent, faces["samples"]) < 1e-3, report
    from_noise = graph.sample_noise(noise, faces, cfg=1.5, sampler=stock, sigmas=matched)
    assert relative(from_noise, faces["samples"]) < 1e-3
    if sampler not in ("euler", "ddim"):
        by_euler = graph.sample(code, graph.euler, cfg=1.5, sigmas=matched)
        assert relative(by_euler, faces["samples"]) > 5e-3


def test_partial_denoise_and_the_sigmas_output(graph, faces):
    sigmas = graph.schedule(10, scheduler="karras", denoise=0.6)
    stock = graph.sampler("dpmpp_2m")
    code, _, report, matched = graph.invert(faces, sigmas=sigmas, stop_at_step=3, sampler=stock)
    assert torch.equal(matched, sigmas[3:])
    assert "Gaussian" not in report
    assert relative(graph.sample(code, stock, sigmas=matched), faces["samples"]) < 1e-3, report


@pytest.mark.parametrize("scheduler", ["simple", "sgm_uniform", "beta"])
def test_a_last_step_too_wide_for_the_picture_is_named(graph, faces, scheduler):
    """These schedules jump to 0 from where the model cannot draw every picture: D(x) = picture has no solution."""
    sigmas = graph.schedule(12, scheduler=scheduler)
    code, _, report, _ = graph.invert(faces, sigmas=sigmas)
    assert "not solved to tolerance: step 11" in report
    assert "a schedule that ends lower" in report
    error = relative(graph.sample(code, sigmas=sigmas), faces["samples"])
    assert 1e-3 < error < 5e-2, report


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "dpm_adaptive", "uni_pc"])
def test_samplers_that_cannot_be_inverted_are_refused_by_name(graph, faces, name):
    with pytest.raises(EditError, match=r"cannot be inverted here.*euler, heun, dpm_2, dpmpp_2m"):
        graph.invert(faces, sampler=graph.sampler(name))


def test_options_that_draw_noise_are_refused_and_ddim_is_for_euler(graph, faces):
    import comfy.samplers

    with pytest.raises(EditError, match="s_churn"):
        graph.invert(faces, sampler=comfy.samplers.ksampler("heun", {"s_churn": 5.0}))
    with pytest.raises(EditError, match="method ddim inverts euler, but the sampler is 'heun'"):
        graph.invert(faces, method="ddim", sampler=comfy.samplers.ksampler("heun"))


def calls_a_step(report):
    return float(report.split("(")[1].split(" a step")[0])


def test_quality_buys_accuracy_and_custom_reads_its_widgets(graph, faces, inverted, back):
    fast_code, _, fast_report, _ = graph.invert(faces, quality="fast")
    exact_code, _, exact_report, _ = graph.invert(faces, quality="exact")
    fast = psnr(graph.sample(fast_code), faces["samples"])
    good = psnr(back, faces["samples"])
    exact = psnr(graph.sample(exact_code), faces["samples"])
    assert fast > 50
    assert good > fast + 15
    assert exact > good + 3
    assert calls_a_step(fast_report) < calls_a_step(inverted[2]) < calls_a_step(exact_report)
    custom_code, _, custom_report, _ = graph.invert(faces, quality="custom", tolerance=4e-3, max_iterations=8)
    assert torch.equal(custom_code["samples"], fast_code["samples"])
    assert custom_report == fast_report
    preset_code, _, preset_report, _ = graph.invert(faces, quality="fast", tolerance=0.1, max_iterations=1)
    assert torch.equal(preset_code["samples"], fast_code["samples"])
    assert preset_report == fast_report


def test_the_report_says_how_gaussian_the_code_is(inverted):
    assert "code against Gaussian noise" in inverted[2]


def test_cancelling_leaves_the_model_as_it_was(graph, faces, monkeypatch):
    import comfy.model_management as management

    sigmas = graph.schedule(4)
    before = graph.sample(faces, sigmas=sigmas)
    options = repr(graph.model.model_options)
    calls = []

    def interrupt():
        calls.append(None)
        if len(calls) == 7:
            raise management.InterruptProcessingException()

    with monkeypatch.context() as patch:
        patch.setattr(management, "throw_exception_if_processing_interrupted", interrupt)
        with pytest.raises(management.InterruptProcessingException):
            graph.invert(faces)
    assert torch.equal(graph.sample(faces, sigmas=sigmas), before)
    assert repr(graph.model.model_options) == options


@pytest.mark.parametrize("stop", [0, 5, 18])
def test_ksampler_advanced_starts_at_the_code(graph, faces, stop):
    code = graph.invert(faces, cfg=2.0, stop_at_step=stop)[0]
    sampler = graph.stock.KSamplerAdvanced()
    options = ("euler", "normal", graph.source, graph.negative, code, stop, 25, "disable")
    with torch.inference_mode():
        rebuilt = sampler.sample(graph.model, "disable", 0, 25, 2.0, *options)[0]["samples"]
    assert relative(rebuilt, faces["samples"]) < 1e-3


@pytest.fixture(scope="module")
def late_noise(graph, faces):
    """The NOISE of the faces at step 10."""
    return graph.invert(faces, stop_at_step=10)[1]


@pytest.mark.parametrize("wired", ["empty", "picture", "other"])
def test_noise_starts_at_the_code_whatever_latent_is_wired(graph, faces, inverted, late_noise, wired):
    latent = {"empty": empty_latent(1), "picture": faces, "other": graph.faces([5])}[wired]
    rebuilt = graph.sample_noise(inverted[1], latent)
    assert relative(rebuilt, faces["samples"]) < 1e-3
    rebuilt = graph.sample_noise(late_noise, latent, sigmas=graph.sigmas[10:])
    assert relative(rebuilt, faces["samples"]) < 1e-3


def test_noise_with_a_mask_rebuilds_the_picture(graph, faces):
    masked = {**faces, "noise_mask": torch.ones(1, 1, 64, 64)}
    code, noise, report, _ = graph.invert(masked)
    assert "noise_mask" not in code
    assert "noise mask" in report
    assert relative(graph.sample_noise(noise, masked), faces["samples"]) < 1e-3


def test_other_keys_pass_through_and_the_input_is_not_changed(graph, faces):
    latent = {**faces, "batch_index": [3], "noise_mask": torch.ones(1, 1, 64, 64)}
    before = latent["samples"].clone()
    code = graph.invert(latent, sigmas=graph.schedule(4))[0]
    assert code["batch_index"] == [3]
    assert "noise_mask" in latent
    assert torch.equal(latent["samples"], before)


def test_v_prediction_comes_back(graph, faces):
    model = graph.advanced.ModelSamplingDiscrete().patch(graph.model, "v_prediction", False)[0]
    sigmas = graph.schedule(25, model)
    code, _, report, _ = graph.invert(faces, model=model, sigmas=sigmas)
    assert relative(graph.sample(code, model=model, sigmas=sigmas), faces["samples"]) < 1e-3, report


@pytest.fixture(scope="module")
def flow(graph):
    """The demo's U-Net as a flow model: what it draws is no face, but every formula of the family runs."""
    return graph.advanced.ModelSamplingSD3().patch(graph.model, 3.0)[0]


def test_flow_noise_is_exact_and_its_latent_is_refused_in_a_sentence(graph, flow, faces):
    from comfy_execution.graph_utils import ExecutionBlocker

    sigmas = graph.schedule(20, flow)
    assert sigmas[0] == 1
    latent, noise, report, _ = graph.invert(faces, model=flow, sigmas=sigmas, quality="exact")
    assert isinstance(latent, ExecutionBlocker)
    assert "NOISE output" in latent.message
    for wired in (empty_latent(1), faces):
        rebuilt = graph.sample_noise(noise, wired, model=flow, sigmas=sigmas)
        assert relative(rebuilt, faces["samples"]) < 1e-3, report


def test_flow_below_one_has_a_latent(graph, flow, faces):
    sigmas = graph.schedule(20, flow)
    code = graph.invert(faces, model=flow, sigmas=sigmas, stop_at_step=4, quality="exact")[0]
    assert relative(graph.sample(code, model=flow, sigmas=sigmas[4:]), faces["samples"]) < 1e-3


def test_flow_latent_linked_raises_before_any_work(graph, flow, faces):
    node = graph.pack["LatentInvert"]

    class Linked(node):
        hidden = type("Hidden", (), {"prompt": {"9": {"inputs": {"latent_image": ["4", 0]}}}, "unique_id": "4"})

    inputs = dict(
        model=flow,
        positive=graph.source,
        negative=graph.negative,
        latent_image=faces,
        sigmas=graph.schedule(20, flow),
        cfg=1.0,
        method="fixed_point",
        max_iterations=20,
        tolerance=1e-4,
        stop_at_step=0,
    )
    with torch.inference_mode(), pytest.raises(EditError, match="no LATENT form"):
        Linked.execute(**inputs)
