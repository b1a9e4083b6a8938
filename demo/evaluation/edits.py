"""The pack's edits of held-out faces, and the baselines beside them. Each edit is a function of a Session.

Everything is learned and applied by core/recipes; what is here binds the recipes to the embedded model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...core import Denoiser, HDirection, SVDAttribute, apply_attribute, learn_attribute, sample_euler
from ...core.latent_svd.learn import AttributeSettings
from ...core.recipes import defaults, hspace, latent_svd
from ...core.recipes.attributes import advised_strength, guidance_factor
from ...core.recipes.on_original import on_original
from ...core.recipes.settings import EditSettings, PairSettings
from ...core.recipes.slide import Slide, slide_of
from .learning import schedule
from .session import Session

Apply = Callable[[Tensor, SVDAttribute, float], Tensor]
Edit = Callable[[Session], Tensor]


def unedited(s: Session) -> Tensor:
    """Return the round trip: what the VAE and the inversion alone do to the picture."""
    return s.finish(s.code, 0)


def with_change_on_original(edit: Edit) -> Edit:
    """Return an edit whose change is added to the pictures themselves (core/recipes/on_original.py)."""
    return lambda s: on_original(s.model.render(s.faces).to(s.code), unedited(s), edit(s))


def prompt_swap(s: Session, step: int = 0) -> Tensor:
    """Sample under the target prompt from a step on; at 0, all the way from T."""
    return s.model.decode(sample_euler(s.denoiser(s.target), s.source_code(step), s.sigmas[step:]))


def pair_settings(s: Session) -> PairSettings:
    """Return where the shipped settings take pairs, and apply attributes, in a session's steps."""
    return PairSettings.for_schedule(schedule(s.model, s.steps))


def svd_own_pair(
    s: Session,
    strength: float = defaults.THERE,
    *,
    pair: PairSettings | None = None,
    learning: AttributeSettings = AttributeSettings(),
    apply: Apply = apply_attribute,
) -> Tensor:
    """Edit each picture with the attribute of its own pair of codes."""
    return svd_own_pair_slide(s, pair=pair, learning=learning, apply=apply).at(strength).clamp(0, 1)


def svd_own_pair_slide(
    s: Session,
    *,
    pair: PairSettings | None = None,
    learning: AttributeSettings = AttributeSettings(),
    apply: Apply = apply_attribute,
) -> Slide:
    """Return the slide of svd_own_pair, of pictures."""
    pair = pair or pair_settings(s)
    # Making the target leaves the pair's source in the session.
    targets = s.target_code(pair)
    codes = s.source_code(pair.step)
    both = zip(codes, targets, strict=True)
    own = [learn_attribute(x[None], z[None], learning, **levels(s, pair)) for x, z in both]

    def edited(scale: float) -> Tensor:
        return torch.cat([apply(x[None], attribute, scale) for x, attribute in zip(codes, own, strict=True)])

    def cut(progress: float) -> int:
        return max(schedule(s.model, s.steps).step_at(progress), pair.step + 1)

    def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
        start = edited(scale) if state is None else state
        return sample_euler(s.denoiser(), start, s.sigmas[max(first, pair.step) : last + 1])

    return slide_of(run, own[0].response, steps=s.steps, cut=cut, decode=s.model.decode)


def levels(s: Session, pair: PairSettings) -> dict[str, float]:
    """Return the noise levels of a pair of the session's schedule, as learn_attribute takes them."""
    return {"sigma": float(s.sigmas[pair.step]), "target_sigma": float(s.sigmas[pair.step + pair.delta])}


def svd_apply(
    s: Session,
    attribute: SVDAttribute,
    strength: float = defaults.THERE,
    *,
    step: int | None = None,
    apply: Apply = apply_attribute,
) -> Tensor:
    """Edit every picture with one learned attribute, where its file says or at a step."""
    if step is None:
        step = latent_svd.edited_step(attribute, schedule(s.model, s.steps))
        assert step is not None  # sampling starts at pure noise
    return s.finish(apply(s.source_code(step), attribute, strength), step)


def svd_one_foreign_pair(
    s: Session,
    attributes: list[SVDAttribute],
    strength: float = defaults.THERE,
    *,
    step: int | None = None,
    apply: Apply = apply_attribute,
) -> Tensor:
    """Edit a share of the pictures with each of these attributes: one pair is luck, their mean says what to expect."""
    step = pair_settings(s).step if step is None else step
    code = s.source_code(step)
    shares = code.tensor_split(min(len(attributes), len(code)))
    edited = [apply(x, attribute, strength) for x, attribute in zip(shares, attributes, strict=False)]
    return s.finish(torch.cat(edited), step)


def there(direction: HDirection) -> EditSettings:
    """Return the shipped settings at the strength where a direction is there."""
    return EditSettings(advised_strength(direction))


def asyrp(s: Session, direction: HDirection, settings: EditSettings | None = None) -> Tensor:
    """Resample the pictures from their codes with the bottleneck edited or read; None: where the direction is there."""
    settings = settings or there(direction)
    return asyrp_slide(s, direction, settings).at(settings.strength, **settings.slide_options()).clamp(0, 1)


def asyrp_slide(s: Session, direction: HDirection, settings: EditSettings = EditSettings()) -> Slide:
    """Return the slide of asyrp, of pictures."""
    plain, factor = direction.with_response(None), guidance_factor(direction, s.cfg)
    on = schedule(s.model, s.steps)

    def at(scale: float) -> EditSettings:
        return replace(settings, strength=factor * scale)

    def run(scale: float, state: Tensor | None, first: int, last: int) -> Tensor:
        start = s.code if state is None else state
        return hspace.edit(s.denoiser(layer=direction.layer), start, on.part(first, last), plain, at(scale))

    end = s.latents if s.traced else None
    return slide_of(run, direction.response, steps=s.steps, cut=on.step_at, decode=s.model.decode, plain=end)


def asyrp_latents(
    s: Session,
    direction: HDirection,
    settings: EditSettings | None = None,
    denoise: Denoiser | None = None,
) -> Tensor:
    """Return what asyrp decodes, [B, *latent_shape] in model space; denoise stands in for the source prompt's."""
    denoise = denoise or s.denoiser(layer=direction.layer)
    return hspace.edit(denoise, s.code, schedule(s.model, s.steps), direction, settings or there(direction))
