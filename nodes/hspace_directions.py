"""Directions from directions (sums, means) and from seeds alone (PCA)."""

from __future__ import annotations

import comfy.utils
from comfy_api.latest import io

from ..backends.comfyui.denoiser import ComfyDenoiser, require_bottleneck
from ..backends.comfyui.latents import latent_of
from ..backends.comfyui.noise import is_flow, starting_noise
from ..backends.comfyui.session import run
from ..core.errors import check_sigmas
from ..core.hspace.combine import combine_directions
from ..core.hspace.mean_direction import mean_direction, mean_over_steps, step_cosines
from ..core.hspace.pca import pca_directions
from ..core.hspace.window import EditWindow
from . import plots
from .inputs import CATEGORY, HDirectionType, cfg_input, direction_of, seed_input

SLOTS = (1, 2, 3, 4)
SHOWN = 5  # components in the plot


class CombineDirections(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        inputs = []
        for i in SLOTS:
            inputs += [
                HDirectionType.Input(
                    f"direction_{i}",
                    optional=i > 1,
                    tooltip="An h-space direction. Its weight counts only where it is wired.",
                ),
                io.Float.Input(
                    f"weight_{i}",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.05,
                    round=False,
                    optional=i > 1,
                    tooltip="Strength of this direction within the sum; negative takes away.",
                ),
            ]
        return io.Schema(
            node_id="SingularEditCombineH",
            display_name="Combine Directions",
            category=CATEGORY,
            description="Adds up to four h-space directions into one, each with a weight: a hat and a smile, without glasses. For more, wire a sum into another. "
            "Asyrp Sampler's strength then scales all of them.",
            inputs=inputs,
            outputs=[
                HDirectionType.Output(
                    "direction",
                    display_name="direction",
                    tooltip="Wire to Asyrp Sampler or Save Attribute; the file holds all of its parts.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        direction_1,
        weight_1,
        direction_2=None,
        weight_2=1.0,
        direction_3=None,
        weight_3=1.0,
        direction_4=None,
        weight_4=1.0,
    ) -> io.NodeOutput:
        slots = zip(
            SLOTS, (direction_1, direction_2, direction_3, direction_4), (weight_1, weight_2, weight_3, weight_4)
        )
        return io.NodeOutput(
            combine_directions(
                [
                    (weight, direction_of(direction, f"direction_{i}"))
                    for i, direction, weight in slots
                    if i == 1 or direction is not None
                ]
            )
        )


class HDirectionAverage(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditHDirectionAverage",
            display_name="h-Space Direction Average",
            category=CATEGORY,
            description="Turns a direction that answers each picture (combined, implicit, or a sum) into a plain map that is the same for every picture: the mean of "
            "what it does to fresh seeds. Smaller, steadier, and it shows how far the attribute is one direction.",
            inputs=[
                HDirectionType.Input(
                    "direction", tooltip="From h-Space Direction Learn, Combine Directions or Load h-Direction."
                ),
                io.Model.Input("model", tooltip="The model it was learned on, or one of its family."),
                io.Conditioning.Input("positive", tooltip="The source prompt it was learned under: 'a face'."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Not evaluated at cfg 1."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="Gives the size and, by its batch, how many pictures run at once. An empty latent will do.",
                ),
                io.Sigmas.Input("sigmas", tooltip="The schedule you will edit with, from full noise."),
                io.Combo.Input(
                    "method",
                    options=["mean_t", "global"],
                    default="mean_t",
                    tooltip="mean_t: a map for each step. global: one map for all steps.",
                ),
                io.Int.Input("samples", default=32, min=1, max=1024, tooltip="Seeds the mean is taken over."),
                io.Float.Input(
                    "edit_percent",
                    default=0.9,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Average over the steps before this sampling progress; the edit_percent of Asyrp Sampler.",
                ),
                cfg_input(1.0, "Guidance while sampling."),
                seed_input("seed", "Seed of the noises."),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction_out", display_name="direction", tooltip="Wire to Asyrp Sampler or Save Attribute."
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="How alike each step's map is to the mean of all: near 1, one map does for every step.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, direction, model, positive, negative, latent_image, sigmas, method, samples, edit_percent, cfg, seed
    ) -> io.NodeOutput:
        check_sigmas(sigmas)
        direction_of(direction, "direction")
        require_bottleneck(model.model)
        samples_like = latent_of(latent_image, "latent_image", model)
        window = EditWindow(
            float(model.get_model_object("model_sampling").percent_to_sigma(edit_percent)), edit_from=direction.start
        )
        bar = comfy.utils.ProgressBar((len(sigmas) - 1) * -(-samples // len(samples_like)))

        def algorithm(wrapped, extra_args, x, schedule):
            sampling = wrapped.inner_model.inner_model.model_sampling
            noise = starting_noise(sampling, x, samples, schedule[0], seed)
            return mean_direction(
                ComfyDenoiser(wrapped, extra_args),
                direction,
                noise,
                schedule,
                window,
                flow=is_flow(sampling),
                batch=len(x),
                device=x.device,
                callback=lambda: bar.update(1),
            )

        per_step = run(model, positive, negative, cfg, samples_like, sigmas, algorithm, seed=seed)
        flat = mean_over_steps(per_step)
        norms = per_step.tensors["table"].flatten(1).norm(dim=1)
        alike = (per_step.tensors["table"].flatten(1) @ flat.tensors["table"].flatten()) / (
            norms * flat.tensors["table"].norm()
        ).clamp(min=1e-12)
        plot = plots.curves(
            per_step.sigmas.tolist(),
            {
                "cosine to the mean of all steps": alike.tolist(),
                "norm, of the largest": (norms / norms.max().clamp(min=1e-12)).tolist(),
            },
            f"{direction.name}: mean pairwise cosine of steps {step_cosines(per_step).mean():.2f}",
            "sigma",
            "",
            falling=True,
        )
        return io.NodeOutput(per_step if method == "mean_t" else flat, plot)


class HDirectionPCA(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditHDirectionPCA",
            display_name="h-Space Directions (PCA)",
            category=CATEGORY,
            description="Finds what varies most among pictures of one prompt, without a second prompt: the principal directions of the U-Net's bottleneck over "
            "seeds (Haas et al.). Look at component 0, 1, 2, ... with Asyrp Sampler to see what each one is.",
            inputs=[
                io.Model.Input("model", tooltip="A U-Net model (SD 1.x, SD 2.x, SDXL)."),
                io.Conditioning.Input("positive", tooltip="The prompt whose pictures are compared: 'a face'."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Not evaluated at cfg 1."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="Gives the size and, by its batch, how many pictures run at once. An empty latent will do.",
                ),
                io.Sigmas.Input("sigmas", tooltip="The schedule you will edit with, from full noise."),
                io.Int.Input(
                    "samples",
                    default=64,
                    min=3,
                    max=4096,
                    tooltip="Seeds that are compared. More make later components cleaner.",
                ),
                io.Int.Input(
                    "component",
                    default=0,
                    min=0,
                    max=255,
                    tooltip="Which direction: 0 is the one along which pictures differ most.",
                ),
                cfg_input(1.0, "Guidance while sampling."),
                seed_input("seed", "Seed of the noises."),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction",
                    display_name="direction",
                    tooltip="Wire to Asyrp Sampler; strength 1 is one standard deviation among the pictures, at every step.",
                ),
                io.Image.Output(
                    "plot", display_name="plot", tooltip="Share of the variance that each component explains, by step."
                ),
            ],
        )

    @classmethod
    def execute(cls, model, positive, negative, latent_image, sigmas, samples, component, cfg, seed) -> io.NodeOutput:
        check_sigmas(sigmas)
        require_bottleneck(model.model)
        samples_like = latent_of(latent_image, "latent_image", model)
        count = min(max(component + 1, SHOWN), max(component + 1, samples - 2))
        bar = comfy.utils.ProgressBar((len(sigmas) - 1) * -(-samples // len(samples_like)))

        def algorithm(wrapped, extra_args, x, schedule):
            noise = starting_noise(wrapped.inner_model.inner_model.model_sampling, x, samples, schedule[0], seed)
            return pca_directions(
                ComfyDenoiser(wrapped, extra_args),
                noise,
                schedule,
                count,
                len(x),
                x.device,
                callback=lambda: bar.update(1),
            )

        directions, explained = run(model, positive, negative, cfg, samples_like, sigmas, algorithm, seed=seed)
        chosen = directions[component]
        shown = sorted({*range(min(count, SHOWN)), component})
        plot = plots.curves(
            chosen.sigmas.tolist(),
            {f"component {k}" + (" (this one)" if k == component else ""): explained[k].tolist() for k in shown},
            f"share of the variance among {samples} pictures",
            "sigma",
            "explained",
            falling=True,
        )
        return io.NodeOutput(chosen, plot)


NODES = [CombineDirections, HDirectionAverage, HDirectionPCA]
