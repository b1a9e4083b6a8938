"""Which family a ComfyUI model is of, and the size of the pictures it was made for."""

from __future__ import annotations

import logging
from typing import Any

from ...core.errors import EditError
from ...core.hspace.direction import HDirection
from ...core.layers import AUTO
from ...core.model_family import ModelFamily
from ...core.recipes.attributes import Attribute, check_model
from ...core.recipes.defaults import BLOCK_DEPTH

# Pixels along a side of the square pictures that models of these classes were made for. By their publishers.
NATIVE_SIDES = {"SD15": 512, "SD20": 512, "SD21UnclipL": 768, "SD21UnclipH": 768}
V_PREDICTION_SIDE = 768  # SD 2.x with v prediction
OTHER_SIDE = 1024
# Latent pixels that patches of a transformer, or a U-Net without a known depth, may take together.
PATCH = 2
# How the classes of transformers call the blocks that have a stream of image tokens of their own: SD3; Flux and its
# kind; Qwen-Image.
BLOCK_LISTS = ("joint_blocks", "double_blocks", "transformer_blocks")
# And the width of their tokens.
WIDTHS = ("hidden_size", "inner_dim")


def family_of(base_model: Any) -> ModelFamily:
    """Return the family of a model.

    Args:
        base_model: ComfyUI's BaseModel, which is a MODEL's ``model``.
    """
    config = base_model.model_config
    unet = config.unet_config
    width = 0
    place_size = 0
    blocks = 0
    if has_bottleneck(base_model):
        multipliers = unet.get("channel_mult")
        width = int(unet["model_channels"] * multipliers[-1])
        place_size = 2 ** (len(multipliers) - 1)
    elif block_list(base_model) is not None:
        network = base_model.diffusion_model
        blocks = len(getattr(network, str(block_list(base_model))))
        width = next((int(getattr(network, name)) for name in WIDTHS if hasattr(network, name)), 0)
        place_size = int(network.patch_size)
    return ModelFamily(
        model_class=type(config).__name__,
        latent_format=type(base_model.latent_format).__name__,
        prediction=base_model.model_type.name.lower(),
        bottleneck_channels=width,
        place_size=place_size,
        text_width=int(unet.get("context_dim") or 0),
        blocks=blocks,
    )


def check_fits(attribute: Attribute, base_model: Any) -> None:
    """Check that an attribute fits a model, and log what may make it weaker there.

    Args:
        attribute: An attribute of either kind.
        base_model: ComfyUI's BaseModel.

    Raises:
        EditError: It was learned on another kind of model, or needs h and the model has none.
    """
    if isinstance(attribute, HDirection):
        choose_layer(base_model)
    for note in check_model(attribute, family_of(base_model)):
        logging.info("Singular Edit: %s", note)


def has_bottleneck(base_model: Any) -> bool:
    """Return whether a model is a U-Net with a middle block."""
    network = getattr(base_model, "diffusion_model", None)
    return getattr(network, "middle_block", None) is not None and hasattr(network, "output_blocks")


def block_list(base_model: Any) -> str | None:
    """Return what a model calls its blocks after which image tokens can be taken; None where it is no such transformer.

    Those of videos are left out: their tokens are no grid of one picture's patches.
    """
    network = getattr(base_model, "diffusion_model", None)
    if not isinstance(getattr(network, "patch_size", None), int):
        return None
    return next((name for name in BLOCK_LISTS if len(getattr(network, name, ()))), None)


def choose_layer(base_model: Any, layer: str = AUTO) -> str:
    """Choose where h of a model is.

    Args:
        base_model: ComfyUI's BaseModel, which is a MODEL's ``model``.
        layer: A setting: AUTO, or the name of a layer.

    Returns:
        The layer's name.

    Raises:
        EditError: The model has no h at all, or no such layer.
    """
    if not has_bottleneck(base_model) and block_list(base_model) is None:
        network = type(getattr(base_model, "diffusion_model", None)).__name__
        raise EditError(
            f"This MODEL ({network}) has no U-Net bottleneck and no blocks of image tokens, and h-space editing needs "
            "either; use a U-Net model (SD 1.x, SD 2.x, SDXL), a transformer (SD3, Flux, Qwen-Image), or method latent "
            "svd (Latent SVD Edit), which works with every model of pictures."
        )
    return family_of(base_model).choose_layer(layer, BLOCK_DEPTH)


def pixels_per_latent(base_model: Any) -> int:
    """Return how many pixels along a side a latent pixel stands for; 8 where the latent format does not say it."""
    return stated_pixels_per_latent(base_model) or 8


def stated_pixels_per_latent(base_model: Any) -> int | None:
    """Return what the latent format says of it: ours do, and those of newer ComfyUIs."""
    latent_format = base_model.latent_format
    return getattr(latent_format, "pixels_per_latent", getattr(latent_format, "spacial_downscale_ratio", None))


def native_side(base_model: Any) -> int:
    """Return the pixels along a side of the square pictures that a model was made for."""
    config = base_model.model_config
    own = getattr(config, "native_side", None)
    if own is not None:
        return int(own)
    side = NATIVE_SIDES.get(type(config).__name__, OTHER_SIDE)
    if type(config).__name__ == "SD20" and base_model.model_type.name == "V_PREDICTION":
        return V_PREDICTION_SIDE
    return side


def nearest_side(base_model: Any, length: float) -> int:
    """Return the side in pixels nearest to a wanted one at which no level of the network rounds up."""
    multiple = pixels_per_latent(base_model) * (family_of(base_model).place_size or PATCH)
    return max(1, round(length / multiple)) * multiple


def latent_dimensions(base_model: Any) -> int:
    """Return how many dimensions a picture or a video of a model has in its latent: 2, and 3 with frames."""
    return int(getattr(base_model.latent_format, "latent_dimensions", 2))


def has_frame(base_model: Any) -> bool:
    """Return whether a model is one of single pictures whose latents have an axis of frames.

    Args:
        base_model: ComfyUI's BaseModel, which is a MODEL's ``model``.
    """
    return latent_dimensions(base_model) == 3 and block_list(base_model) is not None


def require_picture_model(base_model: Any) -> None:
    """Check that a model makes single pictures.

    Raises:
        EditError: It makes videos, or sound.
    """
    dimensions = latent_dimensions(base_model)
    if dimensions != 2 and not has_frame(base_model):
        raise EditError(
            f"model is {family_of(base_model).text()}, whose latents have {dimensions} dimensions; "
            "a model of single pictures is accepted here."
        )
