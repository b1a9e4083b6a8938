"""Bad input to every node: one sentence that names the input and says what is accepted."""

from pathlib import Path

import pytest
import torch
from helpers.families import latent, tiny
from helpers.graph import empty_latent
from singular_edit.core import EditError
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.demo.attributes import svd_path


@pytest.fixture(scope="module")
def faces(graph):
    return graph.faces([1, 2])


@pytest.fixture(scope="module")
def video_model():
    """A MODEL without a place for h: a small random Wan."""
    with torch.inference_mode():
        return tiny("wan")


def table(sigmas, channels):
    """A direction that was learned on a bottleneck of this width."""
    return TableDirection(sigmas[:-1], {"table": torch.ones(1, channels, 1, 1)})


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (torch.randn(1, 16, 8, 8), "latent_image has 16 channels but this MODEL works on 4"),
        (torch.full((1, 4, 16, 16), float("nan")), "latent_image contains NaN"),
        (torch.full((1, 4, 16, 16), 1e7), "latent_image contains NaN, infinite or enormous"),
        (torch.randn(1, 4, 3, 16, 16), "has 5 dimensions"),
        (torch.nested.nested_tensor([torch.randn(4, 8, 8), torch.randn(4, 16, 16)]), "is a .*plain latent"),
        (torch.zeros(1, 4, 16, 16).to(torch.float8_e4m3fn), "is a torch.float8_e4m3fn; a plain latent"),
    ],
    ids=["channels", "nan", "enormous", "video", "nested", "float8"],
)
def test_latents(graph, samples, said):
    with pytest.raises(EditError, match=said):
        graph.invert({"samples": samples})


def test_a_picture_of_8_bit_floats(graph):
    image = torch.zeros(1, 64, 64, 3).to(torch.float8_e4m3fn)
    with pytest.raises(EditError, match=r"image is no picture \(\(1, 64, 64, 3\) torch.float8_e4m3fn\)"):
        graph.run("PreparePicture", model=graph.model, clip=graph.clip, vae=graph.vae, image=image)


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


def test_no_bottleneck(graph, video_model):
    sigmas = graph.schedule(4, video_model)
    with pytest.raises(EditError, match="no U-Net bottleneck"):
        graph.learn("readout", model=video_model, latent_image=empty_latent(1), sigmas=sigmas)
    sampler = graph.asyrp(table(sigmas, 128))
    with pytest.raises(EditError, match=r"U-Net.*bottleneck"):
        graph.sample(latent("wan"), sampler, model=video_model, sigmas=sigmas)


def test_prompts_of_another_model(graph):
    with torch.inference_mode():
        model = tiny("sd3")
    wide = [[torch.randn(1, 8, 33), {}]]
    with pytest.raises(EditError, match="source is of a text encoder of width 33, but 64 is accepted here"):
        graph.pair(model=model, source=wide, target=wide, negative=wide)


@pytest.mark.parametrize("part", [[torch.zeros(8, 64), {}], [torch.zeros(1, 8, 64), None], [torch.zeros(1, 8, 64)]])
def test_what_is_no_prompt(graph, part):
    with pytest.raises(EditError, match="source is no CONDITIONING"):
        graph.pair(source=[part])


WIDGETS = [
    ("DemoFace", dict(seed=2**64), "seed is 18446744073709551616; a whole number from 0 to"),
    ("DemoFace", dict(seed=-1), "seed is -1; a whole number"),
    ("DemoFace", dict(seed=None), "seed is missing"),
    ("DemoFace", dict(smile="x_{"), "smile is 'x_{'; as drawn, on, off are accepted"),
    ("StrengthSweep", dict(count=0), "count is 0; a whole number from 1 to"),
    ("StrengthSweep", dict(first=float("nan")), "first is nan; a number from -10 to 10"),
    ("StrengthSweep", dict(last=float("inf")), "last is inf; a number from -10 to 10"),
    ("StrengthSweep", dict(latent={}), "latent is a dict; wire a LATENT"),
    ("SaveAttribute", dict(filename_prefix="../../x"), r"filename_prefix is '../../x'; a name that every system takes"),
    ("SaveAttribute", dict(filename_prefix="a\\b"), "filename_prefix is"),
    ("SaveAttribute", dict(creator="\ud800"), "creator is '', which is no plain text"),
    ("LoadAttribute", dict(file="a\0b"), "file is 'a b', which is no plain text"),
    ("LoadSVDAttribute", dict(file=7), "file is '7', which is no plain text"),
    ("LoadHDirection", dict(file="../x"), r"No file '\.\./x' in models/latent_attributes"),
]


@pytest.mark.parametrize(("node", "inputs", "said"), WIDGETS)
def test_values_that_no_page_sends(graph, faces, node, inputs, said):
    honest = {
        "StrengthSweep": dict(latent=faces, attribute=load_attribute(svd_path("hat"))),
        "SaveAttribute": dict(attribute=load_attribute(svd_path("hat"))),
    }
    with pytest.raises(EditError, match=said) as raised:
        graph.run(node, **{**honest.get(node, {}), **inputs})
    assert len(str(raised.value)) <= 300
    assert str(raised.value).isprintable()


def test_nothing_on_an_optional_wire_is_no_wire(graph):
    assert torch.equal(*(graph.run("DemoFace", seed=3, **given)[0] for given in ({}, {"network": None})))


def test_two_savers_never_share_a_name(graph):
    attribute = load_attribute(svd_path("hat"))
    names = [graph.run("SaveAttribute", attribute=attribute, filename_prefix="people/hat")[0] for _ in range(3)]
    assert names == [f"people/hat_{i:05}_.safetensors" for i in (1, 2, 3)]


def test_names_are_no_formulas(graph, faces):
    for name in ("$x_{", r"$\frac$", "x^", "k" * 3000):
        graph.run("SVDAttributeLearn", source=faces, target=graph.faces([3, 4]), name=name)


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
