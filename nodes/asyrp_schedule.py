"""Asyrp Schedule (auto): edit_percent and boost_percent for a picture, from what the model makes of it."""

from __future__ import annotations

from typing import Any

import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.latents import latent_of, process_out, to_model_space
from ..backends.comfyui.noise import is_flow_model
from ..backends.comfyui.session import Prompts, run_in_session
from ..backends.perceptual import DISTANCES, distance_named
from ..core.errors import EditError, check_sigmas
from ..core.hspace.edit_schedule import EditCurves, edit_curves, record_rebuild
from . import plots
from .inputs import ADVANCED, NEGATIVE_TOOLTIP, cfg_input, with_search_words
from .prepared_picture import decoded

DISTANCE = "ms-ssim"
# Names of lines in the plot.
PREDICTED = "dist(x, P_t)"
STRENGTH = "editing strength"
NOISY = "quality deficiency dist(x, x_t)"


def _threshold_input(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=0.0, max=10.0, step=0.001, round=False, tooltip=tooltip)


class AsyrpSchedule(io.ComfyNode):
    """The percents of Asyrp Sampler, found for a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        strengths = ", ".join(f"{own.strength:g} for {name}" for name, own in DISTANCES.items())
        qualities = ", ".join(f"{own.quality:g} for {name}" for name, own in DISTANCES.items())
        schema = io.Schema(
            node_id="SingularEditAsyrpSchedule",
            display_name="Asyrp Schedule (auto)",
            category=ADVANCED,
            description=(
                "Finds edit_percent and boost_percent of Asyrp Sampler for a picture, as the Asyrp paper does: "
                "it inverts the picture, draws it again, and measures at which step it is recognised."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The model you edit with."),
                io.Vae.Input("vae", tooltip="The model's VAE, because distances are measured between pictures."),
                io.Latent.Input("latent_image", tooltip="The picture, from VAE Encode. Of a batch the mean is used."),
                io.Conditioning.Input("positive", tooltip="The prompt that describes the picture as it is."),
                io.Conditioning.Input("negative", tooltip=NEGATIVE_TOOLTIP),
                io.Sigmas.Input(
                    "sigmas", tooltip="The noise levels that you edit with, from a scheduler node, from full noise on."
                ),
                _threshold_input(
                    "strength_threshold",
                    (
                        "How alike the picture must look before editing ends (a distance). Smaller edits longer. "
                        f"0 takes the distance's own ({strengths})."
                    ),
                ),
                _threshold_input(
                    "quality_threshold",
                    (
                        "How alike the noisy picture must look before the boost begins (a distance). "
                        "Smaller boosts less. "
                        f"0 takes the distance's own ({qualities})."
                    ),
                ),
                cfg_input(1.0, "The cfg to invert and to draw again at."),
                io.Combo.Input(
                    "distance",
                    options=list(DISTANCES),
                    default=DISTANCE,
                    tooltip=(
                        "How pictures are compared. lpips needs its package and AlexNet's weights to be installed."
                    ),
                ),
            ],
            outputs=[
                io.Float.Output(
                    "edit_percent",
                    display_name="edit_percent",
                    tooltip="For Asyrp Sampler's edit_percent.",
                ),
                io.Float.Output(
                    "boost_percent",
                    display_name="boost_percent",
                    tooltip="For Asyrp Sampler's boost_percent. 1 turns the boost off.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="Both distances, the editing strength, and where the thresholds are met.",
                ),
            ],
        )
        return with_search_words(schema, "h-space", "asyrp")

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        latent_image: dict[str, Any],
        positive: Any,
        negative: Any,
        sigmas: Tensor,
        strength_threshold: float,
        quality_threshold: float,
        cfg: float = 1.0,
        distance: str = DISTANCE,
    ) -> io.NodeOutput:
        """Measure the picture and find the percents."""
        check_sigmas(sigmas)
        if latent_image["samples"].count_nonzero() == 0:
            raise EditError(
                "latent_image is an empty latent; the schedule is measured on a picture, so wire VAE Encode."
            )
        measure = distance_named(distance)
        own = DISTANCES[distance]
        samples = latent_of(latent_image, "latent_image", model)
        sampling = model.get_model_object("model_sampling")
        bar = comfy.utils.ProgressBar(3 * (len(sigmas) - 1))

        def advance() -> None:
            bar.update(1)

        def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> tuple[Tensor, Tensor]:
            return record_rebuild(ComfyDenoiser(wrapped, extra_args), x, schedule, on_step=advance)

        def percent_to_sigma(percent: float) -> float:
            return float(sampling.percent_to_sigma(percent))

        def decode(latents: Tensor) -> Tensor:
            pictures = decoded(vae, model.model, process_out(model.model, latents))
            return pictures[..., :3].movedim(-1, 1).clamp(0, 1)

        states, predictions = run_in_session(model, Prompts(positive, negative, cfg), samples, sigmas, algorithm)
        found = edit_curves(
            states,
            predictions,
            to_model_space(model, samples),
            sigmas,
            percent_to_sigma=percent_to_sigma,
            decode=decode,
            distance=measure,
            flow=is_flow_model(sampling),
            on_step=advance,
        )
        edit = found.edit_percent(strength_threshold or own.strength)
        boost = found.boost_percent(quality_threshold or own.quality)
        return io.NodeOutput(round(edit, 3), round(boost, 3), _plot(found, edit, boost, distance))


def _plot(found: EditCurves, edit: float, boost: float, distance: str) -> Tensor:
    boosted = f"from {boost:.2f}" if boost < 1 else "off"
    return plots.curves(
        found.percents,
        {PREDICTED: found.predicted, STRENGTH: found.strengths, NOISY: found.noisy},
        f"edit until {edit:.2f}, boost {boosted} ({distance})",
        "sampling progress",
        "distance",
        marks={PREDICTED: edit, NOISY: boost},
    )


NODES = [AsyrpSchedule]
