"""Every node in a real ComfyUI: it ends well or in a sentence, leaves nothing behind, and repeats itself."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from helpers.benchmarks import benchmark
from helpers.graph import Graph, empty_latent

INTERFACE = json.loads(Path(__file__).with_name("interface.json").read_text())
NODES = [node["id"].removeprefix("SingularEdit") for node in INTERFACE]
LONG = ("LearnAttribute", "PreparePicture", "EditPicture", "LatentPair", "HDirectionLearn", "AsyrpSchedule")
# What makes the long nodes shorter; another seed, or what was learned is found again.
SHORTER = {
    "LearnAttribute": {"learn_seed": 1},
    "HDirectionLearn": {"method": "vector"},
}
# Of a batch against its pictures one by one, relative to the largest value: what docs/method.md says.
BATCH_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def calls(pack_nodes):
    pack = benchmark("pack_in_comfyui")
    with pack.light():
        yield benchmark("fuzz_nodes").Calls(pack.PackInComfyUI(pack_nodes, ("unet",)))


@pytest.fixture(scope="module")
def effects(calls):
    return benchmark("side_effects").Effects(calls.pack, "unet")


@pytest.mark.parametrize("name", NODES)
def test_generated_calls_end_well_or_in_a_sentence_and_change_nothing(calls, name):
    calls.call(name, random.Random(f"{name} 0"))


@pytest.mark.parametrize("name", LONG)
def test_nothing_is_left_behind_after_success_cancel_and_error(effects, name):
    side_effects = benchmark("side_effects")
    inputs = side_effects.calls(effects.wires)[name] | SHORTER.get(name, {})
    cancelled, _, changed = effects.run(name, inputs, moment=2)
    assert (cancelled, changed) == ("cancelled", [])
    failed, _, changed = effects.run(name, side_effects.failing(inputs))
    assert (failed, changed) == ("ModelError", [])
    right, looked, changed = effects.run(name, inputs)
    assert (right, changed) == ("right", [])
    assert looked > 2


def test_learning_leaves_a_transformers_weights_as_they_were(pack_nodes, calls):
    network_state = benchmark("snapshot").network_state
    graph = Graph(pack_nodes, "transformer")
    before = network_state(graph.model.model)
    graph.learn("readout", latent_image=empty_latent(1, (4, 16, 16)), sigmas=graph.schedule(3), samples=1, steps=1)
    assert benchmark("snapshot").differences(before, network_state(graph.model.model)) == []


def test_same_seed_same_bits_and_a_batch_is_its_pictures(calls):
    side_effects = benchmark("side_effects")
    compared = side_effects.results(calls.pack, "unet", seed=0, count=2, samplers=("euler",), methods=("readout",))
    for what, once, again, alone in compared:
        assert all(map(torch.equal, once, again)), what
        if alone is not None:
            assert side_effects.distance(once[0], alone[0]) < BATCH_TOLERANCE, what
