"""h-Space Direction Learn: a direction for Asyrp from two prompts, inside ComfyUI."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.clip import PictureEmbedding
from ..backends.comfyui.family import choose_layer
from ..backends.comfyui.frames import framed
from ..backends.comfyui.latents import latent_of, process_out
from ..backends.comfyui.learning import learn_direction_in_session
from ..backends.comfyui.session import Prompts
from ..core.errors import check_sigmas
from ..core.fitting import Training
from ..core.hspace.learn_clip import IDENTITY_WEIGHT, ClipObjective
from ..core.layers import AUTO
from ..core.recipes.attributes import with_info
from ..core.recipes.settings import AUTOMATIC, CLIP, LEARN_METHODS, READOUT, LearnSettings
from ..core.recipes.start import AUTOMATIC_START
from ..core.recipes.verdict import verdict_of
from .hspace_clip import text_of
from .hspace_report import plot_learned, report_learned
from .inputs import (
    ADVANCED,
    NEGATIVE_TOOLTIP,
    HDirectionType,
    cfg_input,
    layer_input,
    percent_input,
    seed_input,
    size_input,
    with_advanced,
    with_search_words,
)

SHIPPED = LearnSettings.for_method(READOUT)
# What may help where a direction comes less than half of the way.
REMEDY = "An earlier start_percent or more samples may help."


class HDirectionLearn(io.ComfyNode):
    """A direction or a readout from two prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditHDirectionLearn",
            display_name="h-Space Direction Learn",
            category=ADVANCED,
            description=(
                "Learns what changes between two prompts, without pictures, from what the model knows halfway through "
                "(h: a U-Net's bottleneck, a transformer's tokens). Use the direction in Asyrp Sampler, or save it. "
                "Learn Attribute does the same from two texts, and finds what it has learned again."
            ),
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip=(
                        "A U-Net (SD 1.x, SD 2.x, SDXL) or a transformer (SD3, Flux, Qwen-Image), "
                        "with its LoRAs and other patches already applied."
                    ),
                ),
                io.Conditioning.Input("source", tooltip="What the pictures are, without the attribute: 'a face'."),
                io.Conditioning.Input("target", tooltip="The same with the attribute: 'a face with a hat'."),
                io.Conditioning.Input("negative", tooltip=NEGATIVE_TOOLTIP),
                size_input("learn"),
                io.Sigmas.Input(
                    "sigmas",
                    tooltip="The noise levels to learn at, from a scheduler node: those that you will edit with.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(LEARN_METHODS),
                    default=SHIPPED.method,
                    tooltip=(
                        "Leave it at readout, the strongest and the quickest: it reads off h "
                        "how the picture changes. The others push h, as the Asyrp paper does. "
                        "combined: the best of those. "
                        "global: the same push for every picture. "
                        "implicit: a small network, another push for each picture. "
                        "vector: the simplest push, which fits any picture size. "
                        "difference: no training. "
                        "clip: from two texts through CLIP (wire vae, clip_vision and clip)."
                    ),
                ),
                io.Int.Input(
                    "samples",
                    default=SHIPPED.samples,
                    min=AUTOMATIC,
                    max=4096,
                    tooltip=(
                        "How many random pictures it learns from; 0 chooses. "
                        "Fewer are quicker, but more than the attribute may then change. "
                        "Large pictures need fewer. The log and the report say what learning takes."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=SHIPPED.training.steps,
                    min=1,
                    max=10000,
                    tooltip="Training steps at most; a readout may end earlier. difference does not read it.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=SHIPPED.training.learning_rate,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=False,
                    tooltip=(
                        "How fast training goes (peak learning rate; networks take a tenth of it). "
                        "It rarely needs a change."
                    ),
                ),
                cfg_input(
                    SHIPPED.cfg,
                    (
                        "The cfg to learn at. 1 learns the plain difference between the prompts; "
                        "the cfg that you edit with then strengthens it."
                    ),
                ),
                seed_input(
                    "seed",
                    "Another seed learns from other random pictures. Set it to fixed, or it learns at every run.",
                ),
                io.String.Input(
                    "name",
                    default="direction",
                    tooltip="What the direction is called in reports and in its file.",
                ),
                percent_input(
                    "start_percent",
                    SHIPPED.start_percent,
                    (
                        "From which share of the steps the two prompts differ, and the edit begins. "
                        "Later keeps more of the layout and brings less of the attribute. "
                        "-1 measures it: as late as most of the attribute still comes."
                    ),
                    lowest=AUTOMATIC_START,
                    highest=0.95,
                ),
                percent_input(
                    "end_percent",
                    SHIPPED.end_percent,
                    "Until which share of the steps it learns. Use the same edit_percent in Asyrp Sampler.",
                    lowest=0.05,
                ),
                io.String.Input(
                    "source_text",
                    default="",
                    optional=True,
                    tooltip="Method clip: what the pictures are, for CLIP: 'face'.",
                ),
                io.String.Input(
                    "target_text",
                    default="",
                    optional=True,
                    tooltip="Method clip: what the pictures should become, for CLIP: 'smiling face'.",
                ),
                io.Float.Input(
                    "identity_weight",
                    default=IDENTITY_WEIGHT,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=False,
                    optional=True,
                    tooltip="Method clip: how strongly the picture is kept as it is while it changes.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Method clip: the model's VAE, because CLIP looks at pictures.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Method clip: the picture half of a CLIP model, from Load CLIP Vision.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip=(
                        "Method clip: the text half of the same CLIP model, with its text projection. "
                        "SD 1.5's own text encoder has none."
                    ),
                ),
                layer_input(),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction",
                    display_name="direction",
                    tooltip="Wire to Asyrp Sampler, Edit Picture, Apply Attribute or Save Attribute.",
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="The learning curve. For difference: the size of the direction at each step.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="How much of the way from source to target the direction goes.",
                ),
            ],
        )
        return with_search_words(
            with_advanced(
                schema,
                "learning_rate",
                "start_percent",
                "end_percent",
                "source_text",
                "target_text",
                "identity_weight",
                "layer",
            ),
            "h-space",
            "asyrp",
            "concept slider",
            "train slider",
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        source: Any,
        target: Any,
        negative: Any,
        latent_image: dict[str, Any],
        sigmas: Tensor,
        method: str,
        samples: int,
        steps: int,
        learning_rate: float,
        cfg: float,
        seed: int,
        name: str,
        start_percent: float = SHIPPED.start_percent,
        end_percent: float = SHIPPED.end_percent,
        source_text: str = "",
        target_text: str = "",
        identity_weight: float = IDENTITY_WEIGHT,
        vae: Any = None,
        clip_vision: Any = None,
        clip: Any = None,
        layer: str = AUTO,
    ) -> io.NodeOutput:
        """Learn the direction."""
        check_sigmas(sigmas)
        choose_layer(model.model, layer)
        text = text_of(clip, clip_vision, vae, source_text, target_text) if method == CLIP else None
        shape = latent_of(latent_image, "latent_image", model)
        settings = LearnSettings.for_method(method)
        # A readout looks at single steps of many noises; what adds to h looks at as many pictures as the latent holds.
        batch = settings.training.batch if method == READOUT else len(shape)
        settings = replace(
            settings,
            samples=samples,
            training=Training(steps, learning_rate, batch, seed),
            start_percent=start_percent,
            end_percent=end_percent,
            cfg=cfg,
            layer=layer,
        )

        def as_decoded(latents: Tensor) -> Tensor:
            return framed(model.model, process_out(model.model, latents))

        def objective_on(device: torch.device) -> ClipObjective:
            embed = PictureEmbedding(vae, clip_vision, as_decoded, device)
            return ClipObjective(embed, text.clone(), identity_weight)

        learned, plan = learn_direction_in_session(
            model,
            Prompts(source, negative, cfg, target),
            shape,
            sigmas,
            settings,
            name=name,
            objective_on=None if text is None else objective_on,
        )
        direction = with_info(learned.direction, {"verdict": verdict_of(learned.progress)})
        return io.NodeOutput(direction, plot_learned(learned, name), report_learned(learned, plan, REMEDY))


NODES = [HDirectionLearn]
