"""A readout as a MODEL patch, so that any sampler slides it as it slides a LoRA.

    D_edit = D + strength * guidance * w R(h, sigma)        core/hspace/readout.py

A patch of the network reads h, and a sampler_post_cfg_function adds the change to the guided prediction.
With the stock euler sampler this is Asyrp's step of a readout (core/hspace/asyrp.py). This module may be imported only
where ComfyUI runs.
"""

from __future__ import annotations

from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.denoiser import BottleneckRecorder
from ...core.errors import check_effect
from ...core.hspace.direction import HDirection
from ...core.hspace.readout_change import ReadoutChange
from ...core.hspace.window import EditWindow
from ...core.recipes.attributes import guidance_factor
from ...core.response import scale_of
from ...core.samplers import SIGMA_TOLERANCE
from .denoiser import check_reached, h_patch
from .family import choose_layer, family_of
from .frames import framed, unframed


class _Reading:
    """h of one prediction.

    Other packs may run the network again within a prediction (perturbed guidance does), so that only what is seen
    between the start of the prediction and the first look at its halves is kept.
    """

    def __init__(self) -> None:
        self.reached = False
        self.start()

    def start(self) -> None:
        """Forget what was seen, and begin to look."""
        self.recorder = BottleneckRecorder()
        self.looking = True

    def stop(self) -> None:
        """Look no further until the next prediction."""
        self.looking = False

    def look(self, h: Tensor) -> Tensor:
        """Keep h [R, Ch, h, w] of the rows of the prompt."""
        self.reached = True
        return self.recorder(h) if self.looking else h


def with_readout(model: Any, direction: HDirection, strength: float, window: EditWindow) -> Any:
    """Clone a MODEL whose predictions a readout changes.

    Args:
        model: A MODEL, which is left as it is. Several readouts may follow each other: each reads the same h, so that
            their changes add up.
        direction: A readout, or a sum of readouts.
        strength: 0 changes nothing, 1 is as learned, below 0 takes away.
        window: Where predictions are changed.

    Returns:
        The clone; at strength 0 a clone without a patch.

    Raises:
        EditError: The MODEL has no h at the readout's layer.
    """
    clone = model.clone()
    change = ReadoutChange.of(direction, scale_of(direction.response, strength), window)
    if change is None:
        return clone
    layer = choose_layer(model.model, direction.layer)
    window = window.beginning_at(direction.start)
    reading = _Reading()
    place_size = family_of(model.model).place_size

    # ComfyUI copies options deeply with every clone; functions are shared, which keeps the three of them together.
    def start(executor: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: int | None) -> Any:
        reading.start()
        # Here, and not in the clone, so that the patches that others add later are in place too.
        patch = h_patch(model.model, layer, reading.look, read_only=True)
        return executor(x, timestep, patch.options(model_options), seed)

    def stop(args: dict[str, Any]) -> Any:
        reading.stop()
        return args["conds_out"]

    def add(args: dict[str, Any]) -> Tensor:
        denoised = unframed(model.model, args["denoised"])
        sigma = args["sigma"].flatten()[0]
        sigma_next = _next_sigma(args["model_options"], sigma)
        if window.edited_fraction(sigma, sigma_next) == 0:
            return args["denoised"]
        check_reached(reading.reached, layer)
        if not reading.recorder.seen:
            return args["denoised"]
        h = reading.recorder.per_picture(denoised, place_size)
        guidance = args["cond_scale"] * guidance_factor(direction, args["cond_scale"])
        added = change.added_to(denoised, h, sigma, sigma_next, guidance)
        return framed(model.model, denoised + check_effect(added).to(denoised))

    clone.add_wrapper(WrappersMP.PREDICT_NOISE, start)
    clone.set_model_sampler_pre_cfg_function(stop)
    clone.set_model_sampler_post_cfg_function(add)
    return clone


def _next_sigma(model_options: dict[str, Any], sigma: Tensor) -> Tensor:
    """Return the noise level of the sampler's schedule that follows this one; 0 where there is none."""
    sigmas = model_options.get("transformer_options", {}).get("sample_sigmas")
    if sigmas is not None:
        below = sigmas[sigmas < sigma.to(sigmas) * (1 - SIGMA_TOLERANCE)]
        if len(below):
            return below.max().to(sigma)
    return torch.zeros_like(sigma)
