"""Latent Pair: two codes of one picture, whose prompts branch as late as the attribute allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_from_code, latent_of
from ..backends.comfyui.learning import prompt_denoisers
from ..backends.comfyui.noise import check_start, is_max_denoise
from ..backends.comfyui.progress import warn
from ..backends.comfyui.session import POSITIVE, TARGET, Prompts, run_in_session
from ..core.errors import EditError, check_latent, check_sigmas
from ..core.inversion.trace import Trace
from ..core.inversion.traced import follow_trace, retraced
from ..core.latent_svd.prompt_pairs import PromptPair, sample_prompt_pair
from ..core.recipes.defaults import BRANCH_STEPS, EVIDENCE_NOISES, LEARN_GUIDANCE, STEPS, T_X_STEP
from ..core.recipes.settings import PairSettings
from ..core.recipes.svd_pairs import pair_evidence
from ..core.samplers import Schedule
from .inputs import ADVANCED, cfg_input, trace_input, trace_of, with_advanced, with_search_words
from .traced_sampler import OTHER_GUIDANCE, is_at_guidance


def branch_steps(first: int, last: int) -> list[int]:
    """Return as many steps from first to last as there are BRANCH_STEPS, evenly spread; fewer where they are near."""
    count = len(BRANCH_STEPS)
    return sorted({round(first + (last - first) * i / (count - 1)) for i in range(count)})


class LatentPair(io.ComfyNode):
    """A pair of codes from two prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditLatentPair",
            display_name="Latent Pair",
            category=ADVANCED,
            description=(
                "Draws one picture under two prompts, halfway: the pair that SVD Attribute Learn needs. "
                "Both share the first steps, and part as late as the attribute allows, "
                "which is found for each picture, so that little else changes. "
                "Finish source with SamplerCustom (add_noise off, the sigmas output) "
                "or KSampler (Advanced) (start_at_step = at_step)."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model, with its LoRAs and other patches already applied."),
                io.Conditioning.Input("source", tooltip="What the pictures are, without the attribute: 'a face'."),
                io.Conditioning.Input("target", tooltip="The same with the attribute: 'a face with a hat'."),
                io.Conditioning.Input(
                    "negative",
                    tooltip="The negative prompt of both. At cfg 1 it is not used.",
                ),
                io.Noise.Input(
                    "noise",
                    tooltip=(
                        "Random Noise for a new face. "
                        "Latent Invert's noise for a picture of yours. "
                        "Disable Noise if latent_image is noisy already."
                    ),
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip=(
                        "As for the sampler: an empty latent, whose batch size is the number of pairs, "
                        "or the latent that Latent Invert was given. "
                        "Its noise mask is not used."
                    ),
                ),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip="The noise levels of the sampler, from a scheduler node such as BasicScheduler.",
                ),
                cfg_input(
                    LEARN_GUIDANCE,
                    "The cfg of source: that of your sampler. For an inverted picture: the cfg of Latent Invert.",
                ),
                cfg_input(
                    LEARN_GUIDANCE,
                    "The cfg of target. A little more than cfg makes the attribute appear more surely.",
                    name="target_cfg",
                ),
                io.Int.Input(
                    "at_step",
                    default=T_X_STEP,
                    min=1,
                    max=10000,
                    tooltip=(
                        f"The step where both stop, about {T_X_STEP} of {STEPS} steps. "
                        "The attribute is learned and applied there."
                    ),
                ),
                io.Int.Input(
                    "first_parting",
                    default=BRANCH_STEPS[0],
                    min=0,
                    max=10000,
                    tooltip=(
                        "The earliest step at which the two may part. "
                        "Earlier makes the attribute surer and changes more of the picture."
                    ),
                ),
                io.Int.Input(
                    "last_parting",
                    default=BRANCH_STEPS[-1],
                    min=0,
                    max=10000,
                    tooltip="The latest step at which they may part. If it equals first_parting, they part there.",
                ),
                trace_input("source is then exactly on the way back to your picture."),
            ],
            outputs=[
                io.Latent.Output(
                    "source_code",
                    display_name="source",
                    tooltip="The half-finished pictures without the attribute (codes). Edit these, or go on from them.",
                ),
                io.Latent.Output(
                    "target_code", display_name="target", tooltip="The half-finished pictures with the attribute."
                ),
                io.Sigmas.Output(
                    "matched_sigmas",
                    display_name="sigmas",
                    tooltip="The noise levels that are left, from at_step on.",
                ),
                io.Float.Output(
                    "sigma",
                    display_name="sigma",
                    tooltip="The noise level of both, for source_sigma of SVD Attribute Learn.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip=(
                        "The step at which the two parted, for each picture, "
                        "and which pictures do not change, by the model's own account."
                    ),
                ),
            ],
        )
        return with_search_words(with_advanced(schema, "first_parting", "last_parting"), "latent svd", "two prompts")

    @classmethod
    def execute(
        cls,
        model: Any,
        source: Any,
        target: Any,
        negative: Any,
        noise: Any,
        latent_image: dict[str, Any],
        sigmas: Tensor,
        cfg: float,
        target_cfg: float,
        at_step: int,
        first_parting: int,
        last_parting: int,
        trace: Trace | None = None,
    ) -> io.NodeOutput:
        """Sample the pairs."""
        check_sigmas(sigmas)
        if not first_parting <= last_parting < at_step < len(sigmas) - 1:
            raise EditError(
                f"first_parting is {first_parting}, last_parting {last_parting} and at_step {at_step}; "
                f"they must come in this order, and this schedule accepts an at_step up to {len(sigmas) - 2}."
            )
        samples = check_latent(latent_of(latent_image, "latent_image", model), "latent_image")
        tried = branch_steps(first_parting, last_parting)
        trace = None if trace is None else trace_of(trace, "trace")
        drawn = noise.generate_noise({**latent_image, "samples": samples}).float()
        retraces = trace is not None and not is_at_guidance(trace, target_cfg)
        if trace is not None and not is_at_guidance(trace, cfg):
            warn(OTHER_GUIDANCE.format(here=cfg, there=trace.guidance))
        percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
        # Where there is one step to branch at, there is nothing to ask the model.
        noises = EVIDENCE_NOISES if len(tried) > 1 else 0
        shipped = PairSettings.for_schedule(Schedule(sigmas, percent_to_sigma))
        pairs = replace(shipped, step=at_step, branch_steps=tuple(tried), evidence_noises=noises)
        bar = comfy.utils.ProgressBar(pairs.calls(len(sigmas) - 1) + (at_step if retraces else 0))

        def advance() -> None:
            bar.update(1)

        def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> PromptPair:
            sampling = wrapped.inner_model.inner_model.model_sampling
            full = is_max_denoise(sampling, float(schedule[0]))
            start = sampling.noise_scaling(schedule[0], drawn.to(x), x, full)
            if trace is not None:
                check_start(trace, start, schedule, drawn)
            source_denoiser = ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, cfg=cfg)
            target_denoiser = ComfyDenoiser(wrapped, extra_args, prompt=TARGET, cfg=target_cfg)
            target_trace = trace
            if retraces:
                same_guidance = ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, cfg=target_cfg)
                target_trace = retraced(same_guidance, trace, start, schedule[:at_step], lambda *_: advance())
            unguided = prompt_denoisers(wrapped, extra_args, cfg=1.0)
            return sample_prompt_pair(
                follow_trace(source_denoiser, trace, start, schedule),
                follow_trace(target_denoiser, target_trace, start, schedule),
                start,
                schedule,
                at_step,
                branch_steps=tried,
                evidence=pair_evidence(unguided, pairs, schedule, x.shape[1:], noise.seed),
                on_step=advance,
            )

        pair = run_in_session(model, Prompts(source, negative, cfg, target), samples, sigmas, algorithm)
        sigma = sigmas[at_step]
        return io.NodeOutput(
            latent_from_code(model, latent_image, pair.source, sigma),
            latent_from_code(model, latent_image, pair.target, sigma),
            sigmas[at_step:].clone(),
            float(sigma),
            _report(pair, tried, at_step, float(sigma)),
        )


def _report(pair: PromptPair, tried: list[int], at_step: int, sigma: float) -> str:
    chosen = ", ".join(str(step) for step in pair.branch_step.tolist())
    steps = ", ".join(str(step) for step in tried)
    text = f"codes at step {at_step}, sigma {sigma:.4g}; prompts branch at step {chosen} (tried: {steps})"
    if pair.evidence is not None:
        idle = (pair.evidence[1] <= pair.evidence[0]).nonzero().flatten().tolist()
        if idle:
            text += (
                f"\nPicture {', '.join(str(number + 1) for number in idle)} does not come to show more of what target "
                "says: it may show that already, or target may need plainer words."
            )
    if len(tried) > 1 and (pair.branch_step == tried[0]).any():
        text += (
            "\nSome pictures used the first step tried. "
            "Lowering first_parting makes the attribute more reliable and changes more of the picture."
        )
    return text


NODES = [LatentPair]
