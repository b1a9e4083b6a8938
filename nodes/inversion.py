"""Latent Invert: the noisy code from which a stock sampler gives the picture back."""

from __future__ import annotations

import comfy.utils
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_from_code, latent_of
from ..backends.comfyui.noise import InvertedNoise, is_flow, is_max_denoise
from ..backends.comfyui.session import run, sampler_name
from ..core.errors import EditError, check_sigmas
from ..core.inversion.code_statistics import code_statistics
from ..core.inversion.ddim import ddim_inversion
from ..core.inversion.fixed_point import METHODS, fixed_point_inversion
from ..core.inversion.report import QUALITIES, Quality
from ..core.samplers import sampler_named
from .inputs import CATEGORY, cfg_input

NO_LATENT = (
    "At sigma = 1 a flow model's code has no LATENT form (ComfyUI divides it by 1 - sigma = 0); "
    "use the NOISE output with SamplerCustomAdvanced, or stop at a later step."
)


class LatentInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditLatentInvert",
            display_name="Latent Invert",
            category=CATEGORY,
            description="Finds the noisy code from which your sampler, with the same model, prompts, cfg and sigmas, gives this picture back. "
            "Sample from it with the sigmas output and SamplerCustom (add_noise off) or KSampler (Advanced) (add_noise disable), or use the NOISE output.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="The model that will rebuild the picture, with its LoRAs and other patches already applied.",
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="A prompt that describes the picture as it is. Use the same one on the way back.",
                ),
                io.Conditioning.Input(
                    "negative", tooltip="The negative prompt of the way back. Not evaluated at cfg 1."
                ),
                io.Latent.Input("latent_image", tooltip="The picture, from VAE Encode. Its noise mask is not used."),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip="The sampler's own schedule, descending, as it will be used on the way back. Do not flip it.",
                ),
                cfg_input(
                    1.0,
                    "Guidance of the way back. 1 to 2 inverts best; high guidance may not be invertible, and the report says where.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="fixed_point",
                    tooltip="fixed_point solves every step and comes back exactly. ddim takes one model call a step and drifts; it is for euler.",
                ),
                io.Int.Input(
                    "max_iterations",
                    default=20,
                    min=1,
                    max=200,
                    tooltip="Evaluations of a step at most. Read at quality custom only.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=1e-5,
                    min=1e-8,
                    max=0.1,
                    step=1e-6,
                    round=False,
                    tooltip="A step is solved when its residual, relative to the latent, falls below this. Read at quality custom only.",
                ),
                io.Int.Input(
                    "stop_at_step",
                    default=0,
                    min=0,
                    max=10000,
                    tooltip="0 inverts all the way to pure noise. Otherwise stop early and go on with KSampler (Advanced) from this start_at_step.",
                ),
                io.Combo.Input(
                    "quality",
                    options=[*QUALITIES, "custom"],
                    default="good",
                    tooltip="How exactly it comes back: fast about 60 dB (little more than one model call a step), good 90 dB (3), exact 100 dB (4). custom reads tolerance and max_iterations.",
                ),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip="The sampler of the way back, from KSamplerSelect: euler (also ddim), heun, dpm_2 or dpmpp_2m. Unwired: euler.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip="The code. Sample from it without adding noise. Carries no noise mask.",
                ),
                io.Noise.Output(
                    "noise",
                    display_name="noise",
                    tooltip="The same code as NOISE for SamplerCustomAdvanced; exact for every model family, also with a mask.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Model calls, worst residual, the steps that could not be solved, and how Gaussian the code is.",
                ),
                io.Sigmas.Output(
                    "matched_sigmas",
                    display_name="sigmas",
                    tooltip="The schedule of the way back, from the code on. Wire it to the sampler, so that the two cannot differ.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        positive,
        negative,
        latent_image,
        sigmas,
        cfg,
        method,
        max_iterations,
        tolerance,
        stop_at_step,
        quality="good",
        sampler=None,
    ) -> io.NodeOutput:
        check_sigmas(sigmas)
        name = sampler_name(sampler)
        if method == "ddim" and name not in ("euler", "ddim"):
            raise EditError(
                f"method ddim inverts euler, but the wired sampler is '{name}'; use fixed_point, or wire euler."
            )
        wanted = Quality(tolerance, max_iterations) if quality == "custom" else QUALITIES[quality]
        together = wanted.rounds if sampler_named(name).multistep else 0
        if not 0 <= stop_at_step < len(sigmas) - 1:
            raise EditError(
                f"stop_at_step is {stop_at_step}; this schedule accepts 0 (all the way) to {len(sigmas) - 2}."
            )
        start = sigmas[stop_at_step]
        sampling = model.get_model_object("model_sampling")
        has_latent = bool(torch.isfinite(sampling.inverse_noise_scaling(start, torch.ones(1, 1, 1, 1))).all())
        if not has_latent and cls._latent_is_linked():
            raise EditError(NO_LATENT)
        samples = latent_of(latent_image, "latent_image", model)
        bar = comfy.utils.ProgressBar(len(sigmas) - 1 - stop_at_step + together)

        def algorithm(wrapped, extra_args, x, schedule):
            denoise = ComfyDenoiser(wrapped, extra_args)
            advance = lambda i, state: bar.update(1)
            if method == "ddim":
                return ddim_inversion(denoise, x, schedule, stop_at_step, callback=advance)
            return fixed_point_inversion(denoise, x, schedule, *wanted, stop_at_step, name, callback=advance)

        code, report = run(model, positive, negative, cfg, samples, sigmas, algorithm)
        bar.update_absolute(bar.total)
        if is_max_denoise(sampling, float(start)):
            report.notes.append(code_statistics(code, start, is_flow(sampling)).text())
        if "noise_mask" in latent_image:
            report.notes.append(
                "The noise mask was not used, and the LATENT output drops it: ComfyUI would paste the code itself outside of the mask. "
                "To rebuild only inside a mask, wire the original picture with its mask and the NOISE output."
            )
        if latent_image["samples"].count_nonzero() == 0:
            report.notes.append("The picture is an empty latent; wire VAE Encode to invert a picture.")
        code = code.float().cpu()
        latent = latent_from_code(model, latent_image, code, start) if has_latent else ExecutionBlocker(NO_LATENT)
        return io.NodeOutput(
            latent, InvertedNoise(model, code, float(start)), report.text(), sigmas[stop_at_step:].clone()
        )

    @classmethod
    def _latent_is_linked(cls) -> bool:
        """Whether any node of the running prompt reads our first output."""
        if cls.hidden is None or not cls.hidden.prompt:
            return False
        prompt, me = cls.hidden.prompt, str(cls.hidden.unique_id)
        return any(
            value == [me, 0]
            for node in prompt.values()
            for value in node.get("inputs", {}).values()
            if isinstance(value, list)
        )


NODES = [LatentInvert]
