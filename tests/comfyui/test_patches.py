"""Every node on a model with a LoRA, a ControlNet, or both: random ones, which act."""

from typing import Any, NamedTuple

import pytest
import torch
from helpers.patches import controlnet, lora
from helpers.tensors import relative
from torch import Tensor

STEPS = 10
AT_STEP = 7
CFG = 1.5


class Patched(NamedTuple):
    """A patched model, its prompts, and what an inversion on it gave."""

    model: Any
    source: Any
    target: Any
    faces: dict[str, Tensor]
    code: dict[str, Tensor]
    noise: Any
    report: str
    back: Tensor

    @property
    def options(self) -> dict[str, Any]:
        """How its codes are sampled."""
        return dict(cfg=CFG, positive=self.source, model=self.model)


@pytest.fixture(scope="module", params=["lora", "both"])
def patched(request, graph):
    import comfy.sd

    model = graph.model
    prompts = (graph.source, graph.target)
    with torch.inference_mode():
        if request.param != "controlnet":
            model = comfy.sd.load_lora_for_models(graph.model, None, lora(graph), 1.0, 0)[0]
        if request.param != "lora":
            hint = graph.run("DemoFace", seed=3)[0]
            net = controlnet(graph)
            apply = graph.stock.ControlNetApply().apply_controlnet
            prompts = [apply(prompt, net, hint, 1.0)[0] for prompt in prompts]
    source, target = prompts
    faces = graph.faces([21])
    sigmas = graph.schedule(STEPS)
    code, noise, report, _ = graph.invert(faces, model=model, positive=source, cfg=CFG, sigmas=sigmas)
    back = graph.sample(code, cfg=CFG, positive=source, model=model, sigmas=sigmas)
    return Patched(model, source, target, faces, code, noise, report, back)


def test_the_picture_comes_back_and_the_patches_act(graph, patched):
    assert relative(patched.back, patched.faces["samples"]) < 1e-3, patched.report
    assert relative(graph.sample(patched.code, cfg=CFG, sigmas=graph.schedule(STEPS)), patched.back) > 1e-2


def test_a_direction_is_learned_and_used(graph, patched):
    direction = graph.learn(
        "global",
        model=patched.model,
        source=patched.source,
        target=patched.target,
    )[0]
    sigmas = graph.schedule(STEPS)
    still = graph.sample(patched.code, graph.asyrp(direction, strength=0.0), **patched.options, sigmas=sigmas)
    assert torch.equal(still, patched.back)
    moved = graph.sample(patched.code, graph.asyrp(direction), **patched.options, sigmas=sigmas)
    assert torch.isfinite(moved).all()
    assert not torch.equal(moved, patched.back)


def test_a_pair_of_codes_goes_back_to_the_picture(graph, patched):
    source_code, target_code, sigmas, *_ = graph.pair(
        model=patched.model,
        source=patched.source,
        target=patched.target,
        noise=patched.noise,
        latent_image=patched.faces,
        sigmas=graph.schedule(STEPS),
        cfg=CFG,
        at_step=AT_STEP,
        first_parting=2,
        last_parting=4,
    )
    finished = graph.sample(source_code, **patched.options, sigmas=sigmas)
    assert relative(finished, patched.back) < 1e-4
    assert relative(target_code["samples"], source_code["samples"]) > 1e-2
