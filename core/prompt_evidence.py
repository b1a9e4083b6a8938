"""How well a picture fits one prompt rather than another, by the model's own predictions.

A diffusion model is a classifier too: the prompt that a noised picture is denoised best under is the one that
describes it (Diffusion Classifier, arXiv 2303.16203, section 3). Both prompts are asked at the same noise levels, with
the same noises, so that chance has little part in how they differ (section 3.2 there):

    evidence(x0) = mean over sigma of log( E(x0; source, sigma) / E(x0; target, sigma) )
    E(x0; prompt, sigma) = sum over noises of |D(noised x0, sigma; prompt) - x0|^2

0: the picture fits both alike; above: it shows the target. The paper adds up differences of errors. Here logarithms are
added, so that no noise level counts more because its errors are large: that is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .denoiser import Denoiser, PromptDenoisers, is_flow
from .errors import EditError
from .samplers import OnStep

# What an error is at least, so that it has a logarithm.
MIN_ERROR = 1e-12


@dataclass(frozen=True)
class PromptEvidence:
    """Two prompts, and the noised pictures that they are compared on.

    Attributes:
        prompts: The model under both, without guidance, which is no part of what a prompt says about a picture.
        noise: Unit noises that every picture meets, [K, C, H, W].
        sigmas: The noise levels that are asked at, [L], above 0.
    """

    prompts: PromptDenoisers
    noise: Tensor
    sigmas: Tensor

    def __post_init__(self) -> None:
        if len(self.noise) == 0 or len(self.sigmas) == 0 or not bool((self.sigmas > 0).all()):
            raise EditError(
                f"evidence is asked for with {len(self.noise)} noises at noise levels {self.sigmas.tolist()}; "
                "at least one of each is needed, and levels above 0."
            )

    @property
    def calls(self) -> int:
        """Model calls for one batch of pictures."""
        return 2 * len(self.noise) * len(self.sigmas)

    @torch.no_grad()
    def of(self, latents: Tensor, on_step: OnStep | None = None) -> Tensor:
        """Return how much better latents fit the target prompt than the source prompt.

        Args:
            latents: Pictures without noise, [B, C, H, W] in model space.
            on_step: Called once for each model call.

        Returns:
            The evidence of each, [B]; 0 where both prompts fit alike.
        """
        # Both prompts meet the same states.
        noises = self.noise.to(latents)
        logarithms = []
        for sigma in self.sigmas.to(latents):
            scale = 1 - sigma if is_flow(self.prompts.source) else 1
            states = [scale * latents + sigma * noise for noise in noises]
            source, target = (_error(prompt, states, sigma, latents, on_step) for prompt in self.prompts[:2])
            logarithms.append(source.log() - target.log())
        return torch.stack(logarithms).mean(dim=0)

    def of_code(self, code: Tensor, sigma: Tensor, denoise: Denoiser, on_step: OnStep | None = None) -> Tensor:
        """Return the evidence in the picture that is predicted from a code, in place of a finished one.

        Args:
            code: State at sigma, [B, C, H, W] in model space.
            sigma: Noise level, a scalar tensor; at 0 the code is the picture.
            denoise: What predicts the picture.
            on_step: As ``of`` takes it.

        Returns:
            As ``of`` does.
        """
        if sigma == 0:
            return self.of(code, on_step)
        predicted = denoise(code, sigma)
        if on_step is not None:
            on_step()
        return self.of(predicted, on_step)


def _error(denoise: Denoiser, states: list[Tensor], sigma: Tensor, latents: Tensor, on_step: OnStep | None) -> Tensor:
    """Return E of latents that were noised to these states, [B]; above 0."""
    error = torch.full((len(latents),), MIN_ERROR, device=latents.device)
    for state in states:
        error += (denoise(state, sigma) - latents).flatten(1).square().sum(dim=1)
        if on_step is not None:
            on_step()
    return error
