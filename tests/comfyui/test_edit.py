"""Learning and editing inside a real ComfyUI, with stock nodes on both sides, in one process."""

import pytest
import torch
from helpers.graph import Graph, relative


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def code(graph):
    return graph.invert(graph.faces([11, 12], glasses="off"), cfg=1.5)[0]


@pytest.fixture(scope="module")
def learn(graph):
    def run(method="implicit", **inputs):
        return graph.run(
            "HDirectionLearn",
            **{
                **dict(
                    model=graph.model,
                    source=graph.source,
                    target=graph.target,
                    negative=graph.negative,
                    method=method,
                    latent_image={"samples": torch.zeros(4, 4, 16, 16)},
                    sigmas=graph.schedule(12),
                    samples=4,
                    steps=12,
                    name="glasses",
                ),
                **inputs,
            },
        )

    return run


@pytest.fixture(scope="module")
def direction(learn):
    return learn()[0]


def weights(model):
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def test_strength_zero_and_a_closed_window_are_the_stock_sampler_bit_for_bit(graph, code, direction):
    stock = graph.sample(code, cfg=1.5)
    for inputs in (dict(strength=0.0), dict(edit_percent=0.0)):
        sampler = graph.run("AsyrpSampler", direction=direction, **inputs)[0]
        assert torch.equal(graph.sample(code, sampler, cfg=1.5), stock)


def test_an_edit_changes_the_picture_and_leaves_nothing_behind(graph, code, learn):
    before, stock, options = (
        weights(graph.model),
        graph.ksampler({"samples": torch.zeros(2, 4, 16, 16)}),
        repr(graph.model.model_options),
    )
    direction = learn("global")[0]
    sampler = graph.run("AsyrpSampler", direction=direction, strength=1.0)[0]
    edited = graph.sample(code, sampler, cfg=1.5)
    assert relative(edited, graph.sample(code, cfg=1.5)) > 1e-3
    assert torch.isfinite(edited).all()
    assert torch.equal(graph.ksampler({"samples": torch.zeros(2, 4, 16, 16)})["samples"], stock["samples"])
    assert all(torch.equal(before[name], value) for name, value in weights(graph.model).items())
    assert repr(graph.model.model_options) == options
    assert not any(getattr(module, "weight_function", []) for module in graph.model.model.modules())


@pytest.mark.parametrize("method", ["readout", "combined", "implicit", "global", "vector", "difference"])
def test_every_method_learns_and_comes_back_from_its_file(graph, code, learn, method):
    direction, plot, report = learn(method, steps=30)
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert method in report
    path = graph.run("SaveAttribute", attribute=direction, filename_prefix=f"test/{method}")[0]
    again = graph.run("LoadHDirection", file=path)[0]
    once, twice = (graph.sample(code, graph.run("AsyrpSampler", direction=d)[0], cfg=1.5) for d in (direction, again))
    assert torch.allclose(once, twice, atol=1e-4)


def test_learning_is_repeatable_and_gets_better(graph, learn):
    first, again = learn(steps=5)[0], learn(steps=5)[0]
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    report = learn(steps=40)[2]
    assert float(report.split("loss ")[1].split()[0]) < 0.9


def test_edit_uncond_and_boost_and_seed(graph, code, direction):
    run = lambda **inputs: graph.sample(code, graph.run("AsyrpSampler", direction=direction, **inputs)[0], cfg=1.5)
    plain = run()
    assert not torch.equal(run(edit_uncond=True), plain)
    boosted = run(boost_percent=0.7, noise_seed=1)
    assert torch.equal(boosted, run(boost_percent=0.7, noise_seed=1))
    assert not torch.equal(boosted, run(boost_percent=0.7, noise_seed=2))
    assert not torch.equal(boosted, plain)
    assert torch.equal(run(boost_percent=0.7, eta=0.0), plain)


def test_the_svd_pair_from_ksampler_advanced(graph):
    shape = {"samples": torch.zeros(2, 4, 16, 16)}
    hat = graph.prompt("a face with a hat")
    source, target = graph.ksampler(shape, end=14), graph.ksampler(shape, hat, end=14)
    before = source["samples"].clone()
    attribute, plot, report = graph.run("SVDAttributeLearn", source=source, target=target, name="hat")
    assert "hat" in report
    assert plot.shape[-1] == 3
    same = graph.run("LatentSVDEdit", latent={**source, "batch_index": [0, 1]}, attribute=attribute, strength=0.0)[0]
    assert torch.equal(same["samples"], source["samples"])
    assert same["batch_index"] == [0, 1]
    edited = graph.run("LatentSVDEdit", latent=source, attribute=attribute)[0]
    done, plain = (graph.ksampler(latent, start=14)["samples"] for latent in (edited, source))
    assert relative(done, plain) > 0.05
    # The edit goes towards the target, not away from it.
    goal = graph.ksampler(target, start=14)["samples"]
    assert relative(done, goal) < relative(plain, goal)
    away = graph.run("LatentSVDEdit", latent=source, attribute=attribute, strength=-1.0)[0]
    assert relative(graph.ksampler(away, start=14)["samples"], goal) > relative(plain, goal)
    assert torch.equal(source["samples"], before)
    path = graph.run("SaveAttribute", attribute=attribute, filename_prefix="hat")[0]
    loaded = graph.run("LoadSVDAttribute", file=path)[0]
    assert torch.equal(graph.run("LatentSVDEdit", latent=source, attribute=loaded)[0]["samples"], edited["samples"])


def test_the_trained_predictor_agrees_with_the_closed_form_and_can_be_cancelled(graph):
    import comfy.model_management as management

    shape = {"samples": torch.zeros(1, 4, 16, 16)}
    source, target = graph.ksampler(shape, end=14), graph.ksampler(shape, graph.prompt("hat"), end=14)
    learn = lambda **inputs: graph.run("SVDAttributeLearn", source=source, target=target, **inputs)
    edit = lambda attribute: graph.run("LatentSVDEdit", latent=source, attribute=attribute)[0]["samples"]
    exact, (trained, _, report) = edit(learn()[0]), learn(predictor="mlp")
    assert relative(edit(trained), exact) < 0.1 * relative(source["samples"], exact)
    assert "times that of the closed form" in report
    path = graph.run("SaveAttribute", attribute=trained, filename_prefix="mlp")[0]
    assert torch.equal(edit(graph.run("LoadSVDAttribute", file=path)[0]), edit(trained))
    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        learn(predictor="mlp")
    management.interrupt_current_processing(False)


def test_a_mask_limits_the_svd_edit(graph):
    shape = {"samples": torch.zeros(1, 4, 16, 16)}
    source, target = graph.ksampler(shape, end=14), graph.ksampler(shape, graph.prompt("hat"), end=14)
    attribute = graph.run("SVDAttributeLearn", source=source, target=target)[0]
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    edited = graph.run("LatentSVDEdit", latent=source, attribute=attribute, mask=mask)[0]["samples"]
    assert torch.equal(edited[..., 8:, :], source["samples"][..., 8:, :])
    assert not torch.equal(edited[..., :8, :], source["samples"][..., :8, :])


def lora(graph):
    """A random LoRA of rank 2 on two attention layers and the middle block, in the common key format."""
    import comfy.lora

    keys = [
        key
        for key in comfy.lora.model_lora_keys_unet(graph.model.model, {})
        if key.startswith("lora_unet_") and "to_v" in key
    ]
    generator, state = torch.Generator().manual_seed(0), {}
    for key in keys:
        target = comfy.lora.model_lora_keys_unet(graph.model.model, {})[key]
        out, into = graph.model.model.state_dict()[target].shape[:2]
        state[f"{key}.lora_up.weight"] = 0.3 * torch.randn(out, 2, generator=generator)
        state[f"{key}.lora_down.weight"] = 0.3 * torch.randn(2, into, generator=generator)
        state[f"{key}.alpha"] = torch.tensor(2.0)
    assert keys
    return state


def controlnet(graph):
    """A small random ControlNet of the demo U-Net's shape; its zero convolutions are given values so that it acts."""
    import comfy.cldm.cldm
    import comfy.controlnet
    import comfy.ops

    config = {
        k: v
        for k, v in graph.model.model.model_config.unet_config.items()
        if k not in ("out_channels", "transformer_depth_output", "use_temporal_attention", "use_temporal_resblock")
    }
    torch.manual_seed(0)
    network = comfy.cldm.cldm.ControlNet(
        **config, hint_channels=3, operations=comfy.ops.disable_weight_init, device="cpu"
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"), manual_cast_dtype=torch.float32)


@pytest.mark.parametrize("what", ["lora", "controlnet", "both"])
def test_with_a_lora_and_a_controlnet(graph, what, learn):
    """The whole chain under patches: exact round trip, bit-identical at strength 0, a direction learned and used, a pair of codes that goes back to the picture."""
    import comfy.sd

    import nodes

    model, source, target = graph.model, graph.source, graph.target
    with torch.inference_mode():
        if what != "controlnet":
            model = comfy.sd.load_lora_for_models(graph.model, None, lora(graph), 1.0, 0)[0]
        if what != "lora":
            hint = graph.run("DemoFace", seed=3)[0].repeat_interleave(2, 1).repeat_interleave(2, 2)
            net = controlnet(graph)
            source, target = (nodes.ControlNetApply().apply_controlnet(c, net, hint, 1.0)[0] for c in (source, target))
    faces = graph.faces([21])
    code, noise, report, _ = graph.invert(faces, model=model, positive=source, cfg=1.5)
    back = graph.sample(code, cfg=1.5, positive=source, model=model)
    assert relative(back, faces["samples"]) < 1e-3, report
    assert relative(graph.sample(code, cfg=1.5), back) > 1e-2  # the patches do act
    direction = learn(
        "global",
        model=model,
        source=source,
        target=target,
        samples=2,
        latent_image={"samples": torch.zeros(2, 4, 16, 16)},
    )[0]
    still = graph.run("AsyrpSampler", direction=direction, strength=0.0)[0]
    assert torch.equal(graph.sample(code, still, cfg=1.5, positive=source, model=model), back)
    moved = graph.sample(code, graph.run("AsyrpSampler", direction=direction)[0], cfg=1.5, positive=source, model=model)
    assert torch.isfinite(moved).all()
    assert not torch.equal(moved, back)
    ours, wanted, sigmas, *_ = graph.run(
        "LatentPair",
        model=model,
        source=source,
        target=target,
        negative=graph.negative,
        noise=noise,
        latent_image=faces,
        sigmas=graph.sigmas,
        cfg=1.5,
    )
    assert (
        relative(graph.sample(ours, cfg=1.5, positive=source, model=model, sigmas=sigmas), back)
        < 1e-4
        < 1e-2
        < relative(wanted["samples"], ours["samples"])
    )


def test_the_h_patch_comes_before_other_patches(graph, code, direction):
    """FreeU acts on the same block; the edit must see the raw bottleneck, and both must act."""
    from comfy_extras.nodes_freelunch import FreeU

    with torch.inference_mode():
        free = FreeU().patch(graph.model, 1.2, 1.3, 0.9, 0.5)[0]
    sampler = graph.run("AsyrpSampler", direction=direction)[0]
    assert torch.isfinite(graph.sample(code, sampler, cfg=1.5, model=free)).all()
    still = graph.run("AsyrpSampler", direction=direction, strength=0.0)[0]
    assert torch.equal(graph.sample(code, still, cfg=1.5, model=free), graph.sample(code, cfg=1.5, model=free))


def test_cancel_leaves_the_model_clean(graph, learn, direction):
    import comfy.model_management as management

    stock = graph.ksampler({"samples": torch.zeros(1, 4, 16, 16)})["samples"]
    pair = lambda: graph.run(
        "LatentPair",
        model=graph.model,
        source=graph.source,
        target=graph.target,
        negative=graph.negative,
        sigmas=graph.sigmas,
        noise=graph.custom.RandomNoise().get_noise(0)[0],
        latent_image={"samples": torch.zeros(1, 4, 16, 16)},
    )
    for start in (lambda: learn("global"), lambda: graph.invert(graph.faces([1])), pair):
        management.interrupt_current_processing(True)
        with pytest.raises(management.InterruptProcessingException):
            start()
        management.interrupt_current_processing(False)
    assert torch.equal(graph.ksampler({"samples": torch.zeros(1, 4, 16, 16)})["samples"], stock)


def test_a_readout_can_be_cancelled_while_it_trains(graph, learn, monkeypatch):
    """Its training asks nothing of the model, which is where other methods notice."""
    import comfy.model_management as management
    from singular_edit.nodes import hspace_learn as hspace

    record = hspace.record_prediction_changes

    def record_and_cancel(*args, **kwargs):
        changes = record(*args, **kwargs)
        management.interrupt_current_processing(True)
        return changes

    monkeypatch.setattr(hspace, "record_changes", record_and_cancel)
    try:
        with pytest.raises(management.InterruptProcessingException):
            learn("readout")
    finally:
        management.interrupt_current_processing(False)
