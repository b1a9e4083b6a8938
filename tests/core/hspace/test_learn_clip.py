"""Directional CLIP loss: in closed form, and through small random CLIP models inside ComfyUI."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.graph import Graph
from helpers.tensors import noise, relative
from singular_edit.core import EditError, Training, record_trajectories
from singular_edit.core.hspace.learn_clip import ClipObjective, directional_loss, learn_clip_direction


def test_the_loss_is_an_angle():
    source = torch.tensor([[1.0, 0.0, 0.0]])
    text = torch.tensor([-1.0, 1.0, 0.0])
    towards = torch.tensor([[0.0, 3.0, 0.0]])
    away = torch.tensor([[0.0, -2.0, 0.0]])
    assert float(directional_loss(towards, source, text)) == pytest.approx(0, abs=1e-5)
    assert float(directional_loss(away, source, text)) == pytest.approx(1)
    assert float(directional_loss(towards, source, -text)) == pytest.approx(2)
    assert float(directional_loss(source, source, text)) == pytest.approx(1)


def channel_means(pictures):
    """Embed a picture as the mean of each channel and a 1, so that the text's direction is known in pictures too."""
    return torch.cat([pictures.mean(dim=(2, 3)), torch.ones(len(pictures), 1)], dim=1)


def test_learning_moves_the_pictures_along_the_text_and_identity_holds_them():
    denoise = LinearBottleneck(gain=0.5)
    trajectories = record_trajectories(denoise, denoise, 14 * noise((6, 4, 8, 8)), karras(8))
    text = torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0])
    training = Training(steps=160, learning_rate=0.02, batch=4)

    def learn(identity):
        objective = ClipObjective(channel_means, text, identity)
        direction, losses = learn_clip_direction(denoise, trajectories, objective, "global", training, end_sigma=0.5)
        return direction.tensors["table"][0].mean(dim=(1, 2)), losses

    free, losses = learn(0.0)
    assert losses[0] > 0.5
    assert sum(losses[-8:]) / 8 < 0.4
    assert free[0] > 0.05
    assert free[1] < -0.05
    held, _ = learn(10.0)
    assert held[0] > 0.05
    assert held[1] < -0.05
    beside_the_text = free[2:].abs().max()
    assert held[2:].abs().max() < 0.3 * beside_the_text


def test_equal_texts_get_a_sentence():
    denoise = LinearBottleneck(gain=0.5)
    trajectories = record_trajectories(denoise, denoise, 14 * noise((6, 4, 8, 8)), karras(8))
    objective = ClipObjective(channel_means, torch.zeros(5))
    with pytest.raises(EditError, match="same CLIP embedding"):
        learn_clip_direction(denoise, trajectories, objective, "global", Training(steps=1, learning_rate=0.02))


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


def vision(folder, width=16):
    """A ClipVisionModel of two layers with random weights, loaded as ComfyUI loads one: in inference mode."""
    import comfy.clip_vision

    config = {
        "hidden_size": 32,
        "image_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "patch_size": 8,
        "num_channels": 3,
        "hidden_act": "quick_gelu",
        "projection_dim": width,
        "model_type": "clip_vision_model",
        "layer_norm_eps": 1e-5,
    }
    (folder / "vision.json").write_text(json.dumps(config))
    with torch.inference_mode():
        model = comfy.clip_vision.ClipVisionModel(str(folder / "vision.json"))
        randomise(model.model)
    return model


def text_encoder(projection=True):
    """A CLIP object around ComfyUI's own SDClipModel, small; without a projection it is the identity, as for SD 1.5."""
    import comfy.sd
    import comfy.sd1_clip
    import comfy.supported_models_base

    config = {
        "num_hidden_layers": 2,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_act": "quick_gelu",
        "max_position_embeddings": 77,
        "eos_token_id": 49407,
    }

    class Small(comfy.sd1_clip.SDClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None):
            super().__init__(
                device=device,
                textmodel_json_config=dict(config),
                dtype=dtype,
                model_options=model_options or {},
            )

    class Model(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device="cpu", dtype=None, model_options=None):
            super().__init__(device=device, dtype=dtype, model_options=model_options or {}, clip_model=Small)

    class Tokenizer(comfy.sd1_clip.SD1Tokenizer):
        pass

    with torch.inference_mode():
        clip = comfy.sd.CLIP(
            comfy.supported_models_base.ClipTarget(Tokenizer, Model),
            parameters=1000,
            model_options={"dtype": torch.float32},
        )
        randomise(clip.cond_stage_model)
        if not projection:
            clip.cond_stage_model.clip_l.transformer.text_projection.weight.copy_(torch.eye(16))
    return clip


def randomise(module):
    """Draw weights in place: norms near 1, biases near 0, all others by their width."""
    generator = torch.Generator().manual_seed(0)
    for name, weight in module.named_parameters():
        deviation = 0.5 / weight[0].numel() ** 0.5 if weight.ndim > 1 else 0.02
        is_norm = weight.ndim == 1 and "norm" in name and name.endswith("weight")
        weight.copy_(deviation * torch.randn(weight.shape, generator=generator) + (1.0 if is_norm else 0.0))


@pytest.fixture(scope="module")
def parts(graph, tmp_path_factory):
    """The inputs that method clip needs beside the others."""
    return {
        "vae": graph.vae,
        "clip_vision": vision(tmp_path_factory.mktemp("clip")),
        "clip": text_encoder(),
        "source_text": "face",
        "target_text": "smiling face",
    }


@pytest.fixture(scope="module")
def learn(graph):
    """H-Direction Learn of method clip, on two noises in four steps."""
    fixed = {
        "model": graph.model,
        "source": graph.source,
        "target": graph.target,
        "negative": graph.negative,
        "method": "clip",
        "latent_image": {"samples": torch.zeros(2, 4, 16, 16)},
        "sigmas": graph.schedule(4),
        "name": "smile",
        "samples": 2,
        "steps": 6,
    }

    def run(**inputs):
        return graph.run("HDirectionLearn", **{**fixed, **inputs})

    return run


def test_it_learns_inside_comfyui_and_leaves_nothing_behind(graph, parts, learn):
    modules = (graph.model.model, graph.vae.first_stage_model, parts["clip_vision"].model)

    def states():
        values = []
        for module in modules:
            values += [value.clone() for value in module.state_dict().values()]
        return values

    before = states()
    direction, plot, report = learn(**parts)
    assert "clip" in direction.info["method"]
    assert plot.shape[-1] == 3
    assert "strength is as learned" in report
    assert all(torch.isfinite(tensor).all() for tensor in direction.tensors.values())
    assert direction.tensors["out.weight"].abs().max() > 0
    assert all(torch.equal(a, b) for a, b in zip(before, states(), strict=True))
    again = learn(**parts)[0]
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in direction.tensors.items())

    sigmas = graph.schedule(4)
    code = {"samples": graph.model.model.process_latent_out(14.6 * noise((1, 4, 16, 16), seed=1))}
    sampler = graph.run("AsyrpSampler", direction=direction, strength=1.0)[0]
    edited = graph.sample(code, sampler, sigmas=sigmas)
    stock = graph.sample(code, graph.euler, sigmas=sigmas)
    assert torch.isfinite(edited).all()
    assert relative(edited, stock) > 1e-5


def test_the_embedding_is_comfyuis_own(graph, parts):
    """Ours, differentiable, beside VAE Decode and CLIP Vision Encode."""
    from singular_edit.backends.comfyui.clip import PictureEmbedding

    with torch.inference_mode():
        latent = graph.faces([3])["samples"]
        wanted = parts["clip_vision"].encode_image(graph.vae.decode(latent))["image_embeds"]
    model = graph.model.model
    embed = PictureEmbedding(graph.vae, parts["clip_vision"], model.process_latent_out, torch.device("cpu"))
    x = model.process_latent_in(latent.clone()).clone().requires_grad_()
    ours = embed(x)
    # ComfyUI's picture is clamped and rounded to 8 bits.
    assert relative(ours.detach(), wanted.clone()) < 0.02
    ours.sum().backward()
    assert x.grad.abs().max() > 0


def test_gradients_pass_stable_diffusions_own_vae(parts):
    """A small random AutoencoderKL: every latent place has a part in what CLIP sees."""
    from types import SimpleNamespace

    from comfy.ldm.models.autoencoder import AutoencoderKL
    from singular_edit.backends.comfyui.clip import PictureEmbedding

    config = {
        "double_z": True,
        "z_channels": 4,
        "resolution": 32,
        "in_channels": 3,
        "out_ch": 3,
        "ch": 32,
        "ch_mult": [1, 2],
        "num_res_blocks": 1,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    with torch.inference_mode():
        network = AutoencoderKL(ddconfig=config, embed_dim=4).eval()
        randomise(network)
    vae = SimpleNamespace(first_stage_model=network)
    embed = PictureEmbedding(vae, parts["clip_vision"], lambda x: x, torch.device("cpu"))
    x = noise((1, 4, 8, 8)).requires_grad_()
    embed(x).square().sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).all()


def test_what_is_missing_or_does_not_fit_gets_a_sentence(parts, learn, tmp_path):
    with pytest.raises(EditError, match="method clip lacks vae, target_text"):
        learn(**{**parts, "vae": None, "target_text": ""})
    with pytest.raises(EditError, match=r"clip has no text projection.*SD 1\.5's own text encoder has none"):
        learn(**{**parts, "clip": text_encoder(projection=False)})
    with pytest.raises(EditError, match="clip's texts have 16 numbers but clip_vision's pictures have 24"):
        learn(**{**parts, "clip_vision": vision(tmp_path, 24)})
