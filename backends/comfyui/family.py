"""Which family a ComfyUI model is of, and the size of the pictures it was made for."""

from __future__ import annotations

import logging
from typing import Any

from ...core.errors import EditError
from ...core.model_family import ModelFamily
from ...core.recipes.attributes import Attribute, check_model

# Pixels along a side of the square pictures that models of these classes were made for. By their publishers.
NATIVE_SIDES = {"SD15": 512, "SD20": 512, "SD21UnclipL": 768, "SD21UnclipH": 768}
V_PREDICTION_SIDE = 768  # SD 2.x with v prediction
OTHER_SIDE = 1024
# Latent pixels that patches of a transformer, or a U-Net without a known depth, may take together.
PATCH = 2


def family_of(base_model: Any) -> ModelFamily:
    """Return the family of a model.

    Args:
        base_model: ComfyUI's BaseModel, which is a MODEL's ``model``.
    """
    config = base_model.model_config
    unet = config.unet_config
    multipliers = unet.get("channel_mult") if has_bottleneck(base_model) else None
    return ModelFamily(
        model_class=type(config).__name__,
        latent_format=type(base_model.latent_format).__name__,
        prediction=base_model.model_type.name.lower(),
        bottleneck_channels=int(unet["model_channels"] * multipliers[-1]) if multipliers else 0,
        place_size=2 ** (len(multipliers) - 1) if multipliers else 0,
        text_width=int(unet.get("context_dim") or 0),
    )


def check_fits(attribute: Attribute, base_model: Any) -> None:
    """Check that an attribute fits a model, and log what may make it weaker there.

    Args:
        attribute: An attribute of either kind.
        base_model: ComfyUI's BaseModel.

    Raises:
        EditError: It was learned on another kind of model.
    """
    for note in check_model(attribute, family_of(base_model)):
        logging.info("Singular Edit: %s", note)


def has_bottleneck(base_model: Any) -> bool:
    """Return whether a model is a U-Net with a middle block."""
    network = getattr(base_model, "diffusion_model", None)
    return getattr(network, "middle_block", None) is not None and hasattr(network, "output_blocks")


def pixels_per_latent(base_model: Any) -> int:
    """Return how many pixels along a side a latent pixel stands for."""
    latent_format = base_model.latent_format
    return getattr(latent_format, "pixels_per_latent", getattr(latent_format, "spacial_downscale_ratio", 8))


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


def require_picture_model(base_model: Any) -> None:
    """Check that a model makes single pictures.

    Raises:
        EditError: It makes videos, or sound.
    """
    dimensions = getattr(base_model.latent_format, "latent_dimensions", 2)
    if dimensions != 2:
        raise EditError(
            f"model is {family_of(base_model).text()}, whose latents have {dimensions} dimensions; "
            "a model of single pictures is accepted here."
        )
