"""What an inversion went through, kept for the way back: a trace.

traced.py makes traces and follows them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EditError
from ..samplers import SIGMA_TOLERANCE


@dataclass(frozen=True, eq=False)
class Trace:
    """What an inversion went through. In float32, on the CPU.

    Attributes:
        states: The picture's state at each noise level, [n + 1, B, C, ..., H, W] in model space.
        corrections: What is added to D at each state, so that an Euler step leads to the next, [n, B, C, ..., H, W].
        sigmas: Descending noise levels, [n + 1].
        guidance: The guidance of the inversion, at which the picture comes back.
    """

    states: Tensor
    corrections: Tensor
    sigmas: Tensor
    guidance: float = 1.0

    @property
    def code(self) -> Tensor:
        """The state at sigmas[0], [B, C, ..., H, W]."""
        return self.states[0]

    def step_at(self, sigma: Tensor | float) -> int:
        """Return the step whose noise level is the nearest to this one."""
        return int((self.sigmas.cpu().double() - float(sigma)).abs().argmin())

    def state_at(self, sigma: Tensor | float, like: Tensor) -> Tensor:
        """Return the state at a noise level for a batch like this one, in which the pictures may come repeatedly."""
        return repeated(self.states[self.step_at(sigma)], like)

    def check(self, x: Tensor, sigmas: Tensor) -> None:
        """Check that a sampler can follow the trace.

        Args:
            x: The sampler's state at sigmas[0], [B, C, ..., H, W]. One trace may serve several batches of its pictures.
            sigmas: The sampler's noise levels, descending.

        Raises:
            EditError: x is of another size, or sigmas are no part of the trace's.
        """
        if x.shape[1:] != self.states.shape[2:] or len(x) % self.states.shape[1]:
            raise EditError(
                f"The trace is of a latent of shape {tuple(self.states.shape[1:])}, but the sampler's has "
                f"{tuple(x.shape)}; wire the code and the trace of the same Latent Invert."
            )
        first = self.step_at(sigmas[0])
        part = self.sigmas[first : first + len(sigmas)]
        if len(part) != len(sigmas) or not torch.allclose(part.double(), sigmas.cpu().double(), rtol=SIGMA_TOLERANCE):
            raise EditError(
                f"The sampler's schedule, {len(sigmas) - 1} steps from sigma {float(sigmas[0]):.4g}, is no part of the "
                f"trace's, {len(self.sigmas) - 1} steps from sigma {float(self.sigmas[0]):.4g}; "
                "wire the sigmas output of the Latent Invert that the trace comes from."
            )


def repeated(state: Tensor, like: Tensor) -> Tensor:
    """Return a state [B, ...] on the device and in the dtype of ``like`` [k*B, ...], k times."""
    return state.to(like).repeat(len(like) // len(state), *[1] * (like.ndim - 1))
