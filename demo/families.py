"""What kind of model each embedded one is, as files of attributes say it."""

from __future__ import annotations

from ..core.model_family import ModelFamily
from .architectures import TRANSFORMER, UNET
from .networks import BLOCKS, BOTTLENECK, CONTEXT_WIDTH, HEAD_WIDTH, HEADS, PATCH, UNET_CONFIG

# The names that the embedded models have inside ComfyUI, so that files of attributes fit on both sides.
FAMILIES = {
    UNET.name: ModelFamily(
        model_class="DemoConfig",
        latent_format="DemoLatent",
        prediction="eps",
        bottleneck_channels=BOTTLENECK[0],
        place_size=UNET_CONFIG["sample_size"] // BOTTLENECK[-1],
        text_width=CONTEXT_WIDTH,
    ),
    TRANSFORMER.name: ModelFamily(
        model_class="DemoTransformerConfig",
        latent_format="DemoTransformerLatent",
        prediction="flow",
        bottleneck_channels=HEADS * HEAD_WIDTH,
        place_size=PATCH,
        blocks=BLOCKS,
    ),
}
