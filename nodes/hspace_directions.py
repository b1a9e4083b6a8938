"""Directions from directions: the sum of several, and the mean of one that answers each picture."""

from __future__ import annotations

import math
from typing import Any

import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.family import check_fits
from ..backends.comfyui.latents import latent_of
from ..backends.comfyui.noise import starting_noise
from ..backends.comfyui.session import Prompts, run_in_session
from ..core.errors import check_sigmas
from ..core.hspace.combine import combine_directions
from ..core.hspace.direction import HDirection, TableDirection
from ..core.hspace.mean_direction import mean_direction, mean_over_steps, step_cosines
from ..core.hspace.window import EditWindow
from ..core.recipes.settings import EditSettings
from ..core.samplers import Run
from . import plots
from .inputs import (
    ADVANCED,
    NEGATIVE_TOOLTIP,
    HDirectionType,
    cfg_input,
    direction_input,
    direction_of,
    percent_input,
    seed_input,
    size_input,
    strength_input,
)


class CombineDirections(io.ComfyNode):
    """Several directions as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        inputs: list[io.Input] = []
        for i in (1, 2, 3, 4):
            direction = direction_input(
                f"direction_{i}",
                optional=i > 1,
                tooltip="A readout or another direction (h-space). Its weight counts only if it is wired.",
            )
            weight = strength_input(
                f"weight_{i}",
                1.0,
                "How much of this one is added. A negative weight takes it away, less surely than it is added.",
                optional=i > 1,
            )
            inputs += [direction, weight]
        return io.Schema(
            node_id="SingularEditCombineH",
            display_name="Combine Directions",
            category=ADVANCED,
            description=(
                "Adds up to four readouts or other directions (h-space) into one, each with a weight: "
                "a hat and a smile, without glasses. For more, wire a sum into another. "
                "One strength then slides all of them."
            ),
            inputs=inputs,
            outputs=[
                HDirectionType.Output(
                    "direction",
                    display_name="direction",
                    tooltip=(
                        "Wire to Edit Picture, Apply Attribute, Asyrp Sampler or "
                        "Save Attribute, whose file holds all parts."
                    ),
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        direction_1: HDirection,
        weight_1: float,
        direction_2: HDirection | None = None,
        weight_2: float = 1.0,
        direction_3: HDirection | None = None,
        weight_3: float = 1.0,
        direction_4: HDirection | None = None,
        weight_4: float = 1.0,
    ) -> io.NodeOutput:
        """Add the directions."""
        slots = ((direction_1, weight_1), (direction_2, weight_2), (direction_3, weight_3), (direction_4, weight_4))
        weighted = []
        for i, (direction, weight) in enumerate(slots, 1):
            if i == 1 or direction is not None:
                weighted.append((weight, direction_of(direction, f"direction_{i}")))
        return io.NodeOutput(combine_directions(weighted))


class HDirectionAverage(io.ComfyNode):
    """The mean of what a direction adds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        return io.Schema(
            node_id="SingularEditHDirectionAverage",
            display_name="h-Space Direction Average",
            category=ADVANCED,
            description=(
                "Turns a direction that acts differently on each picture (combined, implicit, or a sum) into one "
                "that acts the same on every picture: the mean of what it does to fresh seeds. "
                "The result is a smaller file and steadier. Readouts cannot be averaged."
            ),
            inputs=[
                direction_input(
                    "direction",
                    tooltip="From h-Space Direction Learn, Combine Directions or Load h-Direction.",
                ),
                io.Model.Input("model", tooltip="The model it was learned on, or one of its family."),
                io.Conditioning.Input("positive", tooltip="The source prompt it was learned under: 'a face'."),
                io.Conditioning.Input("negative", tooltip=NEGATIVE_TOOLTIP),
                size_input("run"),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip="The noise levels that you will edit with, from a scheduler node, from full noise on.",
                ),
                io.Combo.Input(
                    "method",
                    options=["mean_t", "global"],
                    default="mean_t",
                    tooltip="mean_t: a mean for each step. global: one mean for all steps, a smaller file.",
                ),
                io.Int.Input(
                    "samples",
                    default=32,
                    min=1,
                    max=1024,
                    tooltip="How many seeds the mean is taken over.",
                ),
                percent_input(
                    "edit_percent",
                    EditSettings().edit_percent,
                    "The share of the steps that the mean is taken over. Use the edit_percent of Asyrp Sampler.",
                ),
                cfg_input(1.0, "The cfg to sample at."),
                seed_input("seed", "Seed of the noises."),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction_out",
                    display_name="direction",
                    tooltip="Wire to Asyrp Sampler or Save Attribute.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="How alike the steps are. If this is near 1, global is as good as mean_t.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        direction: HDirection,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        sigmas: Tensor,
        method: str,
        samples: int,
        edit_percent: float,
        cfg: float,
        seed: int,
    ) -> io.NodeOutput:
        """Average the direction."""
        check_sigmas(sigmas)
        direction_of(direction, "direction")
        check_fits(direction, model.model)
        shape = latent_of(latent_image, "latent_image", model)
        edit_until = float(model.get_model_object("model_sampling").percent_to_sigma(edit_percent))
        window = EditWindow(edit_until, edit_from=direction.start)
        bar = comfy.utils.ProgressBar((len(sigmas) - 1) * math.ceil(samples / len(shape)))

        def advance() -> None:
            bar.update(1)

        def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> TableDirection:
            sampling = wrapped.inner_model.inner_model.model_sampling
            noise = starting_noise(sampling, x, samples, schedule[0], seed)
            run = Run(batch=len(x), device=x.device, on_step=advance)
            denoise = ComfyDenoiser(wrapped, extra_args, layer=direction.layer)
            return mean_direction(denoise, direction, noise, schedule, window, run=run)

        prompts = Prompts(positive, negative, cfg)
        per_step = run_in_session(model, prompts, shape, sigmas, algorithm, seed=seed)
        overall = mean_over_steps(per_step)
        return io.NodeOutput(per_step if method == "mean_t" else overall, _likeness_plot(per_step, overall))


def _likeness_plot(per_step: TableDirection, overall: TableDirection) -> Tensor:
    """Plot how alike each step's map is to the mean of all steps."""
    maps = per_step.tensors["table"].flatten(1)
    mean = overall.tensors["table"].flatten()
    norms = maps.norm(dim=1)
    cosines = (maps @ mean) / (norms * mean.norm()).clamp(min=1e-12)
    relative_norms = norms / norms.max().clamp(min=1e-12)
    return plots.curves(
        per_step.sigmas.tolist(),
        {
            "cosine to the mean of all steps": cosines.tolist(),
            "norm, relative to the largest": relative_norms.tolist(),
        },
        f"{per_step.name}: mean pairwise cosine of steps {step_cosines(per_step).mean():.2f}",
        "sigma",
        "",
        falling=True,
    )


NODES = [CombineDirections, HDirectionAverage]
