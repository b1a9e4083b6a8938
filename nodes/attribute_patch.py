"""Any attribute as a MODEL patch: what Apply Attribute, Edit Picture and Strength Sheet have in common.

a readout             changes the prediction, in any sampler (backends/comfyui/readout_patch.py)
an SVD attribute      changes the state at the noise level it was learned at, in any sampler of ComfyUI
a direction           moves h; its asymmetric step takes euler's place (asyrp_sampler.py)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
from comfy.patcher_extension import WrapperExecutor, WrappersMP

from ..backends.comfyui.family import check_fits
from ..backends.comfyui.readout_patch import with_readout
from ..backends.comfyui.session import sampler_name
from ..backends.comfyui.svd_sampling import Edit, sample_svd_comfy
from ..core.errors import EditError
from ..core.hspace.direction import HDirection
from ..core.hspace.readout import Readout
from ..core.hspace.window import EditWindow
from ..core.latent_svd.attribute import SVDAttribute
from ..core.recipes.attributes import Attribute
from ..core.recipes.defaults import END_PERCENT
from ..core.recipes.settings import EditSettings
from ..core.response import scale_of
from ..core.samplers import is_euler
from .asyrp_sampler import sample_asyrp_comfy
from .traced_sampler import sample_traced_comfy

# SAMPLER -> the SAMPLER that takes its place
Replacement = Callable[[Any], Any]


def with_attribute(
    model: Any, attribute: Attribute, strength: float, *, start: float = 0.0, end: float = END_PERCENT
) -> Any:
    """Clone a MODEL that has an attribute applied whenever it samples.

    Args:
        model: A MODEL, which is left as it is.
        attribute: An attribute of either kind.
        strength: 0 changes nothing, 1 is as learned, below 0 takes away. Of an attribute that carries a response it is
            the mean share of the way that pictures come (core/response.py).
        start: Sampling progress from which the picture is edited; not read for an SVD attribute.
        end: Sampling progress until which it is; not read for an SVD attribute.

    Returns:
        The clone. At strength 0 it samples as the MODEL does, bit for bit.

    Raises:
        EditError: The attribute does not fit the MODEL, or start is not before end.
    """
    if not start < end:
        raise EditError(f"start is {start:g} and end is {end:g}; a start before the end is accepted.")
    check_fits(attribute, model.model)
    if strength == 0:
        return model.clone()
    if isinstance(attribute, SVDAttribute):
        return _with_sampler(model, _svd_in_place_of(attribute, scale_of(attribute.response, strength)))
    if all(isinstance(part, Readout) for _, part in attribute.parts):
        percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
        # Progress 0 is the first step, whatever its noise level.
        edit_from = float(percent_to_sigma(start)) if start > 0 else float("inf")
        return with_readout(model, attribute, strength, EditWindow(float(percent_to_sigma(end)), edit_from=edit_from))
    if start > 0:
        raise EditError(
            f"start is {start:g}, but '{attribute.name}' moves the bottleneck, from where it was learned to begin; "
            "0 is accepted for it."
        )
    return _with_sampler(model, _asyrp_in_place_of(attribute, EditSettings(strength, end)))


def _with_sampler(model: Any, replaced: Replacement) -> Any:
    """Clone a MODEL that samples with another SAMPLER in place of the one that it is given."""
    clone = model.clone()

    def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
        sampler = replaced(executor.class_obj)
        following = WrapperExecutor.new_class_executor(sampler.sample, sampler, executor.wrappers, executor.idx + 1)
        return following.execute(*args, **kwargs)

    clone.add_wrapper(WrappersMP.SAMPLER_SAMPLE, wrapper)
    return clone


def _svd_in_place_of(attribute: SVDAttribute, strength: float) -> Replacement:
    """Return what makes a SAMPLER that edits its state where the attribute was learned."""

    def replaced(sampler: Any) -> Any:
        _check_sampler(sampler, attribute.name)
        return comfy.samplers.KSAMPLER(
            sample_svd_comfy,
            extra_options=dict(sampler=sampler, edit=Edit.where_learned(attribute, strength)),
            inpaint_options=sampler.inpaint_options,
        )

    return replaced


def _asyrp_in_place_of(direction: HDirection, settings: EditSettings) -> Replacement:
    """Return what makes a SAMPLER of Asyrp's steps from euler, or from one that follows a trace."""

    def replaced(sampler: Any) -> Any:
        _check_sampler(sampler, direction.name)
        function = sampler.sampler_function
        if function is sample_svd_comfy:
            options = {**sampler.extra_options, "sampler": replaced(sampler.extra_options["sampler"])}
            return comfy.samplers.KSAMPLER(function, options, sampler.inpaint_options)
        if function is sample_asyrp_comfy:
            raise EditError(
                f"'{direction.name}' is the second direction here that moves the bottleneck; "
                "add the two up with Combine Directions, or use readouts, which may follow each other."
            )
        if function is not sample_traced_comfy and not is_euler(sampler_name(sampler)):
            raise EditError(
                f"'{direction.name}' moves the bottleneck, which is done in euler's steps, but the sampler is "
                f"'{sampler_name(sampler)}'; sample with euler, or use a readout, which works with every sampler."
            )
        options = dict(direction=direction, settings=settings, trace=sampler.extra_options.get("trace"))
        return comfy.samplers.KSAMPLER(sample_asyrp_comfy, options, sampler.inpaint_options)

    return replaced


def _check_sampler(sampler: Any, name: str) -> None:
    """Raise an EditError for something that is not one of ComfyUI's samplers, such as an inversion."""
    if not isinstance(sampler, comfy.samplers.KSAMPLER):
        raise EditError(
            f"'{name}' is applied to this MODEL, and {type(sampler).__name__.strip('_')} cannot work on it; "
            "wire the MODEL from before Apply Attribute."
        )
