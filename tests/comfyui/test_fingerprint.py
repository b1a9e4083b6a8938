"""The hash by which what was learned is found again: equal for equal models in every process, another for others."""

import functools
import os
import subprocess
import sys

import pytest
import torch
from helpers.graph import empty_latent
from helpers.patches import lora
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = True
from singular_edit.backends.comfyui.fingerprint import model_fingerprint
from singular_edit.demo.comfyui import load
print(model_fingerprint(load()[0]))
"""


@pytest.fixture(scope="module")
def fingerprint(comfy):
    from singular_edit.backends.comfyui.fingerprint import fingerprint

    return fingerprint


@pytest.fixture(scope="module")
def of_model(comfy):
    from singular_edit.backends.comfyui.fingerprint import model_fingerprint

    return model_fingerprint


@pytest.fixture(scope="module")
def styled(graph):
    """The demo model with a LoRA, by its strength."""
    import comfy.sd

    state = lora(graph)

    def with_strength(strength):
        with torch.inference_mode():
            return comfy.sd.load_lora_for_models(graph.model, None, state, strength, 0.0)[0]

    return with_strength


def test_it_is_the_same_in_another_process(graph, of_model, comfyui_path):
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(comfyui_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip().endswith(of_model(graph.model))


def test_a_lora_and_its_strength_count(graph, of_model, styled):
    found = {of_model(model) for model in (graph.model, styled(1.0), styled(0.5))}
    assert len(found) == 3
    assert of_model(styled(1.0)) in found


def test_it_does_not_matter_whose_patches_are_loaded(graph, of_model, styled):
    model = styled(1.0)
    before = of_model(graph.model), of_model(model)
    for loaded in (model, graph.model):
        graph.sample_noise(graph.random_noise(), empty_latent(1), model=loaded, sigmas=graph.schedule(2))
        assert (of_model(graph.model), of_model(model)) == before


def test_what_a_patch_holds_counts(graph, of_model):
    import comfy_extras.nodes_freelunch as freelunch

    found = [of_model(freelunch.FreeU_V2().patch(graph.model, b, 1.1, 0.9, 0.9)[0]) for b in (1.1, 1.1, 1.2)]
    assert found[0] == found[1] != found[2]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


# Hypothesis makes its table of characters with the first text, which takes longer than it allows on a new machine.
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, VALUES)
def test_values_are_told_apart(fingerprint, a, b):
    # Two values are the same where their texts are: 1, 1.0 and True are not.
    assert (fingerprint(a) == fingerprint(b)) == (repr_of(a) == repr_of(b))


def repr_of(value) -> str:
    if isinstance(value, dict):
        return repr(sorted((key, repr_of(item)) for key, item in value.items())) + "d"
    return repr([repr_of(item) for item in value]) if isinstance(value, list) else repr(value)


def test_one_number_of_a_small_tensor_counts(fingerprint):
    a = torch.zeros(8, 8)
    b = a.clone()
    b[3, 3] = 1e-6
    assert fingerprint(a) != fingerprint(b)
    assert fingerprint(a) == fingerprint(torch.nn.Parameter(a))
    assert fingerprint(a) != fingerprint(a.reshape(4, 16))


def test_what_a_function_was_made_with_counts(fingerprint):
    def scaled(by):
        return lambda x: by * x

    assert fingerprint(scaled(2)) == fingerprint(scaled(2)) != fingerprint(scaled(3))
    one, other = (lambda x: x + 1), (lambda x: x - 1)
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(functools.partial(max, 1)) != fingerprint(functools.partial(max, 2))


def test_a_value_that_holds_itself_ends(fingerprint):
    loop = []
    loop.append(loop)
    assert fingerprint(loop) == fingerprint(loop)
