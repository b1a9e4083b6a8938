"""The rows of the compatibility table: what the pack does, and by what an artist sees that it is right.

Each takes a Bench and raises AssertionError where something is wrong. Imported by compatibility.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from compatibility_bench import AT_STEP, STEPS, Bench, euler, extra, run
from singular_edit.core.inversion.report import PEAK_DEVIATIONS, WELL_DECIBELS
from small_models import LinearVAE, RandomClip, latent_channels
from torch import Tensor

SIDE = 64
# A latent that is off by less, relative to its deviation, comes back well, as the report of an inversion says it.
SAME = PEAK_DEVIATIONS * 10 ** (-WELL_DECIBELS / 20)


def relative(x: Tensor, wanted: Tensor) -> float:
    """Return |x - wanted| / |wanted|."""
    return float((x.double() - wanted.double()).norm() / wanted.double().norm())


def check_slider(bench: Bench, draw: Callable[[float], Tensor]) -> None:
    """Check that an edit is bit for bit the stock picture at strength 0, and another one at strength 1."""
    plain = bench.sample()
    assert torch.equal(draw(0.0), plain), "strength 0 is not the stock picture"
    edited = draw(1.0)
    assert torch.isfinite(edited).all(), "the edited picture is not finite"
    assert not torch.equal(edited, plain), "the edit changes nothing"


def invert_fixed(bench: Bench) -> None:
    """Latent Invert, fixed_point: the stock sampler returns the picture, or the report says that it does not."""
    inputs = dict(model=bench.model, positive=bench.source, negative=bench.negative, latent_image=bench.latent)
    _, noise, report, sigmas, _ = run("LatentInvert", **inputs, sigmas=bench.sigmas, cfg=1.0, quality="good")
    ends = f"up to {float(bench.sigmas[0]):.4g}"
    assert ends in report, f"the report says another schedule than {ends}"
    back = bench.but(cfg=1.0).finish(noise, bench.picture, sigmas)
    off = relative(back, bench.latent["samples"])
    assert off < SAME or "not solved" in report, f"the picture comes back {off:.1e} off, and the report does not say it"


def invert_traced(bench: Bench) -> None:
    """Latent Invert, traced: Traced Sampler returns the picture."""
    inputs = dict(model=bench.model, positive=bench.source, negative=bench.negative, latent_image=bench.latent)
    _, noise, report, sigmas, trace = run("LatentInvert", **inputs, sigmas=bench.sigmas, cfg=bench.cfg, method="traced")
    sampler = run("TracedSampler", trace=trace)[0]
    back = bench.finish(noise, bench.picture, sigmas, sampler)
    off = relative(back, bench.latent["samples"])
    assert off < SAME, f"the picture comes back {off:.1e} off: {report}"


def prepare_and_edit(bench: Bench) -> None:
    """Prepare Picture and Edit Picture: it comes back, strength 0 leaves it, strength 1 changes it."""
    vae = LinearVAE(latent_channels(bench.family))
    colours = torch.rand(1, 3, SIDE // 8, 12, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(colours, scale_factor=8).movedim(1, -1)
    picture, rebuilt, report = run(
        "PreparePicture",
        model=bench.model,
        clip=RandomClip(bench.family),
        vae=vae,
        image=image,
        describe="a face",
        steps=STEPS,
        max_side=96,
    )
    assert "omes back" in report, report
    for attribute in ("readout", "svd"):
        still, before = run("EditPicture", picture=picture, attribute=bench.attributes[attribute], strength=0.0)
        assert torch.equal(still, before), "strength 0 changes the picture"
        assert torch.equal(before, rebuilt), "the picture before is not the prepared one"
        edited = run("EditPicture", picture=picture, attribute=bench.attributes[attribute], strength=1.0)[0]
        assert torch.isfinite(edited).all(), "the edited picture is not finite"
        assert not torch.equal(edited, before), "the edit changes nothing"


def apply_kind(kind: str) -> Callable[[Bench], None]:
    """Return the row of Apply Attribute with an attribute of a kind."""

    def row(bench: Bench) -> None:
        def draw(strength: float) -> Tensor:
            model = run("ApplyAttribute", model=bench.model, attribute=bench.attributes[kind], strength=strength)[0]
            return bench.sample(model=model)

        check_slider(bench, draw)

    return row


def asyrp_sampler(bench: Bench) -> None:
    """Asyrp Sampler with a direction of h."""

    def draw(strength: float) -> Tensor:
        sampler = run("AsyrpSampler", direction=bench.attributes["direction"], strength=strength)[0]
        return bench.sample(sampler=sampler)

    check_slider(bench, draw)


def svd_sampler(bench: Bench) -> None:
    """Latent SVD Sampler around euler."""

    def draw(strength: float) -> Tensor:
        inputs = dict(wrapped=euler(), attribute=bench.attributes["svd"], strength=strength)
        return bench.sample(sampler=run("SVDSampler", **inputs)[0])

    check_slider(bench, draw)


def latent_pair(bench: Bench) -> None:
    """Latent Pair: the source goes on to the stock picture, the target is another one."""
    inputs = dict(model=bench.model, **bench.prompts(), noise=bench.noise(), sigmas=bench.sigmas, cfg=bench.cfg)
    steps = dict(at_step=AT_STEP, first_parting=0, last_parting=1, target_cfg=bench.cfg)
    source, target, sigmas, *_ = run("LatentPair", **inputs, **steps, latent_image=bench.picture)
    stock = bench.finish(bench.noise(), bench.picture, bench.sigmas)
    off = relative(bench.finish(extra("nodes_custom_sampler", "DisableNoise")[0], source, sigmas), stock)
    assert off < SAME, f"source ends {off:.1e} away from the stock picture"
    assert torch.isfinite(target["samples"]).all(), "target is not finite"
    assert not torch.equal(source["samples"], target["samples"]), "source and target are the same"


def learn(method: str) -> Callable[[Bench], None]:
    """Return the row of learning by a method, with tiny settings."""

    def row(bench: Bench) -> None:
        learned = run(
            "HDirectionLearn",
            model=bench.model,
            **bench.prompts(),
            latent_image=bench.latent,
            sigmas=bench.sigmas,
            method=method,
            samples=4,
            steps=3,
            cfg=1.5,
            name="hat",
        )[0]
        for values in learned.tensors.values():
            assert torch.isfinite(values).all(), "what was learned is not finite"
        model = run("ApplyAttribute", model=bench.model, attribute=learned, strength=1.0)[0]
        assert torch.isfinite(bench.sample(model=model)).all(), "the edited picture is not finite"

    return row


ROWS: dict[str, Callable[[Bench], None]] = {
    "Latent Invert, fixed_point": invert_fixed,
    "Latent Invert, traced": invert_traced,
    "Prepare and Edit Picture": prepare_and_edit,
    "Apply Attribute, readout": apply_kind("readout"),
    "Apply Attribute, latent svd": apply_kind("svd"),
    "Apply Attribute, direction": apply_kind("direction"),
    "learning a readout": learn("readout"),
    "learning a direction": learn("vector"),
    "Asyrp Sampler": asyrp_sampler,
    "Latent SVD Sampler": svd_sampler,
    "Latent Pair": latent_pair,
}


def outcome(row: Callable[[Bench], None], bench: Bench, before: Tensor) -> str:
    """Run a cell.

    Args:
        row: One of ROWS.
        bench: The column.
        before: The stock picture of the column, drawn before anything of ours ran.

    Returns:
        "yes", or the sentence with which the pack refuses.

    Raises:
        AssertionError: Something is wrong that an artist would see.
    """
    from singular_edit.core import EditError

    said = "yes"
    try:
        row(bench)
    except EditError as sentence:
        said = str(sentence)
    after = bench.sample()
    assert torch.equal(after, before), "the next stock picture is another one"
    return said
