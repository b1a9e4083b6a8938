"""Latent Pair inside a real ComfyUI, against the stock samplers it stands for."""

import re

import pytest
import torch
from helpers import families
from helpers.graph import Graph, relative

STEP = 17


@pytest.fixture(scope="module")
def graph(pack_nodes):
    return Graph(pack_nodes)


def random_noise(graph, seed=0):
    return graph.custom.RandomNoise().get_noise(seed)[0]


def pair(graph, noise=None, latent=None, **inputs):
    latent = {"samples": torch.zeros(2, 4, 16, 16)} if latent is None else latent
    return graph.run(
        "LatentPair",
        **{
            **dict(
                model=graph.model,
                source=graph.source,
                target=graph.target,
                negative=graph.negative,
                noise=noise or random_noise(graph),
                latent_image=latent,
                sigmas=graph.sigmas,
            ),
            **inputs,
        },
    )


def by_ksamplers(graph, part, source_cfg=2.0, target_cfg=2.0):
    """Source and target codes as three KSampler (Advanced) nodes make them, from seed 0."""
    shared = graph.ksampler({"samples": torch.zeros(2, 4, 16, 16)}, end=part, cfg=source_cfg)
    return [
        graph.ksampler(shared, positive=prompt, start=part, end=STEP, cfg=cfg)["samples"]
        for prompt, cfg in ((graph.source, source_cfg), (graph.target, target_cfg))
    ]


def parted(report):
    return [int(step) for step in re.search(r"part at step ([\d, ]+) \(tried", report)[1].split(", ")]


@pytest.mark.parametrize("cfgs", [(2.0, 2.0), (1.5, 3.0)])
def test_with_one_parting_it_is_three_ksamplers(graph, cfgs):
    source, target, sigmas, sigma, report = pair(
        graph, first_parting=6, last_parting=6, cfg=cfgs[0], target_cfg=cfgs[1]
    )
    stock = by_ksamplers(graph, 6, *cfgs)
    assert relative(source["samples"], stock[0]) < 1e-4
    assert relative(target["samples"], stock[1]) < 1e-4 < 0.1 < relative(target["samples"], stock[0])
    assert parted(report) == [6, 6]
    assert sigma == pytest.approx(float(graph.sigmas[STEP]))
    assert torch.equal(sigmas, graph.sigmas[STEP:])


def test_each_picture_parts_as_late_as_its_attribute_allows(graph):
    source, target, *_, report = pair(graph)
    steps = parted(report)
    size = lambda code, i: float((code - source["samples"])[i].norm())
    for i, step in enumerate(steps):
        assert step in (4, 6, 8, 10, 12)
        assert relative(target["samples"][i], by_ksamplers(graph, step)[1][i]) < 1e-4
        assert size(target["samples"], i) > 0.5 * size(by_ksamplers(graph, 4)[1], i)
    assert max(steps) > 4  # glasses are drawn late
    learned = graph.run(
        "SVDAttributeLearn",
        source={"samples": source["samples"][:1]},
        target={"samples": target["samples"][:1]},
        name="glasses",
    )[0]
    edited = graph.run("LatentSVDEdit", latent=source, attribute=learned)[0]
    finished = [
        graph.sample(code, sigmas=graph.sigmas[STEP:], cfg=2.0, positive=prompt)
        for code, prompt in ((edited, None), (source, None), (target, graph.target))
    ]
    assert relative(finished[0][:1], finished[2][:1]) < 0.6 * relative(finished[1][:1], finished[2][:1])


def test_an_inverted_pictures_own_pair_starts_from_its_code(graph):
    latent = graph.faces([8], glasses="off")
    latent["noise_mask"] = torch.ones(1, 16, 16)
    before = latent["samples"].clone()
    noise = graph.invert(latent, cfg=1.5)[1]
    source, target, sigmas, *_ = pair(graph, noise, latent, cfg=1.5)
    halfway = graph.invert(latent, cfg=1.5, stop_at_step=STEP)[0]["samples"]
    assert relative(source["samples"], halfway) < 1e-3 < 0.05 < relative(target["samples"], halfway)
    assert relative(graph.sample(source, sigmas=sigmas, cfg=1.5), latent["samples"]) < 2e-3
    assert torch.equal(latent["samples"], before)
    assert "noise_mask" not in source
    assert "noise_mask" in latent


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_every_family_comes_out_as_the_stock_sampler_leaves_it(graph, family):
    model, source, target = families.tiny(family), families.conditioning(family, 0), families.conditioning(family, 1)
    latent, sigmas = families.latent(family), graph.schedule(6, model)
    codes = pair(
        graph,
        random_noise(graph, 3),
        latent,
        model=model,
        source=source,
        target=target,
        negative=source,
        sigmas=sigmas,
        cfg=1.0,
        target_cfg=1.0,
        at_step=4,
        first_parting=1,
        last_parting=2,
    )
    with torch.inference_mode():
        stock = graph.custom.SamplerCustom().sample(
            model, True, 3, 1.0, source, source, graph.euler, sigmas[:5], latent
        )[0]["samples"]
    assert relative(codes[0]["samples"], stock) < 1e-4
    assert torch.isfinite(codes[1]["samples"]).all()
    assert relative(codes[1]["samples"], stock) > 1e-5


@pytest.mark.parametrize(
    "inputs, said",
    [
        (dict(at_step=25), "at_step 25; .* up to 24"),
        (dict(at_step=10), "last_parting 12 and at_step 10"),
        (dict(first_parting=13), "first_parting is 13"),
        (dict(latent={"samples": torch.zeros(1, 3, 16, 16) + 1}), "3 channels"),
        (dict(sigmas=torch.tensor([0.0, 1.0])), "does not descend"),
    ],
)
def test_bad_input_is_named(graph, inputs, said):
    with pytest.raises(ValueError, match=said):
        pair(graph, **inputs)
