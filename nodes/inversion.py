"""Latent Invert: the noisy code from which a stock sampler gives the picture back."""

from __future__ import annotations

from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_from_code, latent_of
from ..backends.comfyui.noise import InvertedNoise, is_flow_model, is_max_denoise
from ..backends.comfyui.session import Prompts, run_in_session, sampler_name
from ..core.errors import EditError
from ..core.inversion.code_statistics import code_statistics
from ..core.inversion.ddim import remaining_sigmas
from ..core.inversion.report import QUALITIES, WELL_DECIBELS, Quality
from ..core.recipes.inversion import FIXED_POINT, INVERSION_METHODS, Inverted, inversion_steps, invert
from .inputs import ADVANCED, MAX_SEED, TraceType, cfg_input, with_advanced, with_search_words

CUSTOM = "custom"
NO_TRACE = "Only method traced of Latent Invert gives a trace; choose it, or leave trace unwired."
NO_LATENT = (
    "At sigma = 1 a flow model's code has no LATENT form (ComfyUI divides it by 1 - sigma = 0); "
    "use the NOISE output with SamplerCustomAdvanced, or stop at a later step."
)
MASK_NOTE = (
    "The noise mask was not used, and the LATENT output drops it: "
    "ComfyUI would paste the code itself outside of the mask. "
    "To rebuild only inside a mask, wire the original picture with its mask and the NOISE output."
)
EMPTY_NOTE = "The picture is an empty latent; wire VAE Encode to invert a picture."


class LatentInvert(io.ComfyNode):
    """The code of a picture, as LATENT and as NOISE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditLatentInvert",
            display_name="Latent Invert",
            category=ADVANCED,
            description=(
                "Finds the noise (the code) from which your sampler draws this very picture again, "
                "with the same model, prompts, cfg and sigmas. "
                "Sample from it with the sigmas output and SamplerCustom, add_noise off, "
                "or KSampler (Advanced), add_noise disable; or use the NOISE output. "
                "Prepare Picture does all of this in one node."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "The model that will rebuild the picture, with its LoRAs and other patches already applied."
                    ),
                ),
                io.Conditioning.Input(
                    "positive",
                    tooltip="A prompt that describes the picture as it is. Use the same one on the way back.",
                ),
                io.Conditioning.Input(
                    "negative",
                    tooltip="The negative prompt. Use the same one on the way back. At cfg 1 it is not used.",
                ),
                io.Latent.Input("latent_image", tooltip="The picture, from VAE Encode. Its noise mask is not used."),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip=(
                        "The noise levels of the way back, from a scheduler node "
                        "such as BasicScheduler. Do not flip them."
                    ),
                ),
                cfg_input(
                    1.0,
                    (
                        "The cfg of the way back: use the same there. 1 to 2 works best. "
                        "At a high cfg some steps cannot be undone; the report names them."
                    ),
                ),
                io.Combo.Input(
                    "method",
                    options=list(INVERSION_METHODS),
                    default=FIXED_POINT,
                    tooltip=(
                        "traced: quickest and exact at any cfg, but its trace must be wired to the sampler. "
                        "fixed_point: works with ComfyUI's own samplers; it repeats each step until it fits. "
                        "ddim: the usual way, quick and not exact, for comparison. "
                        "traced and ddim are for euler."
                    ),
                ),
                io.Int.Input(
                    "max_iterations",
                    default=20,
                    min=1,
                    max=200,
                    tooltip="The most model calls that one step may take. Read at quality custom only.",
                ),
                io.Float.Input(
                    "tolerance",
                    default=1e-5,
                    min=1e-8,
                    max=0.1,
                    step=1e-6,
                    round=False,
                    tooltip=(
                        "How exactly each step must fit (its residual, relative to the latent). "
                        "Read at quality custom only."
                    ),
                ),
                io.Int.Input(
                    "stop_at_step",
                    default=0,
                    min=0,
                    max=10000,
                    tooltip=(
                        "0 goes all the way to pure noise. "
                        "A larger number stops at that step, with the picture half-finished: "
                        "go on with KSampler (Advanced), start_at_step at the same number."
                    ),
                ),
                io.Combo.Input(
                    "quality",
                    options=[*QUALITIES, CUSTOM],
                    default="good",
                    tooltip=(
                        "How exactly the picture comes back with method fixed_point, "
                        "and how many model calls a step that takes: "
                        "fast about 60 dB (little more than 1), good 90 dB (3), exact 100 dB (4). "
                        f"At {WELL_DECIBELS} dB the eye sees no difference. custom reads tolerance and max_iterations."
                    ),
                ),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip=(
                        "The sampler of the way back, from KSamplerSelect: "
                        "euler (also ddim), heun, dpm_2 or dpmpp_2m. "
                        "Without a wire it is euler."
                    ),
                ),
                io.Boolean.Input(
                    "measure",
                    default=True,
                    optional=True,
                    tooltip=(
                        "Draw the picture again once, and report how exactly it comes back. "
                        "It takes one model call a step more, and with fixed_point up to two, "
                        "because residuals are then measured, not estimated."
                    ),
                ),
                io.Int.Input(
                    "noise_seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    optional=True,
                    tooltip="Seed of the noise that method traced begins with. The other methods do not read it.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip=(
                        "The noise (code) as LATENT. Sample from it without adding noise. It carries no noise mask."
                    ),
                ),
                io.Noise.Output(
                    "noise",
                    display_name="noise",
                    tooltip=(
                        "The same as NOISE for SamplerCustomAdvanced. "
                        "It works for every model family, also with a mask."
                    ),
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip=(
                        "How exactly the picture comes back, how many model calls it took, "
                        "which steps could not be undone, and whether the code looks like ordinary noise."
                    ),
                ),
                io.Sigmas.Output(
                    "matched_sigmas",
                    display_name="sigmas",
                    tooltip=(
                        "The noise levels of the way back. Wire them to the sampler, so that the two cannot differ."
                    ),
                ),
                TraceType.Output(
                    "trace",
                    display_name="trace",
                    tooltip=(
                        "Of method traced: what each step left over. Wire it to Traced Sampler, Asyrp Sampler, "
                        "Latent SVD Sampler or Latent Pair, which then give the picture back exactly."
                    ),
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )
        return with_search_words(
            with_advanced(schema, "max_iterations", "tolerance", "stop_at_step", "measure", "noise_seed"),
            "unsampler",
            "inversion",
            "ddim inversion",
            "invert image",
            "real image editing",
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        sigmas: Tensor,
        cfg: float,
        method: str,
        max_iterations: int,
        tolerance: float,
        stop_at_step: int,
        quality: str = "good",
        sampler: Any = None,
        measure: bool = True,
        noise_seed: int = 0,
    ) -> io.NodeOutput:
        """Invert the picture."""
        name = sampler_name(sampler)
        wanted = Quality(tolerance, max_iterations) if quality == CUSTOM else QUALITIES[quality]
        matched = remaining_sigmas(sigmas, stop_at_step)
        start = matched[0]
        sampling = model.get_model_object("model_sampling")
        has_latent = bool(torch.isfinite(sampling.inverse_noise_scaling(start, torch.ones(1, 1, 1, 1))).all())
        if not has_latent and cls._latent_is_linked():
            raise EditError(NO_LATENT)
        samples = latent_of(latent_image, "latent_image", model)
        bar = comfy.utils.ProgressBar(inversion_steps(matched, method, wanted, name, measure=measure))

        def advance() -> None:
            bar.update(1)

        def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> Inverted:
            return invert(
                ComfyDenoiser(wrapped, extra_args),
                x,
                schedule,
                method,
                quality=wanted,
                stop_at_step=stop_at_step,
                sampler=name,
                seed=noise_seed,
                measure=measure,
                on_step=advance,
            )

        prompts = Prompts(positive, negative, cfg)
        code, report, trace, _ = run_in_session(model, prompts, samples, sigmas, algorithm)
        bar.update_absolute(bar.total)
        if is_max_denoise(sampling, float(start)):
            report.notes.append(code_statistics(code, start, is_flow_model(sampling)).text())
        if "noise_mask" in latent_image:
            report.notes.append(MASK_NOTE)
        if latent_image["samples"].count_nonzero() == 0:
            report.notes.append(EMPTY_NOTE)
        code = code.float().cpu()
        latent = latent_from_code(model, latent_image, code, start) if has_latent else ExecutionBlocker(NO_LATENT)
        noise = InvertedNoise(model, code, float(start))
        return io.NodeOutput(
            latent,
            noise,
            report.text(),
            matched.clone(),
            ExecutionBlocker(NO_TRACE) if trace is None else trace,
        )

    @classmethod
    def _latent_is_linked(cls) -> bool:
        """Return whether any node of the running prompt reads our first output."""
        if cls.hidden is None or not cls.hidden.prompt:
            return False
        link = [str(cls.hidden.unique_id), 0]
        return any(link in node.get("inputs", {}).values() for node in cls.hidden.prompt.values())


NODES = [LatentInvert]
