"""The Latent SVD nodes inside a real ComfyUI: sampler wrapper, latent operation, combining, sweeping, swapping, spectra."""

import pytest
import torch
from helpers import families
from helpers.graph import Graph, relative

STEP = 17  # progress 0.68 of 25 steps


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


@pytest.fixture(scope="module")
def codes(graph):
    """(start, source code, target code) at STEP, from one noise of two pictures."""
    start = {
        "samples": torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        * 14.6
        / graph.model.get_model_object("latent_format").scale_factor
    }
    part = graph.sigmas[: STEP + 1]
    return start, *(
        {"samples": graph.sample(start, sigmas=part, positive=prompt)} for prompt in (graph.source, graph.target)
    )


@pytest.fixture(scope="module")
def attribute(graph, codes):
    return graph.run("SVDAttributeLearn", source=codes[1], target=codes[2], name="glasses")[0]


def wrap(graph, attribute, name="euler", **inputs):
    stock = graph.custom.KSamplerSelect().get_sampler(name)[0]
    return graph.run("SVDSampler", wrapped=stock, attribute=attribute, **inputs)[0], stock


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "dpmpp_sde", "heun", "uni_pc", "ddim"])
def test_strength_zero_is_the_wrapped_sampler_bit_for_bit(graph, codes, attribute, name):
    wrapped, stock = wrap(graph, attribute, name, strength=0.0)
    short = graph.schedule(6)
    assert torch.equal(graph.sample(codes[0], wrapped, sigmas=short), graph.sample(codes[0], stock, sigmas=short))
    moved = graph.sample(codes[0], wrap(graph, attribute, name, start_percent=0.5)[0], sigmas=short)
    assert torch.isfinite(moved).all()
    assert relative(moved, graph.sample(codes[0], stock, sigmas=short)) > 0.02


def test_one_run_is_two_samplers_with_the_edit_node_between(graph, codes, attribute):
    wrapped, stock = wrap(graph, attribute, strength=1.25, rank=6)
    edited = graph.run("LatentSVDEdit", latent=codes[1], attribute=attribute, strength=1.25, rank=6)[0]
    apart = graph.sample(edited, sigmas=graph.sigmas[STEP:])
    assert relative(graph.sample(codes[0], wrapped), apart) < 1e-5
    plain = graph.sample(codes[0], stock)
    assert relative(apart, plain) > 0.05


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_it_edits_in_latent_space_for_every_family(graph, family):
    """Flow codes cross the graph divided by 1 - sigma, and Flux's latent format shifts them too."""
    model, positive = families.tiny(family), families.conditioning(family, 0)
    start = families.latent(family)
    target = {"samples": start["samples"] + torch.hann_window(16)}
    attribute = graph.run("SVDAttributeLearn", source=start, target=target)[0]
    sigmas = graph.schedule(6, model)

    def sample(latent, part, sampler=graph.euler, noise=False):
        with torch.inference_mode():
            return graph.custom.SamplerCustom().sample(model, noise, 0, 1.0, positive, positive, sampler, part, latent)[
                0
            ]["samples"]

    at = next(
        i
        for i, sigma in enumerate(sigmas.tolist())
        if sigma <= model.get_model_object("model_sampling").percent_to_sigma(0.5)
    )
    edited = graph.run(
        "LatentSVDEdit",
        latent={"samples": sample(start, sigmas[: at + 1], noise=True)},
        attribute=attribute,
        strength=1.0,
    )[0]
    apart = sample(edited, sigmas[at:])
    together = sample(start, sigmas, wrap(graph, attribute, strength=1.0, start_percent=0.5)[0], noise=True)
    assert relative(together, apart) < 1e-4
    assert relative(together, sample(start, sigmas, noise=True)) > 1e-2
    if family == "flux":
        with pytest.raises(ValueError, match="start_percent is 0.0, where a flow model"):
            sample(start, sigmas, wrap(graph, attribute, start_percent=0.0)[0], noise=True)


def test_a_window_shares_the_edit_out_and_a_mask_limits_it(graph, codes, attribute):
    plain = graph.sample(codes[0])
    once, window = (graph.sample(codes[0], wrap(graph, attribute, end_percent=end)[0]) for end in (0.0, 0.9))
    assert not torch.equal(once, window)
    assert relative(window, plain) > 0.03
    goal = graph.sample(codes[2], sigmas=graph.sigmas[STEP:])
    assert relative(window, goal) < relative(plain, goal)
    mask = torch.zeros(1, 64, 64)
    same = graph.sample(codes[0], wrap(graph, attribute, mask=mask)[0])
    assert relative(same, plain) < 1e-5
    with pytest.raises(ValueError, match="wrapped is a str"):
        graph.run("SVDSampler", wrapped="euler", attribute=attribute)


def test_the_sampler_shows_its_progress(graph, codes, attribute):
    seen = []
    wrapped, _ = wrap(graph, attribute)
    inner = wrapped.sampler_function

    def spy(model, x, sigmas, callback=None, **options):
        return inner(model, x, sigmas, callback=lambda info: seen.append(info["i"]), **options)

    wrapped.sampler_function = spy
    graph.sample(codes[0], wrapped)
    assert seen == list(range(25))


def test_combining(graph, codes, attribute):
    edit = lambda a, s=1.0: graph.run("LatentSVDEdit", latent=codes[1], attribute=a, strength=s)[0]["samples"]
    alone = graph.run("CombineSVD", attribute_1=attribute)[0]
    assert relative(edit(alone), edit(attribute)) < 1e-3
    double = graph.run("CombineSVD", attribute_1=attribute, attribute_2=attribute, weight_1=0.5, weight_2=1.5)[0]
    assert relative(edit(double, 0.5), edit(attribute)) < 1e-3
    assert "glasses" in double.name
    nothing = graph.run("CombineSVD", attribute_1=attribute, attribute_2=attribute, weight_2=-1.0)[0]
    assert relative(edit(nothing), codes[1]["samples"]) < 1e-4
    with pytest.raises(ValueError, match="All weights are zero"):
        graph.run("CombineSVD", attribute_1=attribute, weight_1=0.0)


def test_the_sweep_is_a_batch_of_edits(graph, codes, attribute):
    latent = {**codes[1], "batch_index": [4, 5], "noise_mask": torch.ones(2, 1, 64, 64)}
    swept, labels = graph.run("StrengthSweep", latent=latent, attribute=attribute, first=-1.0, last=1.0, count=5)
    assert labels.split("\n") == [f"glasses {s}" for s in ("-1", "-0.5", "+0", "+0.5", "+1") for _ in range(2)]
    assert swept["samples"].shape[0] == 10
    assert swept["batch_index"] == [4, 5] * 5
    assert len(swept["noise_mask"]) == 10
    assert torch.equal(swept["samples"][4:6], codes[1]["samples"])
    for place, strength in ((0, -1.0), (8, 1.0)):
        assert torch.equal(
            swept["samples"][place : place + 2],
            graph.run("LatentSVDEdit", latent=codes[1], attribute=attribute, strength=strength)[0]["samples"],
        )
    assert len(graph.run("StrengthSweep", latent=codes[1], attribute=attribute, count=1)[1].split("\n")) == 2


def test_atoms_are_swapped(graph, codes):
    x, z = codes[1]["samples"], codes[2]["samples"]
    run = lambda **inputs: graph.run("AtomSwap", latent=codes[1], other=codes[2], **inputs)[0]["samples"]
    assert torch.equal(run(amount=0.0), x)
    everything = run(what="both", band="all")
    ratio = everything.flatten(2).norm(dim=2) / x.flatten(2).norm(dim=2)
    assert torch.allclose(ratio, torch.ones_like(ratio), rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(everything.flatten(2), z.flatten(2), dim=2)
    assert cosine.min() > 0.9999
    assert relative(run(what="values", band="all"), x) < relative(run(what="atoms", band="all"), x)
    one = run(what="atoms", band="range", first_atom=2, last_atom=2)
    assert not torch.equal(one, x)
    assert torch.isfinite(one).all()
    with pytest.raises(ValueError, match="first_atom is 3 and last_atom is 20; this latent has atoms 1 to 16"):
        run(band="range", first_atom=3, last_atom=20)


def test_the_spectrum_says_how_far_apart_two_codes_are(graph, codes):
    plot, alone = graph.run("Spectrum", latent=codes[1])
    assert plot.ndim == 4
    assert plot.shape[-1] == 3
    assert "geodesic" not in alone
    assert "noise" in alone
    share = lambda other: int(graph.run("Spectrum", latent=codes[1], other=other)[1].split("%")[-2].split()[-1])
    stranger = {"samples": torch.randn(1, 4, 16, 16)}
    assert share(codes[1]) == 0
    assert 0 < share(codes[2]) < share(stranger)
    assert share(stranger) > 80
    with pytest.raises(ValueError, match="same size"):
        graph.run("Spectrum", latent=codes[1], other={"samples": torch.randn(2, 4, 8, 8)})


def test_as_a_latent_operation_it_is_the_edit_node(graph, codes, attribute):
    import comfy_extras.nodes_post_processing  # noqa: F401, newer ComfyUIs: it and nodes_latent import each other, in this order only
    from comfy_extras.nodes_latent import LatentApplyOperation

    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1.0
    before = codes[1]["samples"].clone()
    for inputs in (dict(strength=0.0), dict(strength=1.5, mask=mask), dict(strength=-0.5, rank=3), dict(band="coarse")):
        operation = graph.run("LatentSVDOperation", attribute=attribute, **inputs)[0]
        applied = LatentApplyOperation.execute(codes[1], operation).args[0]["samples"]
        edited = graph.run("LatentSVDEdit", latent=codes[1], attribute=attribute, **inputs)[0]["samples"]
        assert torch.equal(applied, edited)
        assert torch.equal(applied, before) == (inputs.get("strength") == 0.0)
    assert torch.equal(codes[1]["samples"], before)
    half = operation(latent=before.half())
    assert half.dtype == torch.half
    with pytest.raises(ValueError, match="latent has 16 channels but attribute 'glasses' was learned on 4"):
        operation(latent=torch.randn(1, 16, 8, 8))
    with pytest.raises(ValueError, match="attribute is a str; wire SVD Attribute Learn"):
        graph.run("LatentSVDOperation", attribute="glasses")
