"""Small random diffusers pipelines of the real families, from configurations, with tokenizers of single letters."""

from __future__ import annotations

import string
from typing import Any

import torch

FAMILIES = ("sd15", "sd2_v", "sdxl", "sd3", "flux")
UNETS = ("sd15", "sd2_v", "sdxl")
WIDTH = 32
LENGTH = 16
# Pixels along a side of the pictures.
SIDE = 16
LETTERS = (*string.ascii_lowercase, " ")
CLIP_WORDS = ("<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in string.ascii_lowercase))


def clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab={word: i for i, word in enumerate(CLIP_WORDS)}, merges=[], model_max_length=LENGTH)


def t5_tokenizer() -> Any:
    from transformers import T5Tokenizer

    words = ["<pad>", "</s>", "<unk>", "\u2581", *string.ascii_lowercase]
    return T5Tokenizer(vocab=[(word, -float(i)) for i, word in enumerate(words)], extra_ids=0, model_max_length=LENGTH)


def clip_encoder(projection: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        projection_dim=WIDTH,
        max_position_embeddings=LENGTH,
        vocab_size=len(CLIP_WORDS),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def t5_encoder() -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(T5Config(vocab_size=64, d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4))


def vae(channels: int, **more: float) -> Any:
    from diffusers import AutoencoderKL

    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2)
    return AutoencoderKL(
        block_out_channels=[8, 8], layers_per_block=1, norm_num_groups=4, latent_channels=channels, **blocks, **more
    )


def unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings = dict(
        sample_size=SIDE // 2,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    return UNet2DConditionModel(**{**settings, **more})


BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def _stable_diffusion(**scheduler: Any) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    parts = (vae(4), clip_encoder(False), clip_tokenizer(), unet(use_linear_projection=bool(scheduler)))
    return StableDiffusionPipeline(
        *parts, EulerDiscreteScheduler(**BETAS, **scheduler), None, None, requires_safety_checker=False
    )


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    added = dict(addition_embed_type="text_time", addition_time_embed_dim=8, use_linear_projection=True)
    network = unet(cross_attention_dim=2 * WIDTH, projection_class_embeddings_input_dim=6 * 8 + WIDTH, **added)
    texts = (clip_encoder(False), clip_encoder(True), clip_tokenizer(), clip_tokenizer())
    return StableDiffusionXLPipeline(vae(4, scaling_factor=0.13025), *texts, network, EulerDiscreteScheduler(**BETAS))


def _sd3() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    network = SD3Transformer2DModel(
        sample_size=SIDE // 2,
        patch_size=2,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    return StableDiffusion3Pipeline(
        network,
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae(16, scaling_factor=1.5305, shift_factor=0.0609),
        clip_encoder(True),
        clip_tokenizer(),
        clip_encoder(True),
        clip_tokenizer(),
        None,
        None,
    )


def _flux() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    network = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae(16, scaling_factor=0.3611, shift_factor=0.1159),
        clip_encoder(False),
        clip_tokenizer(),
        t5_encoder(),
        t5_tokenizer(),
        network,
    )


def tiny_pipeline(family: str, dtype: torch.dtype = torch.float32) -> Any:
    """A pipeline of this family with random weights that answer each prompt in its own way."""
    torch.manual_seed(0)
    made = {
        "sd15": _stable_diffusion,
        "sd2_v": lambda: _stable_diffusion(prediction_type="v_prediction"),
        "sdxl": _sdxl,
        "sd3": _sd3,
        "flux": _flux,
    }[family]()
    for part in made.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
            # Layers that are zero when fresh would make the network deaf.
            for weight in part.parameters():
                if not weight.any():
                    torch.nn.init.normal_(weight, std=0.05)
    made.set_progress_bar_config(disable=True)
    return made if dtype == torch.float32 else made.to(dtype)


def weights_of(pipe: Any) -> dict[str, torch.Tensor]:
    """A copy of every weight of a pipeline."""
    copies = {}
    for name, part in pipe.components.items():
        if isinstance(part, torch.nn.Module):
            copies |= {f"{name}.{key}": value.clone() for key, value in part.state_dict().items()}
    return copies


def hooks_of(pipe: Any) -> int:
    """How many hooks there are on all modules of a pipeline."""
    count = 0
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            for module in part.modules():
                count += len(module._forward_hooks) + len(module._forward_pre_hooks)
    return count


def attach(pipe: Any) -> Any:
    """The pipeline, attached."""
    import singular_edit

    return singular_edit.attach(pipe)
