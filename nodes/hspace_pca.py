"""h-Space Directions (PCA): what varies most among pictures of one prompt, from seeds alone."""

from __future__ import annotations

import math
from typing import Any

import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.family import choose_layer
from ..backends.comfyui.latents import latent_of
from ..backends.comfyui.noise import starting_noise
from ..backends.comfyui.session import Prompts, run_in_session
from ..core.errors import check_sigmas
from ..core.hspace.direction import TableDirection
from ..core.hspace.pca import pca_directions
from ..core.layers import AUTO
from ..core.samplers import Run
from . import plots
from .inputs import (
    ADVANCED,
    NEGATIVE_TOOLTIP,
    HDirectionType,
    advanced,
    cfg_input,
    layer_input,
    seed_input,
    size_input,
    with_search_words,
)

SHOWN_COMPONENTS = 5  # in the plot


class HDirectionPCA(io.ComfyNode):
    """A principal direction of one prompt's pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditHDirectionPCA",
            display_name="h-Space Directions (PCA)",
            category=ADVANCED,
            description=(
                "Finds by itself what varies most among pictures of one prompt, without a second prompt "
                "(principal components of h-space, Haas et al.). "
                "Slide component 0, 1, 2, ... with Asyrp Sampler to see what each one changes."
            ),
            inputs=[
                io.Model.Input(
                    "model", tooltip="A U-Net (SD 1.x, SD 2.x, SDXL) or a transformer (SD3, Flux, Qwen-Image)."
                ),
                io.Conditioning.Input("positive", tooltip="The prompt whose pictures are compared: 'a face'."),
                io.Conditioning.Input("negative", tooltip=NEGATIVE_TOOLTIP),
                size_input("run"),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip="The noise levels that you will edit with, from a scheduler node, from full noise on.",
                ),
                io.Int.Input(
                    "samples",
                    default=64,
                    min=3,
                    max=4096,
                    tooltip="How many seeds are compared. More make later components cleaner.",
                ),
                io.Int.Input(
                    "component",
                    default=0,
                    min=0,
                    max=255,
                    tooltip="Which direction: 0 is the one along which pictures differ most.",
                ),
                cfg_input(1.0, "The cfg to sample at."),
                seed_input("seed", "Seed of the noises."),
                advanced(layer_input()),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction",
                    display_name="direction",
                    tooltip=(
                        "Wire to Asyrp Sampler. Strength 1 is as far as pictures "
                        "usually differ (one standard deviation)."
                    ),
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="How much of what differs each component holds, by step.",
                ),
            ],
        )
        return with_search_words(schema, "h-space", "principal components", "unsupervised slider")

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        sigmas: Tensor,
        samples: int,
        component: int,
        cfg: float,
        seed: int,
        layer: str = AUTO,
    ) -> io.NodeOutput:
        """Find the component."""
        check_sigmas(sigmas)
        choose_layer(model.model, layer)
        shape = latent_of(latent_image, "latent_image", model)
        count = min(max(component + 1, SHOWN_COMPONENTS), max(component + 1, samples - 2))
        bar = comfy.utils.ProgressBar((len(sigmas) - 1) * math.ceil(samples / len(shape)))

        def advance() -> None:
            bar.update(1)

        def algorithm(
            wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor
        ) -> tuple[list[TableDirection], Tensor]:
            sampling = wrapped.inner_model.inner_model.model_sampling
            noise = starting_noise(sampling, x, samples, schedule[0], seed)
            run = Run(batch=len(x), device=x.device, on_step=advance)
            denoise = ComfyDenoiser(wrapped, extra_args, layer=layer)
            return pca_directions(denoise, noise, schedule, count, run=run)

        prompts = Prompts(positive, negative, cfg)
        directions, explained = run_in_session(model, prompts, shape, sigmas, algorithm, seed=seed)
        chosen = directions[component]
        lines = {}
        for k in sorted({*range(min(count, SHOWN_COMPONENTS)), component}):
            name = f"component {k} (this one)" if k == component else f"component {k}"
            lines[name] = explained[k].tolist()
        title = f"share of the variance among {samples} pictures"
        plot = plots.curves(chosen.sigmas.tolist(), lines, title, "sigma", "explained", falling=True)
        return io.NodeOutput(chosen, plot)


NODES = [HDirectionPCA]
