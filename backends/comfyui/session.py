"""ComfyUI's sampling session around a core algorithm, so that loading, hooks and cleanup are ComfyUI's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import comfy.samplers
import torch
from torch import Tensor

from ...core.errors import EditError
from ...core.samplers import OnState
from .frames import framed, unframed

POSITIVE = "positive"
TARGET = "target"

# (model, extra_args, x in model space, sigmas) -> result; the first two are what a sampler function gets
Algorithm = Callable[[Any, dict[str, Any], Tensor, Tensor], Any]


def step_reporter(callback: Any, sigmas: Tensor) -> OnState:
    """Return the core's callback that calls k-diffusion's.

    Args:
        callback: k-diffusion's, called with a dictionary once a step; None is not called.
        sigmas: Descending noise levels of the sampler, [n + 1].

    Returns:
        The callback of a core sampler.
    """

    def report(i: int, state: Tensor, denoised: Tensor) -> None:
        if callback is not None:
            callback({"x": state, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised})

    return report


def sampler_name(sampler: Any) -> str:
    """Return what a SAMPLER from KSamplerSelect is called.

    Args:
        sampler: A SAMPLER; None where none is wired.

    Returns:
        The name of its sampling function; "euler" for None.

    Raises:
        EditError: Its options make it draw noise between steps.
    """
    if sampler is None:
        return "euler"
    function = getattr(sampler, "sampler_function", sampler)
    name = getattr(function, "__name__", type(function).__name__)
    # A sample_euler of another pack may be any sampler, so only ComfyUI's own functions lose the prefix.
    if getattr(function, "__module__", "") == "comfy.k_diffusion.sampling":
        name = name.removeprefix("sample_")
    if getattr(sampler, "extra_options", {}).get("s_churn", 0) > 0:
        raise EditError(
            f"sampler is '{name}' with s_churn, which draws noise that is not in the picture and cannot be inverted; "
            "set s_churn to 0."
        )
    return name


class Prompts(NamedTuple):
    """What a sampling session is conditioned on.

    Attributes:
        positive: The CONDITIONING that a denoiser's prompt POSITIVE chooses.
        negative: The negative CONDITIONING.
        cfg: Guidance.
        target: The CONDITIONING that a denoiser's prompt TARGET chooses; None if there is one prompt.
    """

    positive: Any
    negative: Any
    cfg: float
    target: Any = None


class PromptGuider(comfy.samplers.CFGGuider):
    """CFGGuider with a second positive conditioning, so that two prompts share one sampling session.

    Attributes:
        prompt: The conditioning of the next prediction, POSITIVE or TARGET.
    """

    prompt = POSITIVE

    def set_prompts(self, positive: Any, negative: Any, target: Any = None) -> None:
        """Set the CONDITIONINGs; see Prompts."""
        conditionings = {POSITIVE: positive, "negative": negative}
        if target is not None:
            conditionings[TARGET] = target
        self.inner_set_conds(conditionings)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """Predict x0 under the chosen prompt; CFGGuider's own method otherwise."""
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds[self.prompt],
            self.cfg,
            model_options={} if model_options is None else model_options,
            seed=seed,
        )


class _AlgorithmSampler(comfy.samplers.Sampler):
    """A sampler that runs a core algorithm on the latent, in model space, and keeps what it returns."""

    def __init__(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm
        self.result: Any = None

    def sample(  # noqa: PLR0917
        self,
        model_wrap: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor | None:
        """Run the algorithm; ComfyUI's own signature."""
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image = latent_image
        model.noise = noise
        x = None if latent_image is None else unframed(model_wrap.inner_model, latent_image)
        self.result = self.algorithm(model, {**extra_args, "denoise_mask": None}, x, sigmas)
        return latent_image


def run_in_session(
    model: Any, prompts: Prompts, latent: Tensor, sigmas: Tensor, algorithm: Algorithm, *, seed: int = 0
) -> Any:
    """Run a core algorithm inside ComfyUI's sampling session.

    Args:
        model: A MODEL, with its patches.
        prompts: What the session is conditioned on.
        latent: [B, C, ..., H, W] in LATENT space; the algorithm gets it in model space, pictures without a frame.
        sigmas: Noise levels, handed on to the algorithm.
        algorithm: Called with (model, extra_args, x, sigmas); ComfyDenoiser takes the first two.
        seed: Seed that ComfyUI hands to the model.

    Returns:
        What the algorithm returns. ComfyUI's own cleanup runs in any case.
    """
    guider = PromptGuider(model)
    guider.set_prompts(prompts.positive, prompts.negative, prompts.target)
    guider.set_cfg(prompts.cfg)
    sampler = _AlgorithmSampler(algorithm)
    latent = framed(model.model, latent)
    guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, disable_pbar=True, seed=seed)
    return sampler.result
