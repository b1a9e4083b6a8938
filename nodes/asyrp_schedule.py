"""Asyrp Schedule (auto): edit_percent and boost_percent for a picture, from what the model makes of it."""

from __future__ import annotations

import comfy.utils
import torch
from comfy_api.latest import io

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_of, to_model_space
from ..backends.comfyui.noise import is_flow
from ..backends.comfyui.session import run
from ..backends.perceptual import DISTANCES, distance_named
from ..core.errors import EditError, check_sigmas
from ..core.hspace.edit_schedule import edit_curves, record_rebuild
from . import plots
from .inputs import CATEGORY, cfg_input


class AsyrpSchedule(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        strength, quality = DISTANCES["ms-ssim"]
        threshold = lambda id, tooltip: io.Float.Input(
            id, default=0.0, min=0.0, max=10.0, step=0.001, round=False, tooltip=tooltip
        )
        return io.Schema(
            node_id="SingularEditAsyrpSchedule",
            display_name="Asyrp Schedule (auto)",
            category=CATEGORY,
            description="Finds for a picture until when Asyrp should edit and from when it should boost: it inverts the picture, rebuilds it, and watches how near "
            "the predicted and the noisy picture come to it.",
            inputs=[
                io.Model.Input("model", tooltip="The model you edit with."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to it: distances are measured between pictures."),
                io.Latent.Input("latent_image", tooltip="The picture, from VAE Encode. Of a batch the mean is used."),
                io.Conditioning.Input("positive", tooltip="The prompt that describes the picture as it is."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Not evaluated at cfg 1."),
                io.Sigmas.Input("sigmas", tooltip="The schedule you edit with, from full noise."),
                threshold(
                    "strength_threshold",
                    f"Editing ends when the predicted picture is this near to the picture. Smaller edits longer. 0 = the distance's own ({strength:g} for ms-ssim, 0.33 for lpips).",
                ),
                threshold(
                    "quality_threshold",
                    f"Boosting begins when the noisy picture is this near to the picture. Smaller boosts less. 0 = the distance's own ({quality:g} for ms-ssim, 1.2 for lpips).",
                ),
                cfg_input(1.0, "Guidance while inverting and rebuilding."),
                io.Combo.Input(
                    "distance",
                    options=list(DISTANCES),
                    default="ms-ssim",
                    tooltip="How pictures are compared. lpips needs its package and AlexNet's weights to be installed.",
                ),
            ],
            outputs=[
                io.Float.Output(
                    "edit_percent", display_name="edit_percent", tooltip="For Asyrp Sampler's edit_percent."
                ),
                io.Float.Output(
                    "boost_percent", display_name="boost_percent", tooltip="For Asyrp Sampler's boost_percent. 1 = off."
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Both distances, the editing strength, and where the thresholds are met.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        vae,
        latent_image,
        positive,
        negative,
        sigmas,
        strength_threshold,
        quality_threshold,
        cfg=1.0,
        distance="ms-ssim",
    ) -> io.NodeOutput:
        check_sigmas(sigmas)
        if latent_image["samples"].count_nonzero() == 0:
            raise EditError(
                "latent_image is an empty latent; the schedule is measured on a picture, so wire VAE Encode."
            )
        measure, own = distance_named(distance), DISTANCES[distance]
        samples, sampling = latent_of(latent_image, "latent_image", model), model.get_model_object("model_sampling")
        bar = comfy.utils.ProgressBar(3 * (len(sigmas) - 1))
        advance = lambda: bar.update(1)

        def algorithm(wrapped, extra_args, x, schedule):
            return record_rebuild(ComfyDenoiser(wrapped, extra_args), x, schedule, advance)

        def decode(latents: torch.Tensor) -> torch.Tensor:
            pictures = vae.decode(model.model.process_latent_out(latents))
            return pictures.reshape(-1, *pictures.shape[-3:])[..., :3].movedim(-1, 1).float().clamp(0, 1)

        states, predictions = run(model, positive, negative, cfg, samples, sigmas, algorithm)
        found = edit_curves(
            states,
            predictions,
            to_model_space(model, samples),
            sigmas,
            lambda percent: float(sampling.percent_to_sigma(percent)),
            decode,
            measure,
            is_flow(sampling),
            advance,
        )
        edit = found.edit_percent(strength_threshold or own.strength)
        boost = found.boost_percent(quality_threshold or own.quality)
        plot = plots.curves(
            found.percents,
            {
                "dist(x, P_t)": found.predicted,
                "editing strength": found.strengths,
                "quality deficiency dist(x, x_t)": found.noisy,
            },
            f"edit until {edit:.2f}, boost " + (f"from {boost:.2f}" if boost < 1 else "off") + f" ({distance})",
            "sampling progress",
            "distance",
            {"dist(x, P_t)": edit, "quality deficiency dist(x, x_t)": boost},
        )
        return io.NodeOutput(round(edit, 3), round(boost, 3), plot)


NODES = [AsyrpSchedule]
