"""Readouts: what another prompt would change, read off the bottleneck. Ours, not the paper's.

Asyrp (arXiv 2210.10960) adds dh to h and lets the decoder answer. The decoder's answer also holds changes that nobody
asked for, and colours drift. A readout leaves h alone: a small convolutional network tells from h how the predicted
picture would change under the target prompt, and that change is added to the prediction itself,

    D_edit = D + strength * guidance * w R(h, sigma),    R(h, sigma) ~ (D_target - D_source) / guidance

The bottleneck is Asyrp's, and so is the sampler; the decoder is not asked. An edit costs no second model call, and
learning needs no gradient through the model (learn_readout.py). R is a regression. Where h leaves the change open, R
answers with the mean, which is why its unit of strength is measured (calibration.py). R also answers a little
everywhere, which w leaves out (core/saliency.py).

Such a mean is small, and the picture would come out without the attribute. What the target prompt changes is about as
large in every picture. So where w R is weaker than it usually is at this noise level, it is *lifted* to that size:

    lift * w R,    lift = max(1, min(1 / p, 1 + 4 p^2)),    p = peak / usual peak

The peak is its size where it is largest (core/saliency.py); the usual one is the mean over the states that R was
learned from. The lift is 2 at most, at half of the usual size. Below, it falls to 1 again, because a picture that wears
the attribute already has next to nothing to change. A readout of an older file lifts nothing.

The edited prediction keeps to the range of finished pictures (picture_range.py).
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EditError
from ..saliency import FOCUS, peak, saliency_weight
from .direction import HDirection, look_up
from .networks import time_embedding
from .picture_range import PictureRange
from .tensor_limits import KERNEL, TIME_WIDTH

# Chosen on the embedded model.
WIDTH = 128
DROPOUT = 0.1
# A smaller usual peak, or share of it, is taken for this where it is divided by.
MIN_SHARE = 1e-6


class Readout(HDirection):
    """R(h, sigma), a change of the predicted picture.

    ``scale`` [1] is what h is divided by. ``out.weight`` is [C, r, r, W]: r x r latent pixels for each place of h.
    ``peak`` [S] is the usual peak at each of ``sigmas``. ``range`` [C, 2] is what finished pictures reach
    (picture_range.py).
    """

    kind = "h_direction_readout"
    layout: ClassVar[dict[str, str]] = {
        "sigmas": "S",
        "scale": "1",
        "in.weight": "WH",
        "in.bias": "W",
        "time.weight": "WE",
        "time.bias": "W",
        "conv1.weight": "WWkk",
        "conv1.bias": "W",
        "conv2.weight": "WWkk",
        "conv2.bias": "W",
        "out.weight": "CrrW",
        "out.bias": "Crr",
    }
    optional: ClassVar[tuple[dict[str, str], ...]] = ({"peak": "S"}, {"range": "CB"})
    linear = ("out.weight", "out.bias", "peak")

    @classmethod
    def fresh(
        cls,
        channels: int,
        latent_channels: int,
        factor: int,
        scale: float,
        sigmas: Tensor,
        *,
        generator: torch.Generator,
        info: dict[str, str],
    ) -> Self:
        """Draw fresh weights. The last layer is zero, so that learning starts from no edit at all.

        Args:
            channels: Width of the bottleneck, Ch.
            latent_channels: Channels of the latent, C.
            factor: How many times the latent is larger than the bottleneck, along each side.
            scale: What h is divided by: its standard deviation.
            sigmas: The steps it will be learned on, [S].
            generator: What the weights are drawn from.
            info: Free text by key.

        Returns:
            The readout, which reads 0.
        """

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))

        tensors = {
            "scale": torch.tensor([scale]),
            "in.weight": normal(WIDTH, channels),
            "in.bias": torch.zeros(WIDTH),
            "time.weight": normal(WIDTH, TIME_WIDTH),
            "time.bias": torch.zeros(WIDTH),
            "conv1.weight": normal(WIDTH, WIDTH, KERNEL, KERNEL),
            "conv1.bias": torch.zeros(WIDTH),
            "conv2.weight": normal(WIDTH, WIDTH, KERNEL, KERNEL),
            "conv2.bias": torch.zeros(WIDTH),
            "out.weight": torch.zeros(latent_channels, factor, factor, WIDTH),
            "out.bias": torch.zeros(latent_channels, factor, factor),
        }
        return cls(sigmas, tensors, info)

    @property
    def channels(self) -> int:
        """The width of the bottleneck it was learned on."""
        return self.tensors["in.weight"].shape[1]

    @property
    def latent_channels(self) -> int:
        """How many channels the latents have that it changes."""
        return self.tensors["out.weight"].shape[0]

    @property
    def place_size(self) -> int:
        """How many latent pixels along each side it answers with, for one place of the bottleneck."""
        return self.tensors["out.weight"].shape[1]

    def read(self, h: Tensor, sigma: Tensor, size: tuple[int, int]) -> Tensor:
        """Return w R(h, sigma), lifted where it is weak: what a sampler adds at strength 1 and guidance 1.

        Args:
            h: Bottleneck, [R, Ch, h, w].
            sigma: Noise level, a scalar tensor or [R].
            size: Height and width of the latent.

        Returns:
            The change of the predicted picture, [R, C, *size] in model space and float32. w is the saliency weight of
            the change, divided by its largest possible value so that it is at most 1.

        Raises:
            EditError: It was learned on a bottleneck of another width, or of places of another size.
        """
        change = self.change(h, sigma, size)
        if tuple(change.shape[-2:]) != tuple(size):
            raise EditError(
                f"readout '{self.name}' reads {self.place_size} x {self.place_size} latent pixels off each place "
                f"of the bottleneck, which makes {change.shape[-2]} x {change.shape[-1]} and not {size[0]} x "
                f"{size[1]}; use the model family it was learned on."
            )
        weighted = saliency_weight(change) / (1 + FOCUS) * change
        if "peak" not in self.tensors:
            return weighted
        usual = torch.stack([look_up(self.tensors["peak"], self.sigmas, one) for one in sigma.reshape(-1).tolist()])
        share = (peak(weighted) / usual.to(weighted.device).clamp(min=MIN_SHARE)).clamp(min=MIN_SHARE)
        lift = torch.minimum(1 / share, 1 + 4 * share.square()).clamp(min=1.0)
        return lift[:, None, None, None] * weighted

    def with_peak(self, usual: Tensor | None) -> Self:
        """Return the readout that lifts changes to a usual peak.

        Args:
            usual: The mean of peak(w R) at each of ``sigmas``, [S]; None lifts nothing.
        """
        return self._with(("peak",), {} if usual is None else {"peak": usual})

    @property
    def picture_range(self) -> PictureRange | None:
        """The range that its edits keep to; None of an older file, whose edits are not limited."""
        return PictureRange(*self.tensors["range"].unbind(-1)) if "range" in self.tensors else None

    def with_range(self, picture_range: PictureRange) -> Self:
        """Return the readout whose edits keep to a range."""
        return self._with(("range",), {"range": torch.stack(picture_range, dim=-1).cpu()})

    def change(self, h: Tensor, sigma: Tensor, size: tuple[int, int], dropout: torch.Generator | None = None) -> Tensor:
        """Return R(h, sigma), without its saliency weight.

        Args:
            h: Bottleneck, [R, Ch, h, w].
            sigma: Noise level, a scalar tensor or [R].
            size: Height and width of the latent.
            dropout: What dropout is drawn from while learning; None drops nothing.

        Returns:
            The change of the predicted picture, [R, C, *size] in model space and float32.

        Raises:
            EditError: It was learned on a bottleneck of another width.
        """
        self.check_width(h.shape[1])
        w = {name: tensor.to(h.device) for name, tensor in self.tensors.items()}
        embedding = time_embedding(sigma.reshape(-1)).to(h.device)
        time = F.linear(embedding, w["time.weight"], w["time.bias"])
        y = F.conv2d(h.float() / w["scale"], w["in.weight"][:, :, None, None], w["in.bias"])
        y = F.silu(y + time[:, :, None, None])
        for name in ("conv1", "conv2"):
            answer = F.conv2d(_dropped(y, dropout), w[f"{name}.weight"], w[f"{name}.bias"], padding="same")
            y = y + F.silu(answer)
        weight = w["out.weight"].flatten(0, 2)[:, :, None, None]
        y = F.conv2d(_dropped(y, dropout), weight, w["out.bias"].flatten())
        # A side that the model's downsampling rounded up comes out too long.
        height, width = size
        return F.pixel_shuffle(y, self.place_size)[..., :height, :width]


def _dropped(y: Tensor, generator: torch.Generator | None) -> Tensor:
    """Set a share DROPOUT of the values to 0 and make up for it in the others."""
    if generator is None:
        return y
    kept = (torch.rand(y.shape, generator=generator) >= DROPOUT).to(y)
    return y * kept / (1 - DROPOUT)
