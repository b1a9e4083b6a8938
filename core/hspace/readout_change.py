"""What readouts add to a prediction at a strength; samplers, the MODEL patch and the pipeline's hooks add it alike.

    D_edit = D + strength * guidance * w R(h, sigma)        readout.py

as far as D_edit stays in the range of finished pictures (picture_range.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..errors import EditError
from .direction import HDirection
from .picture_range import PictureRange
from .readout import Readout
from .window import EditWindow

# A negative strength of a readout is multiplied by this. Chosen on the embedded model.
READOUT_REMOVAL_SCALE = 0.5


@dataclass(frozen=True)
class ReadoutChange:
    """The readouts of a direction at a strength.

    Attributes:
        terms: Of each readout: what its change is multiplied by, the readout, and the window that it is read in.
        picture_range: What an edited prediction keeps to; None where a readout does not know it, and nothing is
            limited.
    """

    terms: tuple[tuple[float, Readout, EditWindow], ...]
    picture_range: PictureRange | None

    @classmethod
    def of(cls, direction: HDirection, strength: float, window: EditWindow) -> Self | None:
        """Take the readouts of a direction.

        Args:
            direction: A direction, a readout, or a sum of them.
            strength: The scale of the direction: 1 is as learned; what is taken away is multiplied by
                READOUT_REMOVAL_SCALE, of each readout by the sign of its own weight too.
            window: Where the sampler edits. Each readout is read from its own start on.

        Returns:
            What they add; None when there is nothing to add.
        """
        readouts = [(weight, part) for weight, part in direction.parts if isinstance(part, Readout)]
        terms = tuple(
            (removal_scaled(strength * weight), part, window.beginning_at(part.start))
            for weight, part in readouts
            if strength * weight != 0
        )
        if not terms:
            return None
        ranges = [part.picture_range for _, part in readouts]
        known = [one for one in ranges if one is not None]
        return cls(terms, PictureRange.of_all(known) if len(known) == len(ranges) else None)

    def read(self, h: Tensor, sigma: Tensor, sigma_next: Tensor, size: tuple[int, int]) -> Tensor:
        """Read the change off h, before guidance and without a limit.

        Each readout changes its own fraction of the step in which its start lies (EditWindow.edited_fraction).

        Args:
            h: Bottleneck, [B, Ch, h, w].
            sigma: Noise level before the step, a scalar tensor.
            sigma_next: Noise level after it, a scalar tensor.
            size: Height and width of the latent.

        Returns:
            The change of D, [B, C, *size] in model space and float32; [1], of 0, where no window edits the step.

        Raises:
            EditError: A readout is for a bottleneck of another width.
        """
        total = torch.zeros(1, device=h.device)
        for scale, part, own in self.terms:
            factor = scale * own.edited_fraction(sigma, sigma_next)
            if factor:
                total = total + factor * part.read(h, sigma.clamp(max=own.edit_from), size)
        return total

    def added_to(self, denoised: Tensor, h: Tensor, sigma: Tensor, sigma_next: Tensor, guidance: float) -> Tensor:
        """Return what is added to a prediction.

        Args:
            denoised: The guided prediction D, [B, C, H, W] in model space.
            h: Bottleneck, [B, Ch, h, w].
            sigma: Noise level before the step, a scalar tensor.
            sigma_next: Noise level after it, a scalar tensor.
            guidance: What the change is multiplied by, as a prompt's is.

        Returns:
            D_edit - D, like ``denoised``, in float32; 0 where no window edits the step.

        Raises:
            EditError: A readout is for a bottleneck of another width, or for latents of other channels.
        """
        height, width = denoised.shape[-2:]
        change = guidance * self.read(h, sigma, sigma_next, (height, width))
        if change.ndim != denoised.ndim:
            return torch.zeros_like(denoised, dtype=torch.float32)
        if change.shape[1] != denoised.shape[1]:
            raise EditError(
                f"The readout changes latents of {change.shape[1]} channels but this model's have "
                f"{denoised.shape[1]}; use the model family it was learned on."
            )
        return change if self.picture_range is None else self.picture_range.keep_within(change, denoised)


def removal_scaled(scale: float) -> float:
    """Return what a readout's change is multiplied by at a scale: removal takes less than adding."""
    return scale if scale > 0 else READOUT_REMOVAL_SCALE * scale
