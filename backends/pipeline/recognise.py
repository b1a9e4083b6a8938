"""Which kind of pipeline something is, by the classes of its networks."""

from __future__ import annotations

from typing import Any

from ...core.errors import EditError
from ...core.model_family import ModelFamily
from .flow_model import FluxModel, SD3Model
from .model import PipelineModel
from .unet_model import UNetModel

# The class of the network, and the pipeline's part that it is.
KINDS: dict[str, tuple[str, type[PipelineModel]]] = {
    "UNet2DConditionModel": ("unet", UNetModel),
    "SD3Transformer2DModel": ("transformer", SD3Model),
    "FluxTransformer2DModel": ("transformer", FluxModel),
}


def model_of(pipe: Any, family: ModelFamily | None = None) -> PipelineModel:
    """Return a pipeline as what the recipes ask for.

    Args:
        pipe: A loaded diffusers pipeline.
        family: Its family; None recognises it.

    Raises:
        EditError: It is no pipeline of a known kind.
    """
    for part, kind in KINDS.values():
        network = getattr(pipe, part, None)
        network = getattr(network, "_orig_mod", network)
        if KINDS.get(type(network).__name__) == (part, kind) and hasattr(pipe, "encode_prompt"):
            return kind(pipe, family)
    raise EditError(
        f"pipe is a {type(pipe).__name__}; "
        "a loaded diffusers pipeline of SD 1.x, SD 2.x, SDXL, SD3 or Flux is accepted."
    )
