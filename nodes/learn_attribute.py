"""Learn Attribute: an attribute from two short texts, learned once and found again."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..backends.comfyui.family import (
    choose_layer,
    native_side,
    nearest_side,
    pixels_per_latent,
    require_picture_model,
)
from ..backends.comfyui.fingerprint import fingerprint, full_fingerprint, model_fingerprint
from ..backends.comfyui.progress import Progress
from ..backends.comfyui.session import Prompts
from ..backends.previews import preview_of, preview_text
from ..core.errors import EditError, plain_text
from ..core.layers import AUTO
from ..core.recipes.attributes import (
    SVD_METHOD,
    Attribute,
    advice,
    check_learns_from_pictures,
    describe,
    verdict,
    with_info,
)
from ..core.recipes.defaults import LEARN_GUIDANCE, STEPS
from ..core.recipes.learning_cost import learning_batch
from ..core.recipes.settings import CLIP, EFFORTS, LEARN_METHODS, READOUT
from .inputs import ARTIST, CLIP_TOOLTIP, MAX_SEED, advanced, attribute_output, layer_input, with_search_words
from .learned_files import learned_before, save_learned
from .learning import Lesson, draw_preview, learn_in_graph
from .prepare_picture import SCHEDULER, encoded, fitted

# Changes here, or in what is learned, ask a new question: files that were learned before are then not found.
QUESTION_VERSION = 2
METHODS = (*(method for method in LEARN_METHODS if method != CLIP), SVD_METHOD)


class LearnAttribute(io.ComfyNode):
    """An attribute from two texts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditLearnAttribute",
            display_name="Learn Attribute",
            category=ARTIST,
            description=(
                "Learns what changes between two short texts, such as 'a face' and "
                "'a face with glasses', without any picture. "
                "The result is an attribute: a slider for that change. It is saved as a small file by itself, "
                "and found again: the same model, texts and settings are learned once."
            ),
            inputs=[
                io.Model.Input("model", tooltip="Your model, with its LoRAs and other patches already applied."),
                io.Clip.Input("clip", tooltip=CLIP_TOOLTIP),
                io.String.Input(
                    "without", default="a face", tooltip="What the pictures show without the change: 'a face'."
                ),
                io.String.Input(
                    "with",
                    default="a face with glasses",
                    tooltip="The same words with the change: 'a face with glasses'. Change nothing else.",
                ),
                io.Combo.Input(
                    "effort",
                    options=list(EFFORTS),
                    default="good",
                    tooltip=(
                        "How long it learns: quick from a quarter as many random "
                        "pictures as good, best from twice as many. "
                        "quick may also change things that you did not ask for."
                    ),
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="What the attribute and its file are called. If it is empty: the text 'with'.",
                ),
                advanced(_side_input("width")),
                advanced(_side_input("height")),
                advanced(
                    io.Int.Input(
                        "steps",
                        default=STEPS,
                        min=3,
                        max=1000,
                        tooltip="Sampling steps that it learns at. Other steps may be used later.",
                    )
                ),
                advanced(
                    io.Int.Input(
                        "learn_seed",
                        default=0,
                        min=0,
                        max=MAX_SEED,
                        tooltip="Another seed learns the same change from other random pictures.",
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "method",
                        options=list(METHODS),
                        default=READOUT,
                        tooltip=(
                            "Leave it at readout for SD 1.x, SD 2.x, SDXL, SD3, Flux and Qwen-Image: it works with "
                            "every sampler. latent svd works with every model, and changes more of the picture. "
                            "The others push what readout only reads, as the Asyrp paper does; they need sampler euler."
                        ),
                    )
                ),
                advanced(layer_input()),
                io.Image.Input(
                    "learn_from",
                    optional=True,
                    tooltip=(
                        "For method latent svd: pictures that show what 'without' says, one or a batch, "
                        "to learn from in place of random ones. "
                        "For a model that draws worse than they are. Wire vae too."
                    ),
                ),
                io.Vae.Input("vae", optional=True, tooltip="The model's VAE, for learn_from. Not needed without it."),
            ],
            outputs=[
                attribute_output(),
                io.String.Output(
                    "info", display_name="info", tooltip="How well it was learned, and where its file is."
                ),
            ],
            is_output_node=True,
        )
        return with_search_words(
            schema, "concept slider", "train slider", "slider lora", "glasses", "smile", "direction", "h-space"
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        without: str,
        effort: str,
        name: str,
        width: int,
        height: int,
        steps: int,
        learn_seed: int,
        method: str,
        layer: str = AUTO,
        learn_from: Tensor | None = None,
        vae: Any = None,
        **more: str,
    ) -> io.NodeOutput:
        """Learn the attribute, or find it."""
        wanted = more["with"]  # a word of Python's own
        if without.split() == wanted.split():
            raise EditError(
                f"without and with are both '{wanted.strip()}'; two texts that differ in the attribute are accepted."
            )
        name = plain_text(name) or plain_text(wanted) or "attribute"
        require_picture_model(model.model)
        if learn_from is not None:
            check_learns_from_pictures(method)
            if vae is None:
                raise EditError("learn_from is wired but vae is not; wire the model's VAE, or unwire learn_from.")
            learn_from = fitted(learn_from, model.model, height=height, width=width)
            height, width = learn_from.shape[1:3]
        if method != SVD_METHOD:
            choose_layer(model.model, layer)
        latent = empty_latent(model, width, height)
        source, target, negative = (encoded(clip, text) for text in (without, wanted, ""))
        question = fingerprint(
            QUESTION_VERSION,
            model_fingerprint(model),
            [source, target, negative],
            list(latent.shape),
            [effort, steps, learn_seed, method],
            *([] if layer == AUTO or method == SVD_METHOD else [layer]),
            *([] if learn_from is None else [full_fingerprint(learn_from), vae.first_stage_model]),
        )
        found = learned_before(question, name)
        if found is not None:
            attribute, file = found
            before = f"Learned before, and loaded from {file}."
            return _output(attribute, before, describe(attribute), preview=preview_of(attribute))
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), SCHEDULER, steps)
        prompts = Prompts(source, negative, LEARN_GUIDANCE, target)
        lesson = Lesson(name, method, EFFORTS[effort], learn_seed, layer, learn_from, vae)
        attribute, report = learn_in_graph(model, prompts, latent, sigmas, lesson)
        attribute = with_info(attribute, {**advice(attribute, without, wanted), "question": question})
        preview = draw_preview(model, attribute, prompts, latent[:1], sigmas)
        if preview is not None:
            attribute = with_info(attribute, {"preview": preview_text(preview)})
        file = save_learned(attribute, question)
        return _output(attribute, report, f"Saved as {file}.", preview=preview)


def _side_input(name: str) -> io.Input:
    return io.Int.Input(
        name,
        default=0,
        min=0,
        max=8192,
        step=8,
        tooltip=f"{name.capitalize()} in pixels that it learns at. 0 takes the size that the model was made for.",
    )


def empty_latent(model: Any, width: int, height: int) -> Tensor:
    """Return empty latents of a size, as many as fit into one batch.

    Args:
        model: A MODEL.
        width: Pixels; 0 takes what the model was made for.
        height: Pixels, likewise.

    Returns:
        [B, C, height / r, width / r] in LATENT space, each side a multiple of what the network halves evenly.
    """
    pixels = pixels_per_latent(model.model)
    native = native_side(model.model)
    sides = [nearest_side(model.model, length or native) // pixels for length in (height, width)]
    return torch.zeros(learning_batch(sides), model.get_model_object("latent_format").latent_channels, *sides)


def _output(attribute: Attribute, *texts: str, preview: Tensor | None = None) -> io.NodeOutput:
    """Return the outputs; show the preview, and how well the attribute was learned."""
    Progress.say(verdict(attribute) or attribute.name)
    shown = None if preview is None else ui.PreviewImage(preview)
    return io.NodeOutput(attribute, "\n".join(texts), ui=shown)


NODES = [LearnAttribute]
