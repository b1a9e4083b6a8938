"""Readouts as hooks of a U-Net: every call of the pipeline is edited while they are there.

    D_edit = D + strength * guidance * w R(h, sigma)        core/hspace/readout.py

One forward hook reads the output of the middle block, another adds the change to what the network predicts, in the
rows of the prompt; the pipeline's own guidance multiplies it. These are PyTorch's own hooks: they run around whatever
a module's forward was replaced by, and so also with enable_model_cpu_offload and with LoRAs.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import EditError
from ...core.hspace.direction import HDirection
from ...core.hspace.readout_change import ReadoutChange
from ...core.hspace.window import EditWindow
from ...core.recipes.attributes import guidance_factor
from ...core.response import scale_of
from ..diffusers import V_PREDICTION, predicted_picture, sigmas_of
from .network_use import use_of
from .unet_model import UNetModel


class Slider:
    """Hooks of a readout, installed when made.

    Args:
        model: The pipeline.
        readout: A readout, or a sum of readouts.
        strength: 0 changes nothing, 1 is as learned, below 0 takes away.
        until: Sampling progress until which predictions are changed.

    Raises:
        EditError: The U-Net is compiled.
    """

    def __init__(self, model: UNetModel, readout: HDirection, strength: float, until: float) -> None:
        network = model.network
        if hasattr(network, "_orig_mod") or network._compiled_call_impl is not None:
            raise EditError(
                "the pipeline's U-Net is compiled, and what was compiled calls no hooks that are added later; "
                "attach the U-Net as it was before, or edit an inverted picture, which works with both."
            )
        self.model = model
        self.readout = readout
        self.strength = strength
        self.window = EditWindow(model.schedule(2).sigma_at(until), edit_from=readout.start)
        self.change = ReadoutChange.of(readout, scale_of(readout.response, strength), self.window)
        self.log_sigmas = sigmas_of(model.alphas_cumprod).log()
        self._h: Tensor | None = None
        self._hooks = ExitStack()
        self._use = use_of(network)
        self._use.sliders.add(self)
        if self.change is not None:
            self._hooks.callback(network.mid_block.register_forward_hook(self._read).remove)
            self._hooks.callback(network.register_forward_hook(self._add, with_kwargs=True).remove)

    def remove(self) -> None:
        """Remove the hooks, and what they have read."""
        self._hooks.close()
        self._use.sliders.discard(self)
        self._h = None

    def _read(self, module: nn.Module, inputs: tuple[Any, ...], h: Tensor) -> None:
        self._h = h.detach()

    @torch.no_grad()
    def _add(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        """Return the network's answer with the change in the rows of the prompt."""
        predicted = output[0]
        timestep = named["timestep"] if "timestep" in named else inputs[1]
        sigma, sigma_next = self._levels(timestep)
        h = self._h
        if h is None or self.change is None or self.window.edited_fraction(sigma, sigma_next) == 0:
            return output
        # Pipelines put the rows of the negative prompt first.
        first = len(predicted) // 2 if self.model.pipe.do_classifier_free_guidance else 0
        guidance = float(self.model.pipe.guidance_scale) if first else 1.0
        guided = predicted[:first] + guidance * (predicted[first:] - predicted[:first]) if first else predicted
        # The network takes a state in its own variance-preserving scale.
        sample = named["sample"] if "sample" in named else inputs[0]
        x = (sigma**2 + 1) ** 0.5 * sample[first:].float()
        denoised = predicted_picture(x, guided.float(), sigma, self.model.prediction)
        levels = (sigma.to(h.device), sigma_next.to(h.device))
        factor = guidance * guidance_factor(self.readout, guidance)
        change = self.change.added_to(denoised, h[first:].float(), *levels, factor)
        scale = -1 / (guidance * sigma)
        if self.model.prediction == V_PREDICTION:
            scale = scale * (sigma**2 + 1) ** 0.5
        edited = torch.cat([predicted[:first], (predicted[first:] + scale.to(change) * change).to(predicted)])
        return (edited, *output[1:]) if isinstance(output, tuple) else type(output)(sample=edited)

    def _levels(self, timestep: Any) -> tuple[Tensor, Tensor]:
        """Return the noise levels before and after the step of a timestep; 0 after the last."""
        t = torch.as_tensor(timestep).flatten()[0].cpu().double()
        times = self.model.pipe.scheduler.timesteps.cpu().double()
        later = times[times < t]
        after = self._sigma(later.max()) if len(later) else torch.tensor(0.0)
        return self._sigma(t), after

    def _sigma(self, t: Tensor) -> Tensor:
        """Return the noise level of a timestep, which may lie between two."""
        t = t.clamp(0, len(self.log_sigmas) - 1)
        low = int(t.floor())
        high = int(t.ceil())
        return torch.lerp(self.log_sigmas[low], self.log_sigmas[high], float(t) - low).exp()
