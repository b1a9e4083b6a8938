"""The range of finished pictures' latents, which a readout's edits keep to.

A readout adds the same kind of change at every step. Where the model has made what the readout asks for and it still
asks for more, such as a bright moon at a large strength, the prediction becomes brighter than any picture. No model
knows such states, and what it makes of them is noise. So an edited prediction stays within the range of the pictures
that the readout was measured on, channel by channel:

    D_edit = D + e  between  min(D, lowest) and max(D, highest)        e: the change of the prediction

Where D itself lies outside, an edit brings it no further out. It is dynamic thresholding (Imagen, arXiv 2205.11487,
section 2.3) of the edit alone, with the range of the pictures at hand in place of a percentile. Ours, in neither paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

# A channel of one value alone is taken to reach this far, because the range of a file ascends.
MIN_REACH = 1e-3


class PictureRange(NamedTuple):
    """What the latents of finished pictures reach, in model space.

    Attributes:
        lowest: The lowest value of each channel, [C].
        highest: The highest, above it, [C].
    """

    lowest: Tensor
    highest: Tensor

    @classmethod
    def of(cls, pictures: Tensor) -> Self:
        """Measure the range of finished pictures, [B, C, H, W] in model space."""
        lowest, highest = torch.aminmax(pictures.float().movedim(1, 0).flatten(1), dim=1)
        return cls(lowest, torch.maximum(highest, lowest + MIN_REACH))

    @classmethod
    def of_all(cls, ranges: Sequence[PictureRange]) -> Self:
        """Return the range of all pictures that one or more ranges were measured on, of one channel count."""
        lowest, highest = (torch.stack(ends) for ends in zip(*ranges, strict=True))
        return cls(lowest.amin(0), highest.amax(0))

    def keep_within(self, change: Tensor, denoised: Tensor) -> Tensor:
        """Return as much of a change as keeps the prediction in the range.

        Args:
            change: Of the prediction, [B, C, H, W] in model space.
            denoised: The prediction, like change.

        Returns:
            The change, like it; itself where nothing leaves the range.
        """
        plain = denoised.to(change)
        lowest, highest = (end.to(change)[:, None, None] for end in self)
        return torch.maximum(torch.minimum(change, (highest - plain).clamp(min=0)), (lowest - plain).clamp(max=0))
