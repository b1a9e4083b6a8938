"""A stock sampler with an SVD attribute applied to its state on the way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor

from ...core.errors import EditError
from ...core.latent_svd.apply import apply_attribute
from ...core.latent_svd.attribute import SVDAttribute
from ...core.latent_svd.transfer_gain import foreign_note
from ...core.recipes.defaults import T_X_PERCENT
from ...core.recipes.latent_svd import check_latent_form, edited_step
from ...core.samplers import Schedule
from .family import check_fits
from .frames import framed, unframed
from .latents import ComfySpace, latent_mask
from .noise import is_flow_model
from .progress import warn


@dataclass(frozen=True)
class Edit:
    """What is applied on the way, and where.

    Attributes:
        attribute: The attribute.
        strength: Its strength, shared out among the edited steps.
        start_percent: Sampling progress from which steps are edited.
        end_percent: Sampling progress until which they are.
        rank: Leading atoms that are used, 0 for all.
        band: Which third of the atoms; one of BANDS.
        mask: A MASK that says where to edit, or None.
        at_own_sigma: Whether it is applied once, at the noise level that its file says, in place of the two percents.
            Of a file that says none the percents are read.
    """

    attribute: SVDAttribute
    strength: float
    start_percent: float
    end_percent: float
    rank: int
    band: str
    mask: Tensor | None
    at_own_sigma: bool = False

    @classmethod
    def where_learned(cls, attribute: SVDAttribute, strength: float) -> Edit:
        """Return the whole attribute at the step that edited_step finds; at the default progress without a sigma."""
        percent = T_X_PERCENT
        return cls(attribute, strength, percent, percent, rank=0, band="all", mask=None, at_own_sigma=True)

    def steps(self, sigmas: Tensor, sampling: Any) -> list[int]:
        """Return the steps that are edited.

        Args:
            sigmas: Descending noise levels, [n + 1].
            sampling: The MODEL's model_sampling.

        Returns:
            The steps whose sigma lies in the window. If there is none, the first one below it, or no step at all after
            the last one or at strength 0. With at_own_sigma, the one step that edited_step finds, or none.

        Raises:
            EditError: A flow model's first step is among them.
        """
        if self.strength == 0:
            return []
        levels = sigmas[:-1].tolist()
        if self.at_own_sigma and self.attribute.sigma > 0:
            step = edited_step(self.attribute, Schedule(sigmas, sampling.percent_to_sigma))
            if step is not None and is_flow_model(sampling):
                check_latent_form(levels[step])
            steps = [] if step is None else [step]
        else:
            highest = float(sampling.percent_to_sigma(self.start_percent))
            lowest = float(sampling.percent_to_sigma(self.end_percent))
            below = [i for i, sigma in enumerate(levels) if 0 < sigma <= highest]
            inside = [i for i in below if levels[i] > lowest]
            steps = inside or below[:1]
        if is_flow_model(sampling) and any(levels[i] >= 1 for i in steps):
            raise EditError(
                f"start_percent is {self.start_percent}, where a flow model's state is pure noise (sigma 1) "
                "and has no LATENT form; a start_percent later than that is accepted."
            )
        return steps

    def apply(self, base_model: Any, x: Tensor, sigma: Tensor, strength: float) -> Tensor:
        """Apply the attribute to a sampler's state.

        Args:
            base_model: ComfyUI's BaseModel.
            x: State at sigma, [B, C, H, W] in model space. It is edited in LATENT space, as a KSampler (Advanced) that
                stops there returns it.
            sigma: Noise level, a scalar tensor.
            strength: This step's share of the strength.

        Returns:
            The edited state, like x, as a KSampler (Advanced) that adds no noise takes it up.
        """
        space = ComfySpace(base_model, base_model.model_sampling)
        mask = latent_mask(self.mask, x)
        latent = space.to_latent(unframed(base_model, x), sigma)
        edited = apply_to_latent(latent, self.attribute, strength, rank=self.rank, band=self.band, mask=mask)
        return framed(base_model, space.to_model(edited, sigma))


def apply_to_latent(latent: Tensor, attribute: SVDAttribute, strength: float, **options: Any) -> Tensor:
    """Apply an attribute to a latent, and warn where it was learned from one pair of another picture.

    Args:
        latent: Latent, [B, C, H, W] in LATENT space.
        attribute: As apply_attribute takes it.
        strength: Likewise.
        options: Likewise.

    Returns:
        The edited latent, like latent.

    Raises:
        EditError: As apply_attribute does.
    """
    edited = apply_attribute(latent, attribute, strength, **options)
    if strength:
        warn_where_foreign(latent, attribute)
    return edited


def warn_where_foreign(latent: Tensor, attribute: SVDAttribute) -> None:
    """Warn where an attribute was learned from one pair of another picture than this latent's, [B, C, H, W]."""
    note = foreign_note(latent, attribute.source, attribute.name)
    if note is not None:
        warn(note)


def sample_svd_comfy(  # noqa: PLR0917
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    sampler: Any,
    edit: Edit,
) -> Tensor:
    """Run another sampler with an attribute applied on the way, behind k-diffusion's signature.

    Args:
        model: What ComfyUI hands to a sampler function.
        x: State at sigmas[0], [B, C, H, W] in model space.
        sigmas: Descending noise levels, [n + 1].
        extra_args: Handed on to the sampler.
        callback: k-diffusion's, called with a dictionary once a step.
        disable: Handed on to the sampler.
        sampler: The SAMPLER that is run on each part of the schedule between edits.
        edit: What is applied, and where.

    Returns:
        The state at sigmas[-1], like x.

    Raises:
        EditError: A flow model's first step is to be edited, or the attribute does not fit.
    """
    base_model = model.inner_model.inner_model
    steps = edit.steps(sigmas, base_model.model_sampling)
    if steps:
        check_fits(edit.attribute, base_model)
    cuts = [0, *(i for i in steps if i > 0), len(sigmas) - 1]
    for part, (first, last) in enumerate(pairwise(cuts)):
        if first in steps:
            x = edit.apply(base_model, x, sigmas[first], edit.strength / len(steps))
        x = sampler.sampler_function(
            model,
            x,
            sigmas[first : last + 1],
            extra_args=_with_next_seed(extra_args or {}, part),
            callback=_from_step(callback, first),
            disable=disable,
            **sampler.extra_options,
        )
    return x


def _with_next_seed(extra_args: dict[str, Any], part: int) -> dict[str, Any]:
    """Return the arguments of a part: a stochastic sampler that starts again from one seed would repeat its noise."""
    seed = extra_args.get("seed")
    if part == 0 or seed is None:
        return dict(extra_args)
    return {**extra_args, "seed": seed + part}


def _from_step(callback: Any, first: int) -> Any:
    """Return the callback of a part, which counts its own steps from zero."""
    if callback is None or first == 0:
        return callback

    def call(info: dict[str, Any]) -> Any:
        return callback({**info, "i": info["i"] + first})

    return call
