"""The Latent SVD nodes inside a real ComfyUI: sampler, latent operation, combining, sweeping, swapping, spectra."""

import importlib
from typing import NamedTuple

import pytest
import torch
from helpers import families
from helpers.tensors import noise, relative
from torch import Tensor

STEP = 17  # progress 0.68 of 25 steps
SIGMA_MAX = 14.6


class Codes(NamedTuple):
    """LATENTs of two pictures from one noise."""

    start: dict[str, Tensor]
    source: dict[str, Tensor]
    target: dict[str, Tensor]


@pytest.fixture(scope="module")
def codes(graph):
    """The start, and the codes of both prompts at STEP."""
    scale = graph.model.get_model_object("latent_format").scale_factor
    start = {"samples": noise((2, 4, 16, 16)) * SIGMA_MAX / scale}
    part = graph.sigmas[: STEP + 1]
    source = {"samples": graph.sample(start, sigmas=part, positive=graph.source)}
    target = {"samples": graph.sample(start, sigmas=part, positive=graph.target)}
    return Codes(start, source, target)


@pytest.fixture(scope="module")
def plain(graph, codes):
    """What the stock sampler makes of the start."""
    return graph.sample(codes.start)


@pytest.fixture(scope="module")
def attribute(graph, codes):
    return graph.run("SVDAttributeLearn", source=codes.source, target=codes.target, name="glasses")[0]


def wrap(graph, attribute, name="euler", **inputs):
    return graph.run("SVDSampler", wrapped=graph.sampler(name), attribute=attribute, **inputs)[0]


def edit(graph, latent, attribute, **inputs):
    return graph.run("LatentSVDEdit", latent=latent, attribute=attribute, **inputs)[0]["samples"]


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "dpmpp_sde", "heun", "uni_pc", "ddim"])
def test_strength_zero_is_the_wrapped_sampler_bit_for_bit(graph, codes, attribute, name):
    short = graph.schedule(6)
    stock = graph.sample(codes.start, graph.sampler(name), sigmas=short)
    still = graph.sample(codes.start, wrap(graph, attribute, name, strength=0.0), sigmas=short)
    assert torch.equal(still, stock)
    moved = graph.sample(codes.start, wrap(graph, attribute, name, start_percent=0.5), sigmas=short)
    assert torch.isfinite(moved).all()
    assert relative(moved, stock) > 0.02


def test_one_run_is_two_samplers_with_the_edit_node_between(graph, codes, attribute, plain):
    together = graph.sample(codes.start, wrap(graph, attribute, strength=1.25, rank=6))
    edited = {"samples": edit(graph, codes.source, attribute, strength=1.25, rank=6)}
    apart = graph.sample(edited, sigmas=graph.sigmas[STEP:])
    assert relative(together, apart) < 1e-5
    assert relative(apart, plain) > 0.05


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_it_edits_in_latent_space_for_every_family(graph, family):
    """Flow codes cross the graph divided by 1 - sigma, and Flux's latent format shifts them too."""
    model = families.tiny(family)
    positive = families.conditioning(family, 0)
    start = families.latent(family)
    target = {"samples": start["samples"] + torch.hann_window(16)}
    attribute = graph.run("SVDAttributeLearn", source=start, target=target)[0]
    sigmas = graph.schedule(6, model)

    def sample(latent, part, sampler=graph.euler, add_noise=False):
        stock = graph.custom.SamplerCustom()
        with torch.inference_mode():
            return stock.sample(model, add_noise, 0, 1.0, positive, positive, sampler, part, latent)[0]["samples"]

    halfway = model.get_model_object("model_sampling").percent_to_sigma(0.5)
    at = next(i for i, sigma in enumerate(sigmas.tolist()) if sigma <= halfway)
    code = {"samples": sample(start, sigmas[: at + 1], add_noise=True)}
    edited = {"samples": edit(graph, code, attribute, strength=1.0)}
    apart = sample(edited, sigmas[at:])
    wrapped = wrap(graph, attribute, strength=1.0, start_percent=0.5)
    together = sample(start, sigmas, wrapped, add_noise=True)
    assert relative(together, apart) < 1e-4
    assert relative(together, sample(start, sigmas, add_noise=True)) > 1e-2
    if family == "flux":
        early = wrap(graph, attribute, start_percent=0.0)
        with pytest.raises(ValueError, match=r"start_percent is 0\.0, where a flow model"):
            sample(start, sigmas, early, add_noise=True)


def test_a_window_shares_the_edit_out_and_a_mask_limits_it(graph, codes, attribute, plain):
    once = graph.sample(codes.start, wrap(graph, attribute))
    window = graph.sample(codes.start, wrap(graph, attribute, end_percent=0.9))
    assert not torch.equal(once, window)
    assert relative(window, plain) > 0.03
    goal = graph.sample(codes.target, sigmas=graph.sigmas[STEP:])
    assert relative(window, goal) < relative(plain, goal)
    same = graph.sample(codes.start, wrap(graph, attribute, mask=torch.zeros(1, 64, 64)))
    assert relative(same, plain) < 1e-5


def test_what_cannot_be_wrapped_is_named(graph, attribute):
    with pytest.raises(ValueError, match="wrapped is a str"):
        graph.run("SVDSampler", wrapped="euler", attribute=attribute)


def test_the_sampler_shows_its_progress(graph, codes, attribute):
    seen = []
    wrapped = wrap(graph, attribute)
    inner = wrapped.sampler_function

    def note(info):
        seen.append(info["i"])

    def spy(model, x, sigmas, callback=None, **options):
        return inner(model, x, sigmas, callback=note, **options)

    wrapped.sampler_function = spy
    graph.sample(codes.start, wrapped)
    assert seen == list(range(25))


def test_combining(graph, codes, attribute):
    whole = edit(graph, codes.source, attribute)
    single = graph.run("CombineSVD", attribute_1=attribute)[0]
    assert relative(edit(graph, codes.source, single), whole) < 1e-3
    double = graph.run("CombineSVD", attribute_1=attribute, attribute_2=attribute, weight_1=0.5, weight_2=1.5)[0]
    assert relative(edit(graph, codes.source, double, strength=0.5), whole) < 1e-3
    assert "glasses" in double.name
    nothing = graph.run("CombineSVD", attribute_1=attribute, attribute_2=attribute, weight_2=-1.0)[0]
    assert relative(edit(graph, codes.source, nothing), codes.source["samples"]) < 1e-4
    with pytest.raises(ValueError, match="All weights are zero"):
        graph.run("CombineSVD", attribute_1=attribute, weight_1=0.0)


def test_the_sweep_is_a_batch_of_edits(graph, codes, attribute):
    latent = {**codes.source, "batch_index": [4, 5], "noise_mask": torch.ones(2, 1, 64, 64)}
    swept, labels = graph.run("StrengthSweep", latent=latent, attribute=attribute, first=-1.0, last=1.0, count=5)
    wanted = []
    for strength in ("-1", "-0.5", "+0", "+0.5", "+1"):
        wanted += [f"glasses {strength}"] * 2
    assert labels.split("\n") == wanted
    assert swept["samples"].shape[0] == 10
    assert swept["batch_index"] == [4, 5] * 5
    assert len(swept["noise_mask"]) == 10
    assert torch.equal(swept["samples"][:2], edit(graph, codes.source, attribute, strength=-1.0))
    assert torch.equal(swept["samples"][4:6], codes.source["samples"])
    assert torch.equal(swept["samples"][8:], edit(graph, codes.source, attribute, strength=1.0))
    _, labels = graph.run("StrengthSweep", latent=codes.source, attribute=attribute, count=1)
    assert len(labels.split("\n")) == 2


def swap(graph, codes, **inputs):
    return graph.run("AtomSwap", latent=codes.source, other=codes.target, **inputs)[0]["samples"]


def test_atoms_are_swapped(graph, codes):
    x = codes.source["samples"]
    z = codes.target["samples"]
    assert torch.equal(swap(graph, codes, amount=0.0), x)
    everything = swap(graph, codes, what="both", band="all")
    ratio = everything.flatten(2).norm(dim=2) / x.flatten(2).norm(dim=2)
    assert torch.allclose(ratio, torch.ones_like(ratio), rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(everything.flatten(2), z.flatten(2), dim=2)
    assert cosine.min() > 0.9999
    values = swap(graph, codes, what="values", band="all")
    patterns = swap(graph, codes, what="atoms", band="all")
    assert relative(values, x) < relative(patterns, x)


def test_a_range_of_atoms_is_swapped(graph, codes):
    one = swap(graph, codes, what="atoms", band="range", first_atom=2, last_atom=2)
    assert not torch.equal(one, codes.source["samples"])
    assert torch.isfinite(one).all()
    with pytest.raises(ValueError, match="first_atom is 3 and last_atom is 20; this latent has atoms 1 to 16"):
        swap(graph, codes, band="range", first_atom=3, last_atom=20)


def test_the_spectrum_says_how_far_apart_two_codes_are(graph, codes):
    plot, report = graph.run("Spectrum", latent=codes.source)
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert "geodesic" not in report
    assert "noise" in report

    def share(other):
        """The distance, in percent of that between two random subspaces."""
        report = graph.run("Spectrum", latent=codes.source, other=other)[1]
        return int(report.split("%")[-2].split()[-1])

    foreign = share({"samples": torch.randn(1, 4, 16, 16)})
    assert share(codes.source) == 0
    assert 0 < share(codes.target) < foreign
    assert foreign > 80
    with pytest.raises(ValueError, match="same size"):
        graph.run("Spectrum", latent=codes.source, other={"samples": torch.randn(2, 4, 8, 8)})


def half_mask():
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1.0
    return mask


@pytest.mark.parametrize(
    "inputs",
    [dict(strength=0.0), dict(strength=1.5, mask=half_mask()), dict(strength=-0.5, rank=3), dict(band="coarse")],
)
def test_as_a_latent_operation_it_is_the_edit_node(graph, codes, attribute, inputs):
    # In newer ComfyUIs the two import each other, in this order only.
    importlib.import_module("comfy_extras.nodes_post_processing")
    from comfy_extras.nodes_latent import LatentApplyOperation

    before = codes.source["samples"].clone()
    operation = graph.run("LatentSVDOperation", attribute=attribute, **inputs)[0]
    applied = LatentApplyOperation.execute(codes.source, operation).args[0]["samples"]
    assert torch.equal(applied, edit(graph, codes.source, attribute, **inputs))
    assert torch.equal(applied, before) == (inputs.get("strength") == 0.0)
    assert torch.equal(codes.source["samples"], before)


def test_the_operation_keeps_the_dtype_and_names_what_does_not_fit(graph, codes, attribute):
    operation = graph.run("LatentSVDOperation", attribute=attribute, band="coarse")[0]
    assert operation(latent=codes.source["samples"].half()).dtype == torch.half
    with pytest.raises(ValueError, match="latent has 16 channels but attribute 'glasses' was learned on 4"):
        operation(latent=torch.randn(1, 16, 8, 8))
    with pytest.raises(ValueError, match="attribute is a str; wire SVD Attribute Learn"):
        graph.run("LatentSVDOperation", attribute="glasses")


def test_the_frame_of_a_picture_stays(graph, codes, attribute):
    """Latents of Qwen-Image are [B, C, 1, H, W]."""
    framed = [{"samples": code["samples"].unsqueeze(2)} for code in (codes.source, codes.target)]
    learned = graph.run("SVDAttributeLearn", source=framed[0], target=framed[1], name="glasses")[0]
    assert torch.equal(learned.target_spectrum, attribute.target_spectrum)
    operation = graph.run("LatentSVDOperation", attribute=attribute)[0]
    both = [
        (edit(graph, framed[0], learned), edit(graph, codes.source, attribute)),
        (operation(latent=framed[0]["samples"]), operation(latent=codes.source["samples"])),
        (swap(graph, Codes({}, *framed), band="all"), swap(graph, codes, band="all")),
    ]
    sweeps = [
        graph.run("StrengthSweep", latent=latent, attribute=attribute)[0]["samples"]
        for latent in (framed[0], codes.source)
    ]
    for with_frame, without in [*both, sweeps]:
        assert torch.equal(with_frame, without.unsqueeze(2))
    several = {"samples": torch.randn(1, 4, 3, 16, 16)}
    with pytest.raises(ValueError, match="latent has 5 dimensions"):
        edit(graph, several, attribute)


def test_one_pair_on_another_picture_is_said_to_paint_what_its_own_had(graph, codes, caplog):
    own, other = ({"samples": codes.source["samples"][i : i + 1]} for i in (0, 1))
    attribute = graph.run("SVDAttributeLearn", source=own, target={"samples": codes.target["samples"][:1]})[0]
    edit(graph, own, attribute)
    edit(graph, other, attribute, strength=0.0)
    assert "one pair" not in caplog.text
    edit(graph, other, attribute)
    graph.sample({"samples": codes.start["samples"][1:]}, wrap(graph, attribute))
    graph.run("StrengthSweep", latent=other, attribute=attribute, count=3)
    assert [record.getMessage().count("was learned from one pair") for record in caplog.records] == [1, 1, 1]


def test_a_warning_stays_on_a_node_that_goes_on_to_say_other_things(graph, monkeypatch):
    progress = importlib.import_module("singular_edit.backends.comfyui.progress")
    said = []
    monkeypatch.setattr(progress.Progress, "say", staticmethod(said.append))
    editing = progress.Progress("Editing", 2)
    progress.warn("Look.")
    editing.finish("done")
    progress.Progress("Editing", 2).finish("done")
    assert said == ["Look.", "done. Look.", "done"]
