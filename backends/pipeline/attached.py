"""``singular_edit.attach``: invert, learn and edit with a loaded diffusers pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from ...core.errors import EditError
from ...core.inversion.report import QUALITIES
from ...core.model_family import ModelFamily
from ...core.recipes import edit as edit_recipe
from ...core.recipes.attributes import Attribute
from ...core.recipes.defaults import EDIT_GUIDANCE, STEPS
from ...core.recipes.inversion import TRACED, inversion_steps, invert
from ...core.recipes.retries import retries_of
from ...core.recipes.sampled_steps import sampled_steps
from ...core.recipes.settings import EditSettings, LearnSettings, PairSettings
from .arguments import (
    Weighted,
    check_number,
    check_numbers,
    check_rows,
    check_seed,
    check_steps,
    check_whole,
    weighted_of,
)
from .code import Code
from .learning import layer_of, learn, negative_of, ticking
from .lesson import Lesson
from .masks import Mask, mask_of
from .model import Prompt
from .originals import on_originals, originals_of
from .pictures import Pictures, Size, pictures_of, pil_pictures
from .plain_calls import PlainCalls

OUTPUTS = ("pil", "pt", "latent")


class AttachedPipeline(PlainCalls):
    """A pipeline that inverts pictures, learns attributes and edits with them.

    The pipeline itself stays as it is: its weights, its scheduler, its LoRAs. Hooks are there only while a call or a
    slider runs. As a context manager it detaches at the end.

    Args:
        pipe: A loaded diffusers pipeline of SD 1.x, SD 2.x, SDXL, SD3 or Flux.
        family: What kind of model it is, for files of attributes; None recognises it.

    Raises:
        EditError: pipe is something else.
    """

    def invert(
        self,
        image: Pictures,
        prompt: Prompt = "",
        *,
        negative: Prompt = "",
        steps: int = STEPS,
        guidance: float = EDIT_GUIDANCE,
        method: str = TRACED,
        size: Size = None,
        seed: int = 0,
    ) -> Code:
        """Find the noise from which the model draws a picture again.

        Args:
            image: A PIL image, a tensor [3, H, W] or [B, 3, H, W] from 0 to 1, an array [H, W, 3] of floats from 0 to 1
                or of uint8, or a list of them. It is resized to what the model was made for, with its aspect kept; a
                narrow edge may be cut off.
            prompt: What the picture shows, or one text for each picture.
            negative: What it should not show, or one text for each picture; not read where guidance is 1.
            steps: Sampling steps of the inversion and of every edit.
            guidance: How strictly the prompt is followed, 1 to 2; more makes edits stronger and coarser.
            method: "traced", exact at one call a step; "fixed_point" or "ddim", which need no trace.
            size: Longest side in pixels, or (width, height), in place of the model's own; callback's size is (height,
                width). Each side is rounded to what the network takes, multiples of 64 pixels for SD 1.x; a size that
                was rounded is logged.
            seed: Seed of the noise that method traced draws for its first step.

        Returns:
            The code, with ``latents``, ``trace`` and ``report``.

        Raises:
            EditError: A picture, a prompt, a number or the method is not accepted, or a slider is open.
        """
        model = self._working_model()
        steps, seed, guidance = check_steps(steps), check_seed(seed), check_number(guidance, "guidance")
        with torch.no_grad(), self._computing():
            latents = model.encode(pictures_of(image, model.sides, size))
            encoded = model.encode_prompt(prompt)
            denied = negative_of(model, negative, guidance, encoded)
            check_rows(encoded.embeds, len(latents), "prompt")
            check_rows(denied.embeds, len(latents), "negative")
            schedule = model.schedule(steps)
            quality = QUALITIES["good"]
            total = inversion_steps(schedule.sigmas, method, quality, "euler", measure=True)
            with ticking(model, "Inverting", total) as tick:
                inverted = invert(
                    model.denoiser(encoded, denied, guidance),
                    latents,
                    schedule.sigmas,
                    method,
                    quality=quality,
                    seed=seed,
                    on_step=tick,
                )
        return Code(inverted.code, inverted.trace, inverted.report, encoded, denied, guidance, schedule, self.family)

    def learn(  # noqa: PLR0913
        self,
        source: Prompt,
        target: Prompt,
        *,
        name: str = "",
        method: str | None = None,
        effort: str = "good",
        steps: int = STEPS,
        size: Size = None,
        seed: int | None = None,
        settings: LearnSettings | PairSettings | None = None,
        pictures: Pictures | None = None,
    ) -> Attribute:
        """Learn an attribute from two prompts, from random pictures or from yours.

        Args:
            source: What pictures show without the attribute: "a face".
            target: The same words with it: "a face with a hat".
            name: What it is called; the target prompt, where it is empty.
            method: "readout", "svd", "combined", "difference", "global", "vector" or "implicit". None takes readout,
                and svd for pictures.
            effort: "quick", "good" or "best": how many random pictures it learns from.
            steps: Sampling steps to learn at, 3 or more.
            size: Size of these pictures, as for invert, and rounded as there; None takes what the model was made for.
            seed: Another seed learns from other pictures. None is the seed of the settings' training, where there is
                one, and 0 otherwise.
            settings: All settings of a method, in place of method and effort.
            pictures: Pictures that show what source says, as invert takes them, to learn from in place of random ones.
                Where a model draws worse than they are, they teach more; one is enough, and several carry over better.
                Each effort takes so many at most; a warning is logged where these are fewer than were given.

        Returns:
            The attribute, whose ``save`` writes the file that ComfyUI's nodes read.

        Raises:
            EditError: The prompts are the same, a setting or a picture is not accepted, or a slider is open.
        """
        model = self._working_model()
        steps, seed = check_steps(steps), None if seed is None else check_seed(seed)
        lesson = Lesson(source, target, method, effort, steps, size, seed, settings, pictures)
        name = name or (target if isinstance(target, str) else "attribute")
        with torch.inference_mode(False), self._computing():
            return learn(model, lesson, name)

    def __call__(  # noqa: PLR0913
        self,
        code: Code,
        attributes: Weighted = None,
        *,
        strengths: Sequence[float] | None = None,
        until: float = EditSettings().edit_percent,
        mask: Mask | None = None,
        absolute: bool = False,
        fade: float = 0.0,
        retries: int = EditSettings().retries,
        on_original: Pictures | None = None,
        output_type: str = "pil",
    ) -> Any:
        """Edit inverted pictures.

        Args:
            code: What invert returned.
            attributes: Attributes and their strengths, {hat: 1.2, smile: -0.5}; one attribute alone has the strength
                that its file advises. None gives the pictures back unedited.
            strengths: Draws the pictures once for each of these numbers, by which every strength is multiplied; one
                attribute alone then has strength 1.
            until: Sampling progress until which directions and readouts edit.
            mask: White, or 1, where the pictures may change; None is everywhere. A PIL image, a tensor [H, W],
                [B, H, W] or [B, 1, H, W], or an array [H, W], of the size of the picture that was inverted or of the
                one that is drawn: its edges are cut off as the picture's were.
            absolute: Whether the strength of one attribute alone says how much of it the picture has in the end, and
                not how much is added: a picture that wears it already is not given it twice. Read where the attribute
                carries a response, as files of this version do.
            fade: Makes every step of strength about as large as the next, for one attribute alone: the runs without and
                with it are mixed at this sampling progress, and the model finishes the mixture. 0 is off. At 1 steps
                are even, but half way things are half transparent. Read likewise.
            retries: How often pictures that one attribute changes too little are edited again, more strongly. Read
                likewise, and not with a mask.
            on_original: The pictures that were inverted: the edit's change alone is added to them, at their own sizes,
                and where nothing changes, or a mask lets nothing change, they stay bit for bit. It takes one more
                drawing. None gives what the model draws, at its size.
            output_type: "pil", "pt" for tensors [B, 3, H, W] from 0 to 1, or "latent".

        Returns:
            The pictures, one for each of the code's: a list of PIL images, or a tensor; on originals of several sizes
            "pt" is a list of tensors [1, 3, H, W]. With ``strengths``, a list of these.

        Raises:
            EditError: The code or an attribute does not fit the model, an argument is not accepted, or a slider of the
                pipeline is open.
        """
        model = self._working_model()
        if not isinstance(code, Code):
            raise EditError(f"code is a {type(code).__name__}; what invert returns is accepted.")
        code.check_fits(self.family)
        until, fade = check_number(until, "until"), check_number(fade, "fade")
        retries = check_whole(retries, "retries", 0, EditSettings().retries)
        factors = [1.0] if strengths is None else check_numbers(strengths, "strengths")
        if output_type not in OUTPUTS:
            raise EditError(f"output_type is '{output_type}'; {', '.join(OUTPUTS)} are accepted.")
        if output_type == "latent" and on_original is not None:
            raise EditError("output_type is 'latent' but on_original makes pictures; pil and pt are accepted with it.")
        weighted = weighted_of(attributes, alone=None if strengths is None else 1.0)
        self._check_fits(*(one for one, _ in weighted))
        x = code.latents.to(model.device)
        fitted_mask = mask_of(mask, (x.shape[-2], x.shape[-1]))
        if fitted_mask is not None:
            check_rows(fitted_mask, len(x), "mask")
            fitted_mask = fitted_mask.to(x)
        originals = None if on_original is None else originals_of(on_original, len(x))
        results = []
        with torch.no_grad(), self._computing():
            layer = layer_of(one for one, _ in weighted)
            denoise = model.denoiser(code.prompt, code.negative, code.guidance, layer)
            response = weighted[0][0].response if len(weighted) == 1 else None
            values = [factor * weighted[0][1] for factor in factors] if weighted else factors
            cut = partial(edit_recipe.cut_at, weighted[0][0], code.schedule) if weighted else code.schedule.step_at
            traced = code.trace is not None
            options = {"absolute": absolute, "fade": fade, "retries": retries_of(retries, until, fitted_mask)}
            unedited = originals is not None
            steps = sampled_steps(response, values, code.steps, cut=cut, traced=traced, unedited=unedited, **options)
            with ticking(model, "Editing", steps) as tick:
                edited = edit_recipe.editor(
                    denoise,
                    x,
                    code.schedule,
                    weighted,
                    until=until,
                    space=model.space,
                    trace=code.trace,
                    mask=fitted_mask,
                    **options,
                    decode=None if output_type == "latent" else model.decode,
                    callback=lambda *step: tick(),
                )
                for factor in factors:
                    result = edited(factor)
                    results.append(result if output_type == "latent" else result.clamp(0, 1))
                if originals is not None:
                    plain = edited(None).clamp(0, 1)
                    results = [on_originals(originals, plain, one, fitted_mask) for one in results]
        if output_type == "pil":
            results = [pil_pictures(pictures) for pictures in results]
        return results[0] if strengths is None else results


def attach(pipe: Any, *, family: ModelFamily | None = None) -> AttachedPipeline:
    """Make a loaded diffusers pipeline one that edits pictures.

    >>> edit = singular_edit.attach(pipe)
    >>> code = edit.invert(image, "a face")
    >>> hat = edit.learn("a face", "a face with a hat")
    >>> images = edit(code, {hat: 1.2})

    Args:
        pipe: A pipeline of SD 1.x, SD 2.x, SDXL, SD3 or Flux, wherever and in whatever precision it is.
        family: What kind of model it is, for files of attributes; None recognises it.

    Returns:
        What inverts, learns and edits with it; also a context manager that detaches at the end.

    Raises:
        EditError: pipe is something else.
    """
    return AttachedPipeline(pipe, family)
