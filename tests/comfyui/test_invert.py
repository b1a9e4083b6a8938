"""Latent Invert inside a real ComfyUI against the stock samplers, and bad input to every node."""

import pytest
import torch
from helpers.graph import Graph, psnr, relative
from singular_edit.core import EditError


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def faces(graph):
    return graph.faces([1, 2])


@pytest.mark.parametrize("cfg", [1.0, 1.5, 5.0])
def test_samplercustom_gives_the_picture_back(graph, faces, cfg):
    code, noise, report, _ = graph.invert(faces, cfg=cfg, positive=graph.target)
    sampled = graph.sample(code, cfg=cfg, positive=graph.target)
    assert relative(sampled, faces["samples"]) < 1e-3, report
    assert "model calls" in report


def test_ddim_is_worse_and_says_so(graph, faces):
    exact, ddim = (graph.sample(graph.invert(faces, method=method)[0]) for method in ("fixed_point", "ddim"))
    assert psnr(exact, faces["samples"]) > psnr(ddim, faces["samples"]) + 20
    assert "drift" in graph.invert(faces, method="ddim")[2]


@pytest.mark.parametrize(
    "sampler, scheduler",
    [
        ("euler", "kl_optimal"),
        ("ddim", "ddim_uniform"),
        ("heun", "karras"),
        ("dpm_2", "exponential"),
        ("dpmpp_2m", "karras"),
    ],
)
def test_every_stock_sampler_gives_the_picture_back_on_the_sigmas_output(graph, faces, sampler, scheduler):
    stock = graph.custom.KSamplerSelect().get_sampler(sampler)[0]
    sigmas = graph.custom.BasicScheduler().get_sigmas(graph.model, scheduler, 14, 1.0)[0]
    code, noise, report, matched = graph.invert(faces, cfg=1.5, sigmas=sigmas, sampler=stock)
    back = graph.sample(code, stock, cfg=1.5, sigmas=matched)
    assert relative(back, faces["samples"]) < 1e-3, report
    assert relative(graph.sample_noise(noise, faces, cfg=1.5, sampler=stock, sigmas=matched), faces["samples"]) < 1e-3
    if sampler not in ("euler", "ddim"):
        assert relative(graph.sample(code, graph.euler, cfg=1.5, sigmas=matched), faces["samples"]) > 5e-3


def test_partial_denoise_and_the_sigmas_output(graph, faces):
    sigmas = graph.custom.BasicScheduler().get_sigmas(graph.model, "karras", 14, 0.6)[0]
    stock = graph.custom.KSamplerSelect().get_sampler("dpmpp_2m")[0]
    code, _, report, matched = graph.invert(faces, sigmas=sigmas, stop_at_step=3, sampler=stock)
    assert torch.equal(matched, sigmas[3:])
    assert "Gaussian" not in report
    assert relative(graph.sample(code, stock, sigmas=matched), faces["samples"]) < 1e-3, report


@pytest.mark.parametrize("scheduler", ["simple", "sgm_uniform", "beta"])
def test_a_last_step_too_wide_for_the_picture_is_named(graph, faces, scheduler):
    """These schedules jump to 0 from where the model can no longer say every picture: D(x) = picture has no solution."""
    sigmas = graph.custom.BasicScheduler().get_sigmas(graph.model, scheduler, 12, 1.0)[0]
    code, _, report, _ = graph.invert(faces, sigmas=sigmas)
    assert "not solved to tolerance: step 11" in report
    assert "a schedule that ends lower" in report
    assert 1e-3 < relative(graph.sample(code, sigmas=sigmas), faces["samples"]) < 5e-2, report


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde", "dpm_adaptive", "uni_pc"])
def test_samplers_that_cannot_be_inverted_are_refused_by_name(graph, faces, name):
    with pytest.raises(EditError, match="cannot be inverted here.*euler, heun, dpm_2, dpmpp_2m"):
        graph.invert(faces, sampler=graph.custom.KSamplerSelect().get_sampler(name)[0])


def test_options_that_draw_noise_are_refused_and_ddim_is_for_euler(graph, faces):
    import comfy.samplers

    with pytest.raises(EditError, match="s_churn"):
        graph.invert(faces, sampler=comfy.samplers.ksampler("heun", {"s_churn": 5.0}))
    with pytest.raises(EditError, match="method ddim inverts euler, but the wired sampler is 'heun'"):
        graph.invert(faces, method="ddim", sampler=comfy.samplers.ksampler("heun"))


def test_quality_buys_accuracy_and_custom_reads_its_widgets(graph, faces):
    def run(**inputs):
        code, _, report, _ = graph.invert(faces, **inputs)
        return psnr(graph.sample(code), faces["samples"]), float(report.split("(")[1].split(" a step")[0])

    fast, good, exact = (run(quality=quality) for quality in ("fast", "good", "exact"))
    assert fast[0] > 50
    assert good[0] > fast[0] + 15
    assert exact[0] > good[0] + 3
    assert fast[1] < good[1] < exact[1]
    assert run(quality="custom", tolerance=4e-3, max_iterations=8) == fast
    assert run(quality="good", tolerance=0.1, max_iterations=1) == good


def test_the_report_says_how_gaussian_the_code_is(graph, faces):
    assert "code against Gaussian noise" in graph.invert(faces)[2]


def test_cancelling_leaves_the_model_as_it_was(graph, faces, monkeypatch):
    import comfy.model_management as management

    before, stock = graph.sample(faces), repr(graph.model.model_options)
    calls = []

    def interrupt():
        calls.append(None)
        if len(calls) == 7:
            raise management.InterruptProcessingException()

    with monkeypatch.context() as patch, pytest.raises(management.InterruptProcessingException):
        patch.setattr(management, "throw_exception_if_processing_interrupted", interrupt)
        graph.invert(faces)
    assert torch.equal(graph.sample(faces), before)
    assert repr(graph.model.model_options) == stock


def test_ksampler_advanced_starts_at_the_code(graph, faces):
    code = graph.invert(faces, cfg=2.0)[0]
    with torch.inference_mode():
        back = graph.stock.KSamplerAdvanced().sample(
            graph.model, "disable", 0, 25, 2.0, "euler", "normal", graph.source, graph.negative, code, 0, 25, "disable"
        )[0]
    assert relative(back["samples"], faces["samples"]) < 1e-3


@pytest.mark.parametrize("stop", [5, 18])
def test_partial_inversion_goes_on_with_ksampler_advanced(graph, faces, stop):
    code = graph.invert(faces, cfg=2.0, stop_at_step=stop)[0]
    back = graph.ksampler(code, start=stop)["samples"]
    assert relative(back, faces["samples"]) < 1e-3


@pytest.mark.parametrize("wired", ["empty", "picture", "other"])
def test_noise_starts_at_the_code_whatever_latent_is_wired(graph, faces, wired):
    latent = {"empty": {"samples": torch.zeros(2, 4, 16, 16)}, "picture": faces, "other": graph.faces([5, 6])}[wired]
    for stop in (0, 10):
        noise = graph.invert(faces, stop_at_step=stop)[1]
        back = graph.sample_noise(noise, latent, sigmas=graph.sigmas[stop:])
        assert relative(back, faces["samples"]) < 1e-3


def test_noise_with_a_mask_rebuilds_the_picture(graph, faces):
    masked = {**faces, "noise_mask": torch.ones(1, 1, 64, 64)}
    code, noise, report, _ = graph.invert(masked)
    assert "noise_mask" not in code
    assert "noise mask" in report
    assert relative(graph.sample_noise(noise, masked), faces["samples"]) < 1e-3


def test_other_keys_pass_through_and_the_input_is_not_changed(graph, faces):
    latent = {**faces, "batch_index": [3, 4], "noise_mask": torch.ones(1, 1, 64, 64)}
    before = latent["samples"].clone()
    code = graph.invert(latent)[0]
    assert code["batch_index"] == [3, 4]
    assert "noise_mask" in latent
    assert torch.equal(latent["samples"], before)


@pytest.fixture(scope="module")
def flow(graph):
    """The demo's U-Net as a flow model: what it draws is no face, but every formula of the family runs."""
    return graph.advanced.ModelSamplingSD3().patch(graph.model, 3.0)[0]


def test_v_prediction_comes_back(graph, faces):
    model = graph.advanced.ModelSamplingDiscrete().patch(graph.model, "v_prediction", False)[0]
    sigmas = graph.schedule(25, model)
    code, _, report, _ = graph.invert(faces, model=model, sigmas=sigmas)
    assert relative(graph.sample(code, model=model, sigmas=sigmas), faces["samples"]) < 1e-3, report


def test_flow_noise_is_exact_and_its_latent_is_refused_in_a_sentence(graph, flow, faces):
    from comfy_execution.graph_utils import ExecutionBlocker

    sigmas = graph.schedule(20, flow)
    assert sigmas[0] == 1
    latent, noise, report, _ = graph.invert(faces, model=flow, sigmas=sigmas, quality="exact")
    assert isinstance(latent, ExecutionBlocker)
    assert "NOISE output" in latent.message
    for wired in ({"samples": torch.zeros(2, 4, 16, 16)}, faces):
        assert relative(graph.sample_noise(noise, wired, model=flow, sigmas=sigmas), faces["samples"]) < 1e-3, report


def test_flow_below_one_has_a_latent(graph, flow, faces):
    sigmas = graph.schedule(20, flow)
    code = graph.invert(faces, model=flow, sigmas=sigmas, stop_at_step=4, quality="exact")[0]
    assert relative(graph.sample(code, model=flow, sigmas=sigmas[4:]), faces["samples"]) < 1e-3


def test_flow_latent_linked_raises_before_any_work(graph, flow, faces):
    node = graph.pack["LatentInvert"]

    class Linked(node):
        hidden = type("Hidden", (), {"prompt": {"9": {"inputs": {"latent_image": ["4", 0]}}}, "unique_id": "4"})

    with torch.inference_mode(), pytest.raises(EditError, match="no LATENT form"):
        Linked.execute(
            flow, graph.source, graph.negative, faces, graph.schedule(20, flow), 1.0, "fixed_point", 20, 1e-4, 0
        )


class TestBadInput:
    def test_latents(self, graph, faces):
        with pytest.raises(EditError, match="latent_image has 16 channels but this MODEL works on 4"):
            graph.invert({"samples": torch.randn(1, 16, 8, 8)})
        with pytest.raises(EditError, match="latent_image contains NaN"):
            graph.invert({"samples": torch.full((1, 4, 16, 16), float("nan"))})
        with pytest.raises(EditError, match="has 5 dimensions"):
            graph.invert({"samples": torch.randn(1, 4, 3, 16, 16)})
        with pytest.raises(EditError, match="is a .*plain latent"):
            graph.invert({"samples": torch.nested.nested_tensor([torch.randn(4, 8, 8), torch.randn(4, 16, 16)])})

    def test_sigmas(self, graph, faces):
        with pytest.raises(EditError, match="sigmas holds 0 values"):
            graph.invert(faces, sigmas=torch.tensor([]))
        with pytest.raises(EditError, match="not flipped"):
            graph.invert(faces, sigmas=graph.sigmas.flip(0))
        with pytest.raises(EditError, match="stop_at_step is 25"):
            graph.invert(faces, stop_at_step=25)

    def test_noise_of_another_size(self, graph, faces):
        noise = graph.invert(faces, sigmas=graph.schedule(4))[1]
        with pytest.raises(EditError, match="inverted noise has shape"):
            graph.sample_noise(noise, graph.faces([1]))

    def test_svd(self, graph, faces):
        with pytest.raises(EditError, match="must be the same size"):
            graph.run("SVDAttributeLearn", source=faces, target=graph.faces([1]))
        with pytest.raises(EditError, match="nothing to learn"):
            graph.run("SVDAttributeLearn", source=faces, target=faces)
        attribute = graph.run("SVDAttributeLearn", source=faces, target=graph.faces([3, 4]))[0]
        with pytest.raises(EditError, match="16 channels but attribute"):
            graph.run("LatentSVDEdit", latent={"samples": torch.randn(1, 16, 8, 8)}, attribute=attribute)

    def test_no_bottleneck(self, graph, transformer):
        sigmas, latent = graph.schedule(4, transformer), {"samples": torch.zeros(1, 4, 16, 16)}
        with pytest.raises(EditError, match="no U-Net bottleneck"):
            graph.run(
                "HDirectionLearn",
                model=transformer,
                source=graph.source,
                target=graph.target,
                negative=graph.negative,
                latent_image=latent,
                sigmas=sigmas,
            )
        from singular_edit.core.hspace.direction import TableDirection

        sampler = graph.run("AsyrpSampler", direction=TableDirection(sigmas[:-1], {"table": torch.ones(1, 128, 1, 1)}))[
            0
        ]
        with pytest.raises(EditError, match="U-Net.*bottleneck"):
            graph.sample({"samples": torch.randn(1, 4, 16, 16)}, sampler, model=transformer, sigmas=sigmas)

    def test_direction_of_another_model(self, graph, faces):
        from singular_edit.core.hspace.direction import TableDirection

        sampler = graph.run(
            "AsyrpSampler", direction=TableDirection(graph.sigmas[:-1], {"table": torch.ones(1, 1280, 1, 1)})
        )[0]
        with pytest.raises(EditError, match="1280 channels but this model has 128"):
            graph.sample(faces, sampler)
        with pytest.raises(EditError, match="direction is a str"):
            graph.run("AsyrpSampler", direction="hat")

    def test_files(self, graph, tmp_path):
        import folder_paths

        root = graph_root(folder_paths)
        (root / "broken.safetensors").write_bytes(b"not at all")
        with pytest.raises(EditError, match="'broken.safetensors' is not a readable safetensors file"):
            graph.run("LoadSVDAttribute", file="broken.safetensors")
        assert "No file" in graph.pack["LoadHDirection"].validate_inputs(file="gone.safetensors")
        with pytest.raises(EditError, match="attribute is a dict"):
            graph.run("SaveAttribute", attribute={})


def graph_root(folder_paths):
    from pathlib import Path

    root = Path(folder_paths.get_folder_paths("latent_attributes")[0])
    root.mkdir(parents=True, exist_ok=True)
    return root


@pytest.fixture(scope="module")
def transformer(graph):
    """A MODEL without a bottleneck: a small random SD3 transformer."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models

    class Tiny(comfy.supported_models.SD3):
        latent_format = type(graph.model.model.latent_format)

    config = Tiny(
        {
            "in_channels": 4,
            "patch_size": 2,
            "depth": 2,
            "input_size": None,
            "adm_in_channels": None,
            "context_embedder_config": None,
            "qk_norm": None,
            "out_channels": 4,
            "pos_embed_max_size": 64,
            "num_patches": 4096,
            "pos_embed_scaling_factor": None,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode():
        model = config.get_model({}, "", device=torch.device("cpu"))
    return comfy.model_patcher.ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=torch.device("cpu")
    )


def test_every_node_and_input_explains_itself(pack_nodes):
    from pathlib import Path

    docs = Path(__file__).parents[2] / "web" / "docs"
    for name, node in pack_nodes.items():
        schema = node.define_schema()
        schema.validate()
        assert schema.description and schema.category.startswith("Singular Edit"), name
        assert all(item.tooltip for item in [*schema.inputs, *schema.outputs]), name
        assert (docs / f"{schema.node_id}.md").read_text().startswith(f"# {schema.display_name}\n"), name
