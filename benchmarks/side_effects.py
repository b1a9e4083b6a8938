"""What nodes leave behind, and whether they repeat themselves: ``python benchmarks/side_effects.py``.

``traceless`` runs every node inside ComfyUI: to its end, into an error of the model, and, if it takes long, into
cancels at random moments. Whatever is wired to it, its weights, its patches, and the state of the process must then be
as before, and the next stock picture bit for bit what it was. The table counts the runs, and those after which
something had changed; what it was is listed below.

``repeats`` runs what learns and samples twice, and on four pictures at once and one by one. The table says whether two
runs agree in every bit, and how far four at once are from one by one at most, relative to the largest value.

Moments depend on --seed alone. Recorded outputs are in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from pack_in_comfyui import NETWORKS, STEPS, PackInComfyUI, Wires, light
from singular_edit.core import EditError
from snapshot import differences, snapshot
from torch import Tensor

# The size of pictures that Learn Attribute learns from here.
SIDE = 64
# At which prediction the model fails.
FAILS_AT = 3


class ModelError(RuntimeError):
    """What a network may raise in the middle, as it does where memory runs out."""


def calls(wires: Wires) -> dict[str, dict[str, Any]]:
    """Return honest inputs for every node that takes something by wire.

    Args:
        wires: Of one model.

    Returns:
        Inputs by the node's name; widgets that are left out keep their defaults.
    """
    first = {kind: values[0] for kind, values in wires.by_type.items()}
    prompt, target = wires.by_type["CONDITIONING"]
    latents = wires.by_type["LATENT"]
    flipped = {"samples": latents[1]["samples"].flip(0)}
    svd, vector = first["SVD_ATTRIBUTE"], wires.by_type["H_DIRECTION"][1]
    model, clip, vae, image = first["MODEL"], first["CLIP"], first["VAE"], first["IMAGE"]
    sampled = dict(model=model, negative=prompt, latent_image=latents[0], sigmas=first["SIGMAS"])
    pair = dict(sampled, source=prompt, target=target)
    edit = dict(picture=first["PREPARED_PICTURE"], mask=first["MASK"])
    return {
        "LearnAttribute": dict(model=model, clip=clip, steps=STEPS, width=SIDE, height=SIDE),
        "ApplyAttribute": dict(model=model, attribute=first["H_DIRECTION"]),
        "PreparePicture": dict(model=model, clip=clip, vae=vae, image=image, steps=STEPS, sampler="heun"),
        "EditPicture": dict(edit, attribute=first["H_DIRECTION"]),
        "StrengthSheet": dict(edit, attribute=svd),
        "LatentInvert": dict(sampled, positive=prompt),
        "TracedSampler": dict(trace=first["LATENT_TRACE"]),
        "LatentPair": dict(pair, noise=first["NOISE"], at_step=2, first_parting=1, last_parting=1),
        "SVDAttributeLearn": dict(source=latents[1], target=flipped, predictor="mlp", steps=30),
        "LatentSVDEdit": dict(latent=latents[2], attribute=svd, mask=first["MASK"]),
        "LatentSVDOperation": dict(attribute=svd),
        "SVDSampler": dict(wrapped=first["SAMPLER"], attribute=svd),
        "CombineSVD": dict(attribute_1=svd, attribute_2=svd),
        "StrengthSweep": dict(latent=latents[0], attribute=svd),
        "AtomSwap": dict(latent=latents[1], other=flipped),
        "Spectrum": dict(latent=latents[1], other=flipped),
        "AsyrpSampler": dict(direction=vector, mask=first["MASK"]),
        "HDirectionLearn": dict(pair, samples=2, steps=2, method="combined"),
        "CombineH": dict(direction_1=vector, direction_2=first["H_DIRECTION"]),
        "HDirectionAverage": dict(sampled, direction=vector, positive=prompt, samples=2),
        "HDirectionPCA": dict(sampled, positive=prompt, samples=3),
        "AsyrpSchedule": dict(sampled, positive=prompt, vae=vae),
        "SaveAttribute": dict(attribute=svd, filename_prefix="people/hat"),
    }


@contextmanager
def cancelled_at(moment: int) -> Iterator[list[int]]:
    """Let the user cancel when ComfyUI looks for the moment-th time whether it is to go on; -1 is never.

    Yields:
        [how many times it has looked].
    """
    import comfy.model_management as management

    look = management.throw_exception_if_processing_interrupted
    looked = [0]

    def counted() -> None:
        if looked[0] == moment:
            management.interrupt_current_processing()
        looked[0] += 1
        look()

    management.throw_exception_if_processing_interrupted = counted
    try:
        yield looked
    finally:
        management.throw_exception_if_processing_interrupted = look


def failing(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return inputs with a model that fails at its FAILS_AT-th prediction; the same ones where there is no model."""
    predictions = [0]

    def fail(apply: Any, args: dict[str, Any]) -> Tensor:
        predictions[0] += 1
        if predictions[0] == FAILS_AT:
            raise ModelError
        prediction: Tensor = apply(args["input"], args["timestep"], **args["c"])
        return prediction

    def failing_clone(model: Any) -> Any:
        clone = model.clone()
        clone.set_model_unet_function_wrapper(fail)
        return clone

    if "model" in inputs:
        return {**inputs, "model": failing_clone(inputs["model"])}
    if "picture" in inputs:
        return {**inputs, "picture": replace(inputs["picture"], model=failing_clone(inputs["picture"].model))}
    return inputs


class Effects:
    """Runs of nodes of one model, and what they leave behind.

    Args:
        pack: The nodes.
        network: Of which wires there are.
    """

    def __init__(self, pack: PackInComfyUI, network: str) -> None:
        self.pack = pack
        self.wires = pack.wires[network]
        self.stock = pack.sample(self.wires)["samples"]

    def run(self, name: str, inputs: dict[str, Any], moment: int = -1) -> tuple[str, int, list[str]]:
        """Run a node, and look.

        Args:
            name: The node.
            inputs: Its inputs.
            moment: When it is cancelled, as cancelled_at takes it.

        Returns:
            How it ended, how many times it looked whether it is to go on, and what has changed.
        """
        import comfy.model_management

        before = snapshot(self.wires.by_type)
        with cancelled_at(moment) as looked:
            try:
                self.pack.run(name, **inputs)
                end = "right"
            except comfy.model_management.InterruptProcessingException:
                end = "cancelled"
            except (ModelError, EditError) as error:
                end = type(error).__name__
        changed = differences(before, snapshot(self.wires.by_type))
        if not torch.equal(self.pack.sample(self.wires)["samples"], self.stock):
            changed.append("the next stock picture")
        return end, looked[0], changed


def traceless(cancels: int, seed: int) -> int:
    """Print what every node leaves behind; return of how many runs it is anything."""
    pack = PackInComfyUI()
    print(f"{'node':<22}{'network':<14}{'moments':>8}{'right':>8}{'errors':>8}{'cancels':>8}{'changed':>8}")
    found: list[str] = []
    for network in NETWORKS:
        effects = Effects(pack, network)
        for name, inputs in calls(effects.wires).items():
            # Another seed each time, or what was learned is found again.
            fresh = {"learn_seed": seed} if name == "LearnAttribute" else {}
            runs = [effects.run(name, {**inputs, **fresh})]
            runs.append(effects.run(name, failing({**inputs, **dict.fromkeys(fresh, seed + 1)})))
            moments = runs[0][1]
            rng = random.Random(f"{seed} {name}")
            for again in range(cancels if moments else 0):
                another = dict.fromkeys(fresh, seed + 2 + again)
                runs.append(effects.run(name, {**inputs, **another}, rng.randrange(moments)))
            ends = [end for end, _, _ in runs]
            errors = len(ends) - ends.count("right") - ends.count("cancelled")
            changed = [place for _, _, places in runs for place in places]
            number = sum(bool(places) for _, _, places in runs)
            row = (moments, ends.count("right"), errors, ends.count("cancelled"), number)
            print(f"{name:<22}{network:<14}" + "".join(f"{one:>8}" for one in row), flush=True)
            found += [f"{name}, {network}: {place}" for place in sorted(set(changed))[:3]]
    print("\n".join(found) or "Nothing has changed, and every stock picture after a run is bit for bit what it was.")
    return len(found)


def repeats(seed: int) -> int:
    """Print whether runs agree; return how many do not repeat themselves."""
    pack = PackInComfyUI()
    print(f"{'what':<34}{'network':<14}{'twice':>12}{'four at once against one by one':>34}")
    others = 0
    for network in NETWORKS:
        for what, once, four, alone in results(pack, network, seed=seed):
            same = all(torch.equal(a, b) for a, b in zip(once, four, strict=True))
            others += not same
            apart = "" if alone is None else f"{max(map(distance, once, alone)):.1e}"
            print(f"{what:<34}{network:<14}{'same bits' if same else 'OTHER BITS':>12}{apart:>34}", flush=True)
    return others


def distance(a: Tensor, b: Tensor) -> float:
    """Return the largest difference of two tensors, relative to the largest value of the second."""
    return float((a - b).abs().max() / b.abs().max())


def results(
    pack: PackInComfyUI,
    network: str,
    *,
    seed: int,
    count: int = 4,
    samplers: tuple[str, ...] = ("euler", "heun"),
    methods: tuple[str, ...] = ("readout", "combined"),
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield what is compared: its name, the tensors of one run, of another, and of a run for each picture or None."""
    wires = pack.wires[network]
    given = calls(wires)
    faces = torch.cat([pack.run("DemoFace", seed=seed + i, network=network)[0] for i in range(count)])

    def prepared(pictures: Tensor, sampler: str) -> Any:
        return pack.run("PreparePicture", **{**given["PreparePicture"], "image": pictures, "sampler": sampler})[0]

    for sampler in samplers:
        once, again = prepared(faces, sampler), prepared(faces, sampler)
        single = [prepared(faces[i : i + 1], sampler) for i in range(count)]
        alone = torch.cat([one.code for one in single])
        yield f"Prepare Picture, {sampler}", [once.code], [again.code], [alone]
        for kind in ("H_DIRECTION", "SVD_ATTRIBUTE"):

            def edited(picture: Any, attribute: Any = wires.by_type[kind][0]) -> Tensor:
                after: Tensor = pack.run("EditPicture", picture=picture, attribute=attribute, strength=1.0)[0]
                return after

            after = edited(once)
            by_one = torch.cat([edited(one) for one in single])
            yield f"Edit Picture, {sampler}, {kind}"[:33], [after], [edited(again)], [by_one]
    for method in methods:
        learned = [pack.run("HDirectionLearn", **{**given["HDirectionLearn"], "method": method})[0] for _ in range(2)]
        yield f"h-Space Direction Learn, {method}", *(list(one.tensors.values()) for one in learned), None
    pairs = [pack.run("LatentPair", **given["LatentPair"])[:2] for _ in range(2)]
    yield "Latent Pair", *([code["samples"] for code in pair] for pair in pairs), None


def main() -> int:
    """Run what the command line asks for; the status is 1 where anything is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("traceless", "repeats"), default="traceless")
    parser.add_argument("--cancels", type=int, default=20, help="of each long node (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with light():
        wrong = traceless(given.cancels, given.seed) if given.what == "traceless" else repeats(given.seed)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
