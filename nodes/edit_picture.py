"""Edit Picture and Strength Sheet: slide an attribute on a prepared picture."""

from __future__ import annotations

import re
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..backends.comfyui.latents import latent_mask
from ..backends.comfyui.progress import Progress
from ..backends.cropping import kept
from ..backends.sheets import labelled, side_by_side
from ..core.errors import EditError
from ..core.recipes import defaults
from ..core.recipes.on_original import on_original as on_original_picture
from ..core.recipes.settings import EditSettings
from .inputs import (
    ARTIST,
    SLIDER_TOOLTIP,
    PictureType,
    advanced,
    any_attribute_of,
    attribute_input,
    percent_input,
    slider_input,
    with_search_words,
)
from .prepared_picture import PreparedPicture, edited_pictures, picture_of, steps_to_sample, weak_answer

STRENGTHS = ", ".join(f"{strength:g}" for strength in defaults.SHEET_STRENGTHS)
MAX_STRENGTHS = 32
SEARCH_WORDS = ("concept slider", "slider", "glasses", "smile", "edit face", "edit image", "attribute")


def edit_inputs(widget: io.Input) -> list[io.Input]:
    """Return the inputs of a node that edits a prepared picture; ``widget`` says how strongly."""
    mask = io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where the picture may change: white, from Load Image's mask. Elsewhere it is as before.",
    )
    until = percent_input(
        "until",
        EditSettings().edit_percent,
        (
            "The share of the steps in which the picture is edited. "
            "Less keeps more of the picture and leaves fine details out of the edit. "
            "An attribute of method latent svd does not read it."
        ),
        lowest=0.05,
    )
    picture = PictureType.Input("picture", tooltip="From Prepare Picture.")
    attribute = attribute_input("From Learn Attribute or Load Attribute.")
    absolute = io.Boolean.Input(
        "absolute",
        default=EditSettings().absolute,
        optional=True,
        tooltip=(
            "Strength then says how much of the attribute the picture has in the end, 0 none and 1 all: "
            "a picture that wears it already is not given it twice. "
            "It does nothing with an old file."
        ),
    )
    fade = io.Float.Input(
        "fade",
        default=EditSettings().fade,
        min=0.0,
        max=1.0,
        step=0.05,
        optional=True,
        tooltip=(
            "Makes the slider move more evenly: the runs without and with the attribute are mixed at this share of "
            "the sampling, and the model finishes the mixture. 0 is off. "
            "Try 0.8 to 0.9, which takes two to three times as long. "
            "At 1 it is exactly even, but half way things are half transparent."
        ),
    )
    retries = io.Int.Input(
        "retries",
        default=EditSettings().retries,
        min=0,
        max=EditSettings().retries,
        optional=True,
        tooltip=(
            f"A picture that the attribute changes by less than {defaults.WEAK_CHANGE:.0%} of what is usual is drawn "
            f"again, at {' and then at '.join(f'{factor:g}' for factor in defaults.RETRY_FACTORS)} times the strength. "
            "The stronger drawing is kept only if the attribute appears in it and not before. The number says how "
            "often this is tried; 0 is off. It does nothing with a mask, or where until is earlier than usual."
        ),
    )
    own = io.Boolean.Input(
        "on_original",
        default=False,
        optional=True,
        tooltip=(
            "Adds the change alone to your own picture, at its own size: no detail is lost in the VAE, and outside of "
            "a mask the picture stays bit for bit. Off, the whole picture is the model's drawing, at the model's size."
        ),
    )
    return [picture, attribute, widget, mask, *map(advanced, (until, absolute, fade, retries)), own]


class EditPicture(io.ComfyNode):
    """A prepared picture at one strength of an attribute."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditEditPicture",
            display_name="Edit Picture",
            category=ARTIST,
            description=(
                "Slides an attribute on your picture, and shows it before and after. "
                "Strength 0 is the picture as it was. When you move strength, only this node runs again."
            ),
            inputs=edit_inputs(slider_input(SLIDER_TOOLTIP)),
            outputs=[
                io.Image.Output("after", display_name="after", tooltip="The edited picture."),
                io.Image.Output("before", display_name="before", tooltip="The picture at strength 0."),
            ],
            is_output_node=True,
        )
        return with_search_words(schema, *SEARCH_WORDS)

    @classmethod
    def execute(
        cls,
        picture: Any,
        attribute: Any,
        strength: float,
        mask: Tensor | None = None,
        until: float = EditSettings().edit_percent,
        absolute: bool = EditSettings().absolute,
        fade: float = EditSettings().fade,
        retries: int = EditSettings().retries,
        on_original: bool = False,
    ) -> io.NodeOutput:
        """Edit the picture."""
        picture = picture_of(picture, "picture")
        attribute = any_attribute_of(attribute, "attribute")
        options = dict(until=until, absolute=absolute, fade=fade, retries=retries, mask=mask)
        total = steps_to_sample(picture, attribute, [strength], **options)
        progress = Progress(f"Editing: {attribute.name} {strength:g}", total)
        (after,) = edited_pictures(picture, attribute, [strength], **options, progress=progress)
        remarks = weak_answer(picture, attribute, [strength], **options) + empty_mask(mask)
        progress.finish(f"{attribute.name}, strength {strength:g}: before and after{remarks}")
        if on_original:
            before, after = on_originals(picture, [picture.rebuilt, after], mask)
        else:
            before = picture.rebuilt.clone()
        return io.NodeOutput(after, before, ui=ui.PreviewImage(side_by_side(before, after), cls=cls))


class StrengthSheet(io.ComfyNode):
    """A prepared picture at several strengths of an attribute, labelled."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditStrengthSheet",
            display_name="Strength Sheet",
            category=ARTIST,
            description=(
                "Draws your picture at several strengths of an attribute, side by side, with the strength above each."
            ),
            inputs=edit_inputs(
                io.String.Input(
                    "strengths",
                    default=STRENGTHS,
                    tooltip="The strengths, with commas between them: '0, 1, 2'. One picture is drawn for each.",
                )
            ),
            outputs=[
                io.Image.Output("sheet", display_name="sheet", tooltip="The pictures in a row, labelled."),
                io.Image.Output("images", display_name="images", tooltip="The pictures one by one, as a batch."),
            ],
            is_output_node=True,
        )
        return with_search_words(schema, *SEARCH_WORDS, "xy plot", "grid", "comparison")

    @classmethod
    def execute(
        cls,
        picture: Any,
        attribute: Any,
        strengths: str,
        mask: Tensor | None = None,
        until: float = EditSettings().edit_percent,
        absolute: bool = EditSettings().absolute,
        fade: float = EditSettings().fade,
        retries: int = EditSettings().retries,
        on_original: bool = False,
    ) -> io.NodeOutput:
        """Edit the picture at each strength."""
        picture = picture_of(picture, "picture")
        attribute = any_attribute_of(attribute, "attribute")
        values = strengths_of(strengths)
        options = dict(until=until, absolute=absolute, fade=fade, retries=retries, mask=mask)
        total = steps_to_sample(picture, attribute, values, **options)
        progress = Progress(f"Editing: {attribute.name}", total)
        pictures = edited_pictures(picture, attribute, values, **options, progress=progress)
        if on_original:
            pictures = on_originals(picture, pictures, mask)
        remarks = weak_answer(picture, attribute, values, **options) + empty_mask(mask)
        progress.finish(f"{attribute.name} at {len(values)} strengths{remarks}")
        sheet = side_by_side(*(labelled(rows, f"{value:g}") for rows, value in zip(pictures, values, strict=True)))
        return io.NodeOutput(sheet, torch.cat(pictures), ui=ui.PreviewImage(sheet, cls=cls))


def empty_mask(mask: Tensor | None) -> str:
    """Return what a node says of a mask that lets nothing change; nothing where there is none."""
    return "; the mask is empty, so that nothing changes" if mask is not None and not mask.any() else ""


def on_originals(picture: PreparedPicture, drawn: list[Tensor], mask: Tensor | None) -> list[Tensor]:
    """Return the change of each drawn IMAGE of a prepared picture on the picture itself."""
    original, rebuilt = (one.movedim(-1, 1) for one in (picture.original.to(drawn[0]), picture.rebuilt))
    where = latent_mask(mask, picture.latent, crop=True)
    if where is not None:
        # As ComfyUI's samplers do with masks of fewer or more pictures.
        where = comfy.utils.repeat_to_batch_size(where, len(original))
    view = kept(original.shape, *rebuilt.shape[-2:])
    changed = [on_original_picture(original, rebuilt, one.movedim(-1, 1), where, view=view) for one in drawn]
    return [one.movedim(1, -1) for one in changed]


def strengths_of(text: str) -> list[float]:
    """Read strengths out of a text.

    Args:
        text: Numbers with commas, semicolons or spaces between them.

    Returns:
        The strengths, 1 to MAX_STRENGTHS of them.

    Raises:
        EditError: One is not a number in the slider's range, or there are none or too many.
    """
    values = []
    for word in re.split(r"[\s,;]+", text.strip(" ,;\n\t")):
        try:
            value = float(word)
        except ValueError:
            value = float("nan")
        if not defaults.SLIDER_LOW <= value <= defaults.SLIDER_HIGH:
            raise EditError(
                f"strengths holds '{word[:20]}'; numbers from {defaults.SLIDER_LOW:g} to {defaults.SLIDER_HIGH:g} "
                f"with commas between them are accepted, such as '{STRENGTHS}'."
            )
        values.append(value)
    if len(values) > MAX_STRENGTHS:
        raise EditError(f"strengths holds {len(values)} numbers; {MAX_STRENGTHS} at most are accepted.")
    return values


NODES = [EditPicture, StrengthSheet]
