"""Latent SVD Sampler: any stock sampler, with an attribute applied to its state on the way, in one run."""

from __future__ import annotations

from typing import Any

import comfy.samplers
from comfy_api.latest import io
from torch import Tensor

from ..backends.comfyui.session import sampler_name
from ..backends.comfyui.svd_sampling import Edit, sample_svd_comfy
from ..core.errors import EditError
from ..core.inversion.trace import Trace
from ..core.latent_svd.attribute import SVDAttribute
from ..core.recipes.defaults import T_X_PERCENT, THERE
from ..core.samplers import is_euler
from .inputs import (
    ADVANCED,
    SVD_STRENGTH_TOOLTIP,
    atoms_inputs,
    attribute_of,
    percent_input,
    strength_input,
    svd_attribute_input,
    trace_input,
    trace_of,
    with_advanced,
    with_search_words,
)
from .traced_sampler import traced_sampler


class SVDSampler(io.ComfyNode):
    """A SAMPLER that applies an SVD attribute on the way."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node."""
        schema = io.Schema(
            node_id="SingularEditSVDSampler",
            display_name="Latent SVD Sampler",
            category=ADVANCED,
            description=(
                "Any sampler, with an attribute of Latent SVD applied halfway: one SamplerCustom does what "
                "two KSampler (Advanced) with Latent SVD Edit between them do. "
                "At strength 0 it draws exactly what the wrapped sampler draws."
            ),
            inputs=[
                io.Sampler.Input("wrapped", tooltip="The sampler to run: KSamplerSelect, or another SAMPLER."),
                svd_attribute_input(
                    "attribute",
                    tooltip="From SVD Attribute Learn, Combine Attributes or Load SVD Attribute.",
                ),
                strength_input(
                    "strength",
                    THERE,
                    f"{SVD_STRENGTH_TOOLTIP} If several steps are edited, each gets an equal share.",
                ),
                percent_input(
                    "start_percent",
                    T_X_PERCENT,
                    (
                        "When the picture is edited, as a share of the steps: "
                        "where the attribute was learned works best."
                    ),
                ),
                percent_input(
                    "end_percent",
                    0.0,
                    (
                        "Leave it at 0 to edit in one step. "
                        "Above start_percent, every step from there to here gets its share."
                    ),
                ),
                *atoms_inputs(),
                trace_input("the picture then comes back exactly at strength 0. Needs euler as wrapped."),
                io.Boolean.Input(
                    "where_learned",
                    default=False,
                    optional=True,
                    tooltip=(
                        "Edit where the attribute was learned, by the noise level in its file; start_percent and "
                        "end_percent are then not read. An attribute of several pairs may be applied a little "
                        "earlier. A file without a noise level is applied by the two percents."
                    ),
                ),
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="Wire to SamplerCustom or SamplerCustomAdvanced.",
                )
            ],
        )
        return with_search_words(with_advanced(schema, "end_percent", "rank", "band"), "latent svd", "concept slider")

    @classmethod
    def execute(
        cls,
        wrapped: Any,
        attribute: SVDAttribute,
        strength: float,
        start_percent: float,
        end_percent: float,
        rank: int,
        band: str,
        mask: Tensor | None = None,
        trace: Trace | None = None,
        where_learned: bool = False,
    ) -> io.NodeOutput:
        """Return the sampler."""
        if not isinstance(wrapped, comfy.samplers.KSAMPLER):
            raise EditError(
                f"wrapped is a {type(wrapped).__name__}, which cannot be stopped on the way; "
                "a sampler from KSamplerSelect is accepted."
            )
        if trace is not None:
            wrapped = _following(trace_of(trace, "trace"), wrapped)
        attribute = attribute_of(attribute, "attribute")
        edit = Edit(attribute, strength, start_percent, end_percent, rank, band, mask, at_own_sigma=where_learned)
        sampler = comfy.samplers.KSAMPLER(
            sample_svd_comfy,
            extra_options=dict(sampler=wrapped, edit=edit),
            inpaint_options=wrapped.inpaint_options,
        )
        return io.NodeOutput(sampler)


def _following(trace: Trace, wrapped: Any) -> Any:
    """Return the SAMPLER that follows a trace in place of a stock euler.

    Raises:
        EditError: ``wrapped`` is another sampler.
    """
    name = sampler_name(wrapped)
    if not is_euler(name):
        raise EditError(f"wrapped is '{name}', but a trace is of euler's steps; wire euler, or leave trace unwired.")
    return traced_sampler(trace)


NODES = [SVDSampler]
