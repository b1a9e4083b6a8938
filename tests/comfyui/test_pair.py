"""Latent Pair inside a real ComfyUI, against the stock samplers it stands for."""

import re

import pytest
import torch
from helpers import families
from helpers.graph import empty_latent
from helpers.tensors import relative

STEP = 17
BRANCH_STEPS = (0, 2, 4, 6, 8, 10, 12)


def by_ksamplers(graph, branch_step, source_cfg=2.0, target_cfg=2.0):
    """Source and target codes as three KSampler (Advanced) nodes make them, from seed 0."""
    shared = graph.ksampler(empty_latent(2), end=branch_step, cfg=source_cfg)
    source = graph.ksampler(shared, positive=graph.source, start=branch_step, end=STEP, cfg=source_cfg)
    target = graph.ksampler(shared, positive=graph.target, start=branch_step, end=STEP, cfg=target_cfg)
    return source["samples"], target["samples"]


@pytest.fixture(scope="module")
def stock(graph):
    """by_ksamplers, once for each branch step."""
    known = {}

    def once(branch_step):
        if branch_step not in known:
            known[branch_step] = by_ksamplers(graph, branch_step)
        return known[branch_step]

    return once


def branched(report):
    """The steps at which the prompts branch, as the report names them."""
    return [int(step) for step in re.search(r"branch at step ([\d, ]+) \(tried", report)[1].split(", ")]


@pytest.mark.parametrize(("cfg", "target_cfg"), [(2.0, 2.0), (1.5, 3.0)])
def test_with_one_branch_step_it_is_three_ksamplers(graph, cfg, target_cfg):
    source, target, sigmas, sigma, report = graph.pair(first_parting=6, last_parting=6, cfg=cfg, target_cfg=target_cfg)
    stock_source, stock_target = by_ksamplers(graph, 6, cfg, target_cfg)
    assert relative(source["samples"], stock_source) < 1e-4
    assert relative(target["samples"], stock_target) < 1e-4
    assert relative(target["samples"], stock_source) > 0.1
    assert branched(report) == [6, 6]
    assert sigma == pytest.approx(float(graph.sigmas[STEP]))
    assert torch.equal(sigmas, graph.sigmas[STEP:])


@pytest.fixture(scope="module")
def pair(graph):
    """Two faces whose branch steps were found."""
    return graph.pair()


def test_each_picture_branches_as_late_as_its_attribute_allows(pair, stock):
    source, target, *_, report = pair
    steps = branched(report)
    earliest = stock(BRANCH_STEPS[0])[1]
    for i, step in enumerate(steps):
        assert step in BRANCH_STEPS
        assert relative(target["samples"][i], stock(step)[1][i]) < 1e-4
        change = (target["samples"] - source["samples"])[i].norm()
        earliest_change = (earliest - source["samples"])[i].norm()
        assert change > 0.5 * earliest_change
    assert max(steps) > BRANCH_STEPS[0]  # glasses are drawn late


def test_a_picture_that_the_target_does_not_change_is_named(graph, pair):
    *_, report = graph.pair(target=graph.source, first_parting=6, last_parting=8)
    assert "Picture 1, 2 does not come to show more of what target says" in report
    assert branched(report) == [6, 6]
    assert "does not come to show" not in pair[-1]


def test_an_attribute_learned_from_it_brings_the_target(graph, pair):
    source, target, sigmas, *_ = pair
    first = {"samples": source["samples"][:1]}
    first_target = {"samples": target["samples"][:1]}
    learned = graph.run("SVDAttributeLearn", source=first, target=first_target, name="glasses")[0]
    code = graph.run("LatentSVDEdit", latent=first, attribute=learned)[0]
    edited = graph.sample(code, sigmas=sigmas, cfg=2.0)
    plain = graph.sample(first, sigmas=sigmas, cfg=2.0)
    wanted = graph.sample(first_target, sigmas=sigmas, cfg=2.0, positive=graph.target)
    assert relative(edited, wanted) < 0.6 * relative(plain, wanted)


def test_an_inverted_pictures_own_pair_starts_from_its_code(graph):
    latent = graph.faces([8], glasses="off")
    latent["noise_mask"] = torch.ones(1, 16, 16)
    before = latent["samples"].clone()
    noise = graph.invert(latent, cfg=1.5)[1]
    source, target, sigmas, *_ = graph.pair(noise=noise, latent_image=latent, cfg=1.5)
    halfway = graph.invert(latent, cfg=1.5, stop_at_step=STEP)[0]["samples"]
    assert relative(source["samples"], halfway) < 1e-3
    assert relative(target["samples"], halfway) > 0.05
    assert relative(graph.sample(source, sigmas=sigmas, cfg=1.5), latent["samples"]) < 2e-3
    assert torch.equal(latent["samples"], before)
    assert "noise_mask" not in source
    assert "noise_mask" in latent


@pytest.mark.parametrize("family", ["flux", "sdxl"])
def test_every_family_comes_out_as_the_stock_sampler_leaves_it(graph, family):
    model = families.tiny(family)
    source = families.conditioning(family, 0)
    latent = families.latent(family)
    sigmas = graph.schedule(6, model)
    source_code, target_code, *_ = graph.pair(
        model=model,
        source=source,
        target=families.conditioning(family, 1),
        negative=source,
        noise=graph.random_noise(3),
        latent_image=latent,
        sigmas=sigmas,
        cfg=1.0,
        target_cfg=1.0,
        at_step=4,
        first_parting=1,
        last_parting=2,
    )
    sampler = graph.custom.SamplerCustom()
    with torch.inference_mode():
        stock = sampler.sample(model, True, 3, 1.0, source, source, graph.euler, sigmas[:5], latent)[0]["samples"]
    assert relative(source_code["samples"], stock) < 1e-4
    assert torch.isfinite(target_code["samples"]).all()
    assert relative(target_code["samples"], stock) > 1e-5


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (dict(at_step=25), "at_step 25; .* up to 24"),
        (dict(at_step=10), "last_parting 12 and at_step 10"),
        (dict(first_parting=13), "first_parting is 13"),
        (dict(latent_image={"samples": torch.zeros(1, 3, 16, 16) + 1}), "3 channels"),
        (dict(sigmas=torch.tensor([0.0, 1.0])), "does not descend"),
    ],
)
def test_bad_input_is_named(graph, inputs, said):
    with pytest.raises(ValueError, match=said):
        graph.pair(**inputs)
