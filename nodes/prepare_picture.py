"""Prepare Picture: a picture as noise that gives it back, with all that an edit needs."""

from __future__ import annotations

import math
from typing import Any

import comfy.samplers
import comfy.utils
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.denoiser import ComfyDenoiser
from ..backends.comfyui.family import native_side, nearest_side, require_picture_model
from ..backends.comfyui.latents import picture_latents, process_out
from ..backends.comfyui.progress import Progress, previewer
from ..backends.comfyui.session import Prompts, run_in_session
from ..backends.cropping import cropped
from ..core.inversion.report import QUALITIES, WELL_DECIBELS
from ..core.recipes.defaults import EDIT_GUIDANCE, QUALITY_STEPS
from ..core.recipes.inversion import FIXED_POINT, TRACED, Inverted, inversion_steps, invert
from ..core.samplers import SAMPLERS, is_euler
from .inputs import (
    ARTIST,
    CLIP_TOOLTIP,
    PictureType,
    advanced,
    any_attribute_of,
    attribute_input,
    cfg_input,
    with_search_words,
)
from .prepared_picture import PreparedPicture, decoded

SCHEDULER = "normal"
# How exactly samplers other than euler are inverted, by the node's quality.
SOLVED = {"fast": "fast", "good": "good", "best": "exact"}


class PreparePicture(io.ComfyNode):
    """A picture, ready to be edited."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditPreparePicture",
            display_name="Prepare Picture",
            category=ARTIST,
            description=(
                "Makes your picture editable: it finds the noise from which your model draws this very picture "
                "(inversion). It runs once for a picture; Edit Picture and Strength Sheet go on from it. "
                "The picture is resized to what the model was made for, and keeps its shape; "
                "a narrow edge may be cut off."
            ),
            inputs=[
                io.Model.Input("model", tooltip="Your model, with its LoRAs and other patches already applied."),
                io.Clip.Input("clip", tooltip=CLIP_TOOLTIP),
                io.Vae.Input("vae", tooltip="The model's VAE, from the checkpoint loader."),
                io.Image.Input("image", tooltip="The picture to edit, from Load Image. Any size and shape."),
                io.String.Input(
                    "describe",
                    default="",
                    tooltip=(
                        "What the picture shows now, in a few words: 'a face'. "
                        "Leave it empty and wire attribute below, and it takes the words "
                        "that the attribute was learned from. Without both it uses no words."
                    ),
                ),
                io.Combo.Input(
                    "quality",
                    options=list(QUALITY_STEPS),
                    default="good",
                    tooltip=(
                        "In how many steps the picture is drawn: "
                        + ", ".join(f"{name} {steps}" for name, steps in QUALITY_STEPS.items())
                        + ". More steps take longer and edit more cleanly."
                    ),
                ),
                advanced(
                    io.Int.Input(
                        "steps", default=0, min=0, max=1000, tooltip="Sampling steps. 0 leaves them to quality."
                    )
                ),
                advanced(
                    cfg_input(
                        EDIT_GUIDANCE,
                        (
                            "How strictly the words are followed. Stay between 1 and 2: "
                            "more makes edits stronger and coarser."
                        ),
                    )
                ),
                advanced(
                    io.String.Input("negative", default="", tooltip="What the picture should not show. Usually empty.")
                ),
                advanced(
                    io.Int.Input(
                        "max_side",
                        default=0,
                        min=0,
                        max=8192,
                        tooltip=(
                            "Longest side of the prepared picture in pixels. "
                            "0 takes as many pixels as the model was made for: 512 x 512 for SD 1.5, "
                            "1024 x 1024 for SDXL."
                        ),
                    )
                ),
                advanced(
                    io.Combo.Input(
                        "sampler",
                        options=list(SAMPLERS),
                        default="euler",
                        tooltip=(
                            "The sampler that draws the picture again. "
                            "euler is the quickest, and gives the picture back exactly; the others take longer."
                        ),
                    )
                ),
                attribute_input(
                    "Its words without the change describe the picture, if describe is empty.", optional=True
                ),
            ],
            outputs=[
                PictureType.Output(
                    "picture", display_name="picture", tooltip="Wire to Edit Picture or Strength Sheet."
                ),
                io.Image.Output(
                    "rebuilt",
                    display_name="rebuilt",
                    tooltip="Your picture as the model draws it, unedited. It should look like the original.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip=f"How exactly the picture comes back. {WELL_DECIBELS} dB and more looks the same.",
                ),
            ],
        )
        return with_search_words(schema, "edit image", "edit face", "unsampler", "invert", "inversion", "real image")

    @classmethod
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        image: Tensor,
        describe: str,
        quality: str,
        steps: int,
        cfg: float,
        negative: str,
        max_side: int,
        sampler: str,
        attribute: Any = None,
    ) -> io.NodeOutput:
        """Invert the picture."""
        require_picture_model(model.model)
        if attribute is not None:
            describe = describe or any_attribute_of(attribute, "attribute").info.get("source_prompt", "")
        latent = picture_latents(vae, fitted(image, model.model, max_side), "image", model)
        sampling = model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, SCHEDULER, steps or QUALITY_STEPS[quality])
        prompts = Prompts(encoded(clip, describe), encoded(clip, negative), cfg)
        method = TRACED if is_euler(sampler) else FIXED_POINT
        solved = QUALITIES[SOLVED[quality]]
        progress = Progress("Preparing the picture", inversion_steps(sigmas, method, solved, sampler, measure=True))
        preview = previewer(model)
        shown: list[Any] = [None]

        def show(i: int, state: Tensor, denoised: Tensor) -> None:
            shown[0] = preview(denoised)

        def algorithm(wrapped: Any, extra_args: dict[str, Any], x: Tensor, schedule: Tensor) -> Inverted:
            return invert(
                ComfyDenoiser(wrapped, extra_args),
                x,
                schedule,
                method,
                quality=solved,
                sampler=sampler,
                on_step=lambda: progress.tick(shown[0]),
                callback=show,
            )

        inverted = run_in_session(model, prompts, latent, sigmas, algorithm)
        rebuilt = decoded(vae, model.model, process_out(model.model, inverted.rebuilt.float().cpu()))
        progress.finish(inverted.report.verdict())
        picture = PreparedPicture(
            model,
            vae,
            prompts,
            sigmas,
            latent.cpu(),
            inverted.code.float().cpu(),
            inverted.trace,
            sampler,
            rebuilt,
            image[..., :3].clone(),
        )
        return io.NodeOutput(picture, rebuilt, inverted.report.text())


def encoded(clip: Any, text: str) -> Any:
    """Return a prompt as CONDITIONING."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def fitted(image: Tensor, base_model: Any, max_side: int = 0, *, height: int = 0, width: int = 0) -> Tensor:
    """Bring pictures to a size that a model takes; what their aspect has too much is cut off.

    Args:
        image: IMAGE [B, H, W, 3 or more].
        base_model: ComfyUI's BaseModel.
        max_side: Longest side in pixels; 0 takes as many pixels as the model was made for.
        height: Pixels; 0 keeps the aspect.
        width: Pixels, likewise.

    Returns:
        IMAGE [B, height', width', 3], each side a multiple of what the network halves evenly.
    """
    old_height, old_width = image.shape[1:3]
    side = native_side(base_model)
    scale = max_side / max(old_height, old_width) if max_side else side / math.sqrt(old_height * old_width)
    new_height = nearest_side(base_model, height or scale * old_height)
    new_width = nearest_side(base_model, width or scale * old_width)
    pixels = image[..., :3]
    if (new_height, new_width) == (old_height, old_width):
        return pixels
    # Averages over areas give no ripples where a picture is made smaller.
    method = "area" if new_height * new_width < old_height * old_width else "bicubic"
    kept = cropped(pixels.movedim(-1, 1), new_height, new_width)
    resized = comfy.utils.common_upscale(kept, new_width, new_height, method, "disabled")
    return resized.movedim(1, -1).clamp(0, 1)


NODES = [PreparePicture]
