"""Latent Pair: two codes of one picture, whose prompts part as late as the attribute allows."""

from __future__ import annotations

import comfy.utils
import torch
from comfy_api.latest import io

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_from_code, latent_of
from ..backends.comfyui.noise import is_max_denoise
from ..backends.comfyui.session import POSITIVE, TARGET, run
from ..core.errors import EditError, check_latent, check_sigmas
from ..core.latent_svd.prompt_pairs import sample_prompt_pair
from .inputs import CATEGORY, cfg_input

TRIED = 5


def partings(first: int, last: int) -> list[int]:
    """TRIED steps from first to last, fewer where they are near."""
    return sorted({round(first + (last - first) * i / (TRIED - 1)) for i in range(TRIED)})


class LatentPair(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditLatentPair",
            display_name="Latent Pair",
            category=CATEGORY,
            description="Makes the pair of codes that SVD Attribute Learn wants: one picture under two prompts, which part as late as the attribute allows, found for each picture. "
            "Go on from source_code with SamplerCustom (add_noise off, the sigmas output) or KSampler (Advanced) (start_at_step = at_step).",
            inputs=[
                io.Model.Input("model", tooltip="The model, with its LoRAs and other patches already applied."),
                io.Conditioning.Input("source", tooltip="What the pictures are, without the attribute: 'a face'."),
                io.Conditioning.Input("target", tooltip="The same with the attribute: 'a face with a hat'."),
                io.Conditioning.Input("negative", tooltip="The negative prompt of both. Not evaluated at cfg 1."),
                io.Noise.Input(
                    "noise",
                    tooltip="Random Noise for a new face; Latent Invert's noise for a picture of yours; Disable Noise where latent_image is a code already.",
                ),
                io.Latent.Input(
                    "latent_image",
                    tooltip="As for the sampler: an empty latent, whose batch is the number of pairs, or what Latent Invert was given. Its noise mask is not used.",
                ),
                io.Sigmas.Input("sigmas", tooltip="The sampler's own schedule, descending, from the noise on."),
                cfg_input(
                    2.0,
                    "Guidance of the source prompt: that of your sampler, for an inverted picture that of its inversion.",
                ),
                io.Float.Input(
                    "target_cfg",
                    default=2.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance of the target prompt. A little more than cfg makes the attribute come more surely.",
                ),
                io.Int.Input(
                    "at_step",
                    default=17,
                    min=1,
                    max=10000,
                    tooltip="The step where both codes are taken, of 25 about 17: the attribute is learned and applied there.",
                ),
                io.Int.Input(
                    "first_parting",
                    default=4,
                    min=0,
                    max=10000,
                    tooltip="The earliest step at which the prompts may part. Its change is what later ones are compared with.",
                ),
                io.Int.Input(
                    "last_parting",
                    default=12,
                    min=0,
                    max=10000,
                    tooltip="The latest step at which they may part. The same as first_parting: they part there.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "source_code",
                    display_name="source",
                    tooltip="The codes under the source prompt. Edit these, or go on from them.",
                ),
                io.Latent.Output("target_code", display_name="target", tooltip="The codes under the target prompt."),
                io.Sigmas.Output(
                    "matched_sigmas", display_name="sigmas", tooltip="The rest of the schedule, from at_step on."
                ),
                io.Float.Output(
                    "sigma",
                    display_name="sigma",
                    tooltip="The codes' noise level, for source_sigma of SVD Attribute Learn.",
                ),
                io.String.Output("report", display_name="report", tooltip="Where each picture's prompts part."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        negative,
        noise,
        latent_image,
        sigmas,
        cfg,
        target_cfg,
        at_step,
        first_parting,
        last_parting,
    ) -> io.NodeOutput:
        check_sigmas(sigmas)
        if not first_parting <= last_parting < at_step < len(sigmas) - 1:
            raise EditError(
                f"first_parting is {first_parting}, last_parting {last_parting} and at_step {at_step}; they must come in this order, and this schedule accepts an at_step up to {len(sigmas) - 2}."
            )
        samples = check_latent(latent_of(latent_image, "latent_image", model), "latent_image")
        tried, drawn = (
            partings(first_parting, last_parting),
            noise.generate_noise({**latent_image, "samples": samples}).float(),
        )
        bar = comfy.utils.ProgressBar(at_step + sum(at_step - part for part in tried))

        def algorithm(wrapped, extra_args, x, schedule):
            sampling = wrapped.inner_model.inner_model.model_sampling
            start = sampling.noise_scaling(schedule[0], drawn.to(x), x, is_max_denoise(sampling, float(schedule[0])))
            prompts = (
                ComfyDenoiser(wrapped, extra_args, prompt=prompt, cfg=guidance)
                for prompt, guidance in ((POSITIVE, cfg), (TARGET, target_cfg))
            )
            return sample_prompt_pair(*prompts, start, schedule, at_step, tried, callback=lambda: bar.update(1))

        pair = run(model, source, negative, cfg, samples, sigmas, algorithm, target=target)
        sigma = sigmas[at_step]
        codes = [latent_from_code(model, latent_image, code, sigma) for code in pair[:2]]
        return io.NodeOutput(
            *codes, sigmas[at_step:].clone(), float(sigma), _report(pair.parted, tried, at_step, float(sigma))
        )


def _report(parted: torch.Tensor, tried: list[int], at_step: int, sigma: float) -> str:
    text = f"codes at step {at_step}, sigma {sigma:.4g}; prompts part at step {', '.join(str(part) for part in parted.tolist())} (tried: {', '.join(map(str, tried))})"
    if len(tried) > 1 and (parted == tried[0]).any():
        text += "\nWhere it is the first one tried, the attribute is decided early, as an outline is; an earlier first_parting may bring it more surely and change more."
    return text


NODES = [LatentPair]
