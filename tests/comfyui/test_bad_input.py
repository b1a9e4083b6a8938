"""Bad input to every node: one sentence that names the input and says what is accepted."""

from pathlib import Path

import pytest
import torch
from helpers.families import patcher
from helpers.graph import Graph, empty_latent
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def faces(graph):
    return graph.faces([1, 2])


@pytest.fixture(scope="module")
def transformer(graph):
    """A MODEL without a bottleneck: a small random SD3 transformer, with the demo model's latents."""
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
        return patcher(config.get_model({}, "", device=torch.device("cpu")))


def table(sigmas, channels):
    """A direction that was learned on a bottleneck of this width."""
    return TableDirection(sigmas[:-1], {"table": torch.ones(1, channels, 1, 1)})


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (torch.randn(1, 16, 8, 8), "latent_image has 16 channels but this MODEL works on 4"),
        (torch.full((1, 4, 16, 16), float("nan")), "latent_image contains NaN"),
        (torch.randn(1, 4, 3, 16, 16), "has 5 dimensions"),
        (torch.nested.nested_tensor([torch.randn(4, 8, 8), torch.randn(4, 16, 16)]), "is a .*plain latent"),
    ],
    ids=["channels", "nan", "video", "nested"],
)
def test_latents(graph, samples, said):
    with pytest.raises(EditError, match=said):
        graph.invert({"samples": samples})


def test_sigmas(graph, faces):
    with pytest.raises(EditError, match="sigmas holds 0 values"):
        graph.invert(faces, sigmas=torch.tensor([]))
    with pytest.raises(EditError, match="not flipped"):
        graph.invert(faces, sigmas=graph.sigmas.flip(0))
    with pytest.raises(EditError, match="stop_at_step is 25"):
        graph.invert(faces, stop_at_step=25)


def test_noise_of_another_size(graph, faces):
    noise = graph.invert(faces, sigmas=graph.schedule(4))[1]
    with pytest.raises(EditError, match="inverted noise has shape"):
        graph.sample_noise(noise, graph.faces([1]))


def test_codes_that_do_not_fit(graph, faces):
    with pytest.raises(EditError, match="must be the same size"):
        graph.run("SVDAttributeLearn", source=faces, target=graph.faces([1]))
    with pytest.raises(EditError, match="nothing to learn"):
        graph.run("SVDAttributeLearn", source=faces, target=faces)
    attribute = graph.run("SVDAttributeLearn", source=faces, target=graph.faces([3, 4]))[0]
    with pytest.raises(EditError, match="16 channels but attribute"):
        graph.run("LatentSVDEdit", latent={"samples": torch.randn(1, 16, 8, 8)}, attribute=attribute)


def test_no_bottleneck(graph, transformer):
    sigmas = graph.schedule(4, transformer)
    with pytest.raises(EditError, match="no U-Net bottleneck"):
        graph.learn("readout", model=transformer, latent_image=empty_latent(1), sigmas=sigmas)
    sampler = graph.asyrp(table(sigmas, 128))
    with pytest.raises(EditError, match=r"U-Net.*bottleneck"):
        graph.sample({"samples": torch.randn(1, 4, 16, 16)}, sampler, model=transformer, sigmas=sigmas)


def test_direction_of_another_model(graph, faces):
    sampler = graph.asyrp(table(graph.sigmas, 1280))
    with pytest.raises(EditError, match="1280 channels but this model has 128"):
        graph.sample(faces, sampler)


def test_a_direction_that_is_none(graph):
    with pytest.raises(EditError, match="direction is a str"):
        graph.asyrp("hat")


def test_files(graph):
    import folder_paths

    root = Path(folder_paths.get_folder_paths("latent_attributes")[0])
    root.mkdir(parents=True, exist_ok=True)
    (root / "broken.safetensors").write_bytes(b"not at all")
    with pytest.raises(EditError, match=r"'broken\.safetensors' is not a readable safetensors file"):
        graph.run("LoadSVDAttribute", file="broken.safetensors")
    assert "No file" in graph.pack["LoadHDirection"].validate_inputs(file="gone.safetensors")
    with pytest.raises(EditError, match="attribute is a dict"):
        graph.run("SaveAttribute", attribute={})
