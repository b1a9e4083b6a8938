"""session."""

from __future__ import annotations

from collections.abc import Callable

import comfy.samplers
import torch
from torch import Tensor

from ...core.errors import EditError

POSITIVE, TARGET = "positive", "target"


def sampler_name(sampler) -> str:
    """What a SAMPLER from KSamplerSelect is called: the name of its sampling function; euler where none is wired.

    Raises EditError for one that draws noise on its way, by its options.
    """
    if sampler is None:
        return "euler"
    function = getattr(sampler, "sampler_function", sampler)
    name = getattr(function, "__name__", type(function).__name__)
    stock = (
        getattr(function, "__module__", "") == "comfy.k_diffusion.sampling"
    )  # another pack's sample_euler is not ours to know
    name = name.removeprefix("sample_") if stock else name
    if getattr(sampler, "extra_options", {}).get("s_churn", 0) > 0:
        raise EditError(
            f"sampler is '{name}' with s_churn, which draws noise that is not in the picture and cannot be inverted; set s_churn to 0."
        )
    return name


class PromptGuider(comfy.samplers.CFGGuider):
    """CFGGuider with a second positive conditioning, so that two prompts share one sampling session."""

    prompt = POSITIVE

    def set_prompts(self, positive, negative, target=None) -> None:
        self.inner_set_conds({POSITIVE: positive, "negative": negative} | ({} if target is None else {TARGET: target}))

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        return comfy.samplers.sampling_function(
            self.inner_model,
            x,
            timestep,
            self.conds.get("negative"),
            self.conds[self.prompt],
            self.cfg,
            model_options=model_options,
            seed=seed,
        )


class _Runner(comfy.samplers.Sampler):
    """A sampler that runs a core algorithm on the latent, in model space, and keeps what it returns."""

    def __init__(self, algorithm):
        self.algorithm, self.result = algorithm, None

    def sample(
        self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False
    ):
        model = comfy.samplers.KSamplerX0Inpaint(model_wrap, sigmas)
        model.latent_image, model.noise = latent_image, noise
        self.result = self.algorithm(model, {**extra_args, "denoise_mask": None}, latent_image, sigmas)
        return latent_image


def run(
    model,
    positive,
    negative,
    cfg: float,
    latent: Tensor,
    sigmas: Tensor,
    algorithm: Callable,
    *,
    target=None,
    seed: int = 0,
):
    """``algorithm(model, extra_args, x, sigmas)`` inside ComfyUI's sampling session; returns its result.

    latent: LATENT space, handed over in model space. Whatever happens, ComfyUI's own cleanup runs.
    """
    guider = PromptGuider(model)
    guider.set_prompts(positive, negative, target)
    guider.set_cfg(cfg)
    runner = _Runner(algorithm)
    guider.sample(torch.zeros_like(latent), latent, runner, sigmas, disable_pbar=True, seed=seed)
    return runner.result
