"""Learn an SVD attribute from two prompts, and edit with it.

This is the one recipe of command line, library, tests and benchmarks. Inside ComfyUI the same steps are nodes: Latent
Pair, SVD Attribute Learn, Latent SVD Edit.

Codes here are in model space. An attribute lives at unit variance, so that a space which differs by a factor alone, as
LATENT space does for most models, makes no difference to it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..denoiser import Denoiser, PromptDenoisers
from ..errors import EditError
from ..inversion.traced import Trace, follow_trace
from ..latent_svd.apply import apply_attribute
from ..latent_svd.attribute import SVDAttribute
from ..latent_svd.learn import AttributeSettings, learn_attribute
from ..latent_svd.prompt_pairs import sample_prompt_pair
from ..samplers import Run, sample_euler
from . import defaults
from .settings import PairSettings

# (codes of the source prompt, codes of the target prompt, [B, C, H, W] each) -> whether each pair shows the attribute
Accept = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def accepted_pairs(
    prompts: PromptDenoisers,
    noise: Tensor,
    sigmas: Tensor,
    settings: PairSettings = PairSettings(),
    *,
    accept: Accept | None = None,
    run: Run = Run(),
) -> tuple[Tensor, Tensor]:
    """Sample pairs of codes from noise until there are enough that show what their prompts say.

    Of a picture that has the attribute already, or of one that stays without, nothing can be learned.

    Args:
        prompts: The model under both prompts.
        noise: Starting noises at sigmas[0], [N, C, H, W] in model space; more than settings.count where pairs are
            refused.
        sigmas: Descending noise levels, [n + 1].
        settings: Where the pairs come from.
        accept: Tells which pairs to keep; None keeps all.
        run: on_step is called for each sampling step of each batch.

    Returns:
        The source's codes and the target's, [count, C, H, W] each; fewer where the noises ran out.

    Raises:
        EditError: No pair was accepted, or a step is not there.
    """
    sources: list[Tensor] = []
    targets: list[Tensor] = []
    for x in noise.split(run.batch):
        pair = sample_prompt_pair(
            prompts.source,
            prompts.target,
            x.to(run.device),
            sigmas,
            settings.step,
            branch_steps=settings.branch_steps,
            delta=settings.delta,
            on_step=run.on_step,
        )
        kept = torch.ones(len(x), dtype=torch.bool) if accept is None else accept(pair.source, pair.target).cpu()
        sources += [code for code, keep in zip(pair.source, kept, strict=True) if keep]
        targets += [code for code, keep in zip(pair.target, kept, strict=True) if keep]
        if len(sources) >= settings.count:
            break
    if not sources:
        raise EditError(
            f"None of {len(noise)} pairs shows the attribute under the target prompt alone; "
            "another target prompt, or an earlier branch step, is needed."
        )
    return torch.stack(sources[: settings.count]), torch.stack(targets[: settings.count])


def learn_from_prompts(
    prompts: PromptDenoisers,
    noise: Tensor,
    sigmas: Tensor,
    settings: PairSettings = PairSettings(),
    *,
    attribute: AttributeSettings = AttributeSettings(),
    accept: Accept | None = None,
    info: dict[str, str] | None = None,
    run: Run = Run(),
) -> SVDAttribute:
    """Learn an attribute from two prompts: the mean edit of several pairs (arXiv 2502.02225, section 4).

    Args:
        prompts: The model under both prompts.
        noise: Starting noises, as accepted_pairs takes them.
        sigmas: Descending noise levels, [n + 1].
        settings: Where the pairs come from.
        attribute: How the attribute is learned from them.
        accept: Tells which pairs to keep; None keeps all.
        info: Free text that the attribute carries.
        run: As accepted_pairs takes it.

    Returns:
        The attribute.

    Raises:
        EditError: As accepted_pairs and learn_attribute do.
    """
    codes, target_codes = accepted_pairs(prompts, noise, sigmas, settings, accept=accept, run=run)
    return learn_attribute(
        codes,
        target_codes,
        attribute,
        sigma=float(sigmas[settings.step]),
        target_sigma=float(sigmas[settings.step + settings.delta]),
        info=info,
    )


@torch.no_grad()
def edit(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    attribute: SVDAttribute,
    *,
    strength: float = defaults.SVD_STRENGTH,
    step: int = defaults.T_X_STEP,
    start_step: int = 0,
    trace: Trace | None = None,
) -> Tensor:
    """Sample with an attribute applied on the way.

    Args:
        denoise: The model under the source prompt.
        x: State at sigmas[start_step], an inverted picture's code or noise, [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        attribute: What to apply.
        strength: 0 changes nothing, 1 is the whole attribute, negative removes.
        step: The step where it is applied.
        start_step: The step that x is at, at most ``step``.
        trace: The trace of the picture's inversion, which the sampler then follows; x is a state of it.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: x or the schedule is not the trace's, or apply_attribute does not accept the code.
    """
    denoise = follow_trace(denoise, trace, x, sigmas[start_step:])
    code = sample_euler(denoise, x, sigmas[start_step : step + 1])
    return sample_euler(denoise, apply_attribute(code, attribute, strength), sigmas[step:])
