"""Learning inside ComfyUI's sampling session: directions and readouts, and SVD attributes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import comfy.model_management
import torch
from torch import Tensor

from ...core.denoiser import PromptDenoisers
from ...core.hspace.learn_clip import ClipObjective
from ...core.latent_svd.attribute import SVDAttribute
from ...core.recipes import latent_svd
from ...core.recipes.hspace import Learned, learn_from_prompts
from ...core.recipes.learning_cost import LearningPlan, plan_learning
from ...core.recipes.picture_codes import picture_codes
from ...core.recipes.settings import LearnSettings, PairSettings
from ...core.recipes.svd_pairs import pair_evidence
from ...core.samplers import Run, Schedule
from .denoiser import ComfyDenoiser, with_trainable_decoder
from .family import choose_layer, family_of, pixels_per_latent
from .latents import ComfySpace, to_model_space
from .noise import starting_noise
from .progress import Progress
from .session import POSITIVE, TARGET, Prompts, run_in_session


def how_learned(model: Any, latent: Tensor, sigmas: Tensor, cfg: float) -> dict[str, str]:
    """Return what the file of an attribute says of how it was learned.

    Args:
        model: The MODEL.
        latent: [B, C, H, W], of the size that it was learned at.
        sigmas: The schedule, [n + 1].
        cfg: Guidance.
    """
    pixels = pixels_per_latent(model.model)
    return {
        **family_of(model.model).info(),
        "cfg": f"{cfg:g}",
        "steps": str(len(sigmas) - 1),
        "width": str(latent.shape[-1] * pixels),
        "height": str(latent.shape[-2] * pixels),
    }


def learn_direction_in_session(
    model: Any,
    prompts: Prompts,
    latent: Tensor,
    sigmas: Tensor,
    settings: LearnSettings,
    *,
    name: str,
    objective_on: Callable[[torch.device], ClipObjective] | None = None,
) -> tuple[Learned, LearningPlan]:
    """Learn a direction or a readout.

    Args:
        model: A MODEL with h, with its patches.
        prompts: Source and target prompts, and the guidance to learn at.
        latent: [B, C, H, W] in LATENT space: the size of the pictures, and how many are sampled at once.
        sigmas: The schedule to learn on, from full noise.
        settings: How to learn; its training's seed draws the noises too.
        name: What it is to be called.
        objective_on: Makes what method clip asks for, on a device.

    Returns:
        What was learned, and what it was planned to take.

    Raises:
        EditError: The MODEL has no h at the settings' layer, or recipes.hspace.learn_from_prompts does not accept the
            settings.
    """
    seed = settings.training.seed
    layer = choose_layer(model.model, settings.layer)
    percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    progress = Progress(f"Learning {name}", 1)  # how long it is, the plan says

    def algorithm(
        wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor
    ) -> tuple[Learned, LearningPlan]:
        sampling = wrapped.inner_model.inner_model.model_sampling
        # The session's own tensors are inference tensors when it runs in inference mode; ours are not.
        schedule = schedule.clone()
        denoisers = PromptDenoisers(
            ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, layer=layer),
            ComfyDenoiser(wrapped, extra_args, prompt=TARGET, layer=layer),
            ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, layer=layer, differentiable=True),
        )
        first = starting_noise(sampling, x, 1, schedule[0], seed).to(x.device)
        learned_on = Schedule(schedule, percent_to_sigma)
        plan = plan_learning(denoisers.source, settings, learned_on, first, len(x))
        logging.info("Singular Edit, %s: %s", name, plan.cost.text())
        progress.say(f"{progress.title}: {plan.cost.text()}")
        progress.total = plan.cost.ticks
        with _inplace_patches_allowed(model):
            learned = learn_from_prompts(
                denoisers,
                starting_noise(sampling, x, plan.settings.samples, schedule[0], seed),
                learned_on,
                plan.settings,
                objective=None if objective_on is None else objective_on(x.device),
                info={"name": name, **how_learned(model, latent, sigmas, prompts.cfg)},
                run=Run(batch=len(x), device=x.device, on_step=progress.tick),
            )
        return learned, plan

    comfy.model_management.load_models_gpu([model])
    try:
        with torch.inference_mode(False):
            trainable = with_trainable_decoder(model, layer)
            learned, plan = run_in_session(trainable, prompts, latent.clone(), sigmas.clone(), algorithm, seed=seed)
    finally:
        # ComfyUI leaves a clone's patches on the layers until another clone is loaded, also after an error or a cancel.
        comfy.model_management.load_models_gpu([model])
    progress.finish(f"Learned {name}.")
    return learned, plan


class _KeptOriginals(WeakKeyDictionary):
    """Saved tensors that stay as long as their handles, also once they were mutated.

    torch forgets a mutated one while its handle lives on, and takes a new tensor at the same address for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mutated: WeakKeyDictionary[Any, Tensor] = WeakKeyDictionary()

    def __delitem__(self, handle: Any) -> None:
        self.mutated[handle] = self[handle]
        super().__delitem__(handle)


@contextmanager
def _inplace_patches_allowed(model: Any) -> Iterator[None]:
    """Let patches of the decoder write into what gradients need, as FreeU does."""
    patches = model.model_options["transformer_options"].get("patches", {})
    if not patches.get("output_block_patch"):
        yield
        return
    with torch.autograd.graph.allow_mutation_on_saved_tensors() as saved:
        saved.original = _KeptOriginals()
        yield


def prompt_denoisers(wrapped: Any, extra_args: dict[str, Any], cfg: float | None = None) -> PromptDenoisers:
    """Return the MODEL under the session's two prompts, at its guidance or another; see ComfyDenoiser."""
    source, target = (ComfyDenoiser(wrapped, extra_args, prompt=prompt, cfg=cfg) for prompt in (POSITIVE, TARGET))
    return PromptDenoisers(source, target)


def learn_svd_in_session(
    model: Any,
    prompts: Prompts,
    latent: Tensor,
    sigmas: Tensor,
    settings: PairSettings,
    *,
    name: str,
    seed: int = 0,
    pictures: Tensor | None = None,
) -> SVDAttribute:
    """Learn an SVD attribute from pairs of codes.

    Args:
        model: A MODEL of any family, with its patches.
        prompts: Source and target prompts, and the guidance of both.
        latent: [B, C, H, W] in LATENT space: the size of the pictures, and how many are sampled at once.
        sigmas: The schedule, from full noise.
        settings: Where the pairs come from, and how many.
        name: What it is to be called.
        seed: Seed of the noises.
        pictures: Pictures that show the source prompt, whose codes pairs begin at in place of noise, [N, C, H, W] in
            LATENT space; None learns from noise.

    Returns:
        The attribute, of codes in LATENT space.

    Raises:
        EditError: A step is not in the schedule.
    """
    several = 0 if pictures is None else len(pictures)
    progress = Progress(f"Learning {name}", settings.all_calls(len(sigmas) - 1, len(latent), several))
    info = {"name": name, **how_learned(model, latent, sigmas, prompts.cfg)}

    def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> SVDAttribute:
        sampling = wrapped.inner_model.inner_model.model_sampling
        denoisers, unguided = (prompt_denoisers(wrapped, extra_args, cfg) for cfg in (None, 1.0))
        run = Run(batch=len(x), device=x.device, on_step=progress.tick)
        starts: Tensor | Iterable[Tensor]
        if pictures is None:
            starts = starting_noise(sampling, x, settings.drawn, schedule[0], seed)
        else:
            latents = to_model_space(model, pictures)
            starts = picture_codes(denoisers.source, latents, schedule, settings.drawn, seed=seed, run=run)
        return latent_svd.learn_from_prompts(
            denoisers,
            starts,
            schedule,
            settings,
            space=ComfySpace.of(model),
            evidence=pair_evidence(unguided, settings, schedule, x.shape[1:], seed),
            pictures=several,
            info=info,
            run=run,
        )

    learned = run_in_session(model, prompts, latent, sigmas, algorithm, seed=seed)
    progress.finish(f"Learned {name}.")
    return learned
