"""The diffusion networks of the embedded models as ComfyUI's own classes, with their latents."""

from __future__ import annotations

from typing import Any, ClassVar

import comfy.latent_formats
import comfy.ldm.common_dit
import comfy.model_base
import comfy.supported_models
import comfy.supported_models_base
from comfy.ldm.modules.diffusionmodules.mmdit import OpenAISignatureMMDITWrapper
from torch import Tensor

from .architectures import TRANSFORMER, UNET
from .enlarge import SHOWN_SIDE
from .loader import read_weights
from .networks import BLOCKS, CONTEXT_WIDTH, FLOW_SHIFT, HEAD_WIDTH, HEADS, LATENT_CHANNELS, PATCH

# Tokens along a side of the largest picture that the transformer can draw: ComfyUI looks places up in a table.
LARGEST = 64

# Red, green and blue, from -1 to 1, that a latent pixel in model space adds to the preview for each of its channels,
# and what the preview starts from. Fitted by: python benchmarks/demo_model.py --preview
PREVIEW_FACTORS = [[-0.09, 0.27, -0.02], [0.04, 0.12, 0.34], [0.04, 0.06, -0.10], [-0.36, -0.15, -0.03]]
PREVIEW_BIAS = [0.10, 0.07, 0.07]


class DemoLatent(comfy.latent_formats.LatentFormat):
    """LATENT space is the VAE's own; model space is that times the latent scale."""

    latent_channels = LATENT_CHANNELS
    # Read by backends/comfyui/family.py. ComfyUI's own ratio stays 8, as its empty latents assume.
    pixels_per_latent = UNET.pixels_per_latent
    latent_rgb_factors = PREVIEW_FACTORS
    latent_rgb_factors_bias = PREVIEW_BIAS

    def __init__(self) -> None:
        self.scale_factor = read_weights("vae")[1]["latent_scale"]


class DemoConfig(comfy.supported_models_base.BASE):
    """SD 1.x's U-Net, small; the counterpart of networks.UNET_CONFIG."""

    unet_config: ClassVar[dict[str, Any]] = {
        "image_size": 16,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "model_channels": 64,
        "num_res_blocks": [1, 1, 1],
        "channel_mult": [1, 2, 2],
        "transformer_depth": [0, 1, 1],
        "transformer_depth_middle": 1,
        "transformer_depth_output": [0, 0, 1, 1, 1, 1],
        "context_dim": CONTEXT_WIDTH,
        "adm_in_channels": None,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": False,
        "use_checkpoint": False,
        "legacy": False,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
    }
    unet_extra_config: ClassVar[dict[str, Any]] = {"num_heads": 4, "num_head_channels": -1}
    latent_format = DemoLatent
    memory_usage_factor = 1.0
    native_side = SHOWN_SIDE


class DemoTransformerLatent(DemoLatent):
    """The transformer's latents: of the same VAE, four times as many for a picture, with a class of their own.

    By its name what was learned on one model is refused on the other.
    """

    pixels_per_latent = TRANSFORMER.pixels_per_latent


class PaddedTransformer(OpenAISignatureMMDITWrapper):
    """ComfyUI's transformer of the SD3 family, for latents of any size.

    ComfyUI's own counts patches right only where they are of two latent pixels.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Predict as ComfyUI's class does, of latents that are continued to whole patches."""
        height, width = x.shape[-2:]
        whole = comfy.ldm.common_dit.pad_to_patch_size(x, (PATCH, PATCH))
        return super().forward(whole, *args, **kwargs)[..., :height, :width]


class DemoSD3(comfy.model_base.SD3):
    """ComfyUI's SD3 with the transformer above."""

    def __init__(self, model_config: Any, device: Any = None) -> None:
        # SD3's own constructor has no choice of a transformer.
        comfy.model_base.BaseModel.__init__(
            self, model_config, comfy.model_base.ModelType.FLOW, device=device, unet_model=PaddedTransformer
        )


class DemoTransformerConfig(comfy.supported_models.SD3):
    """SD3's transformer, small; the counterpart of networks.TRANSFORMER_CONFIG."""

    unet_config: ClassVar[dict[str, Any]] = {
        "input_size": None,
        "patch_size": PATCH,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "depth": HEADS,
        "num_blocks": BLOCKS,
        "adm_in_channels": CONTEXT_WIDTH,
        "qk_norm": "rms",
        "pos_embed_scaling_factor": None,
        "pos_embed_max_size": LARGEST,
        "num_patches": LARGEST**2,
        "context_embedder_config": {
            "target": "torch.nn.Linear",
            "params": {"in_features": CONTEXT_WIDTH, "out_features": HEADS * HEAD_WIDTH},
        },
    }
    sampling_settings: ClassVar[dict[str, float]] = {"shift": FLOW_SHIFT}
    latent_format = DemoTransformerLatent
    memory_usage_factor = 1.0
    native_side = SHOWN_SIDE

    def get_model(self, state_dict: dict[str, Tensor], prefix: str = "", device: Any = None) -> DemoSD3:
        """Return the model without weights."""
        return DemoSD3(self, device)
