"""Small random transformers in ComfyUI, and one of the SD3 family behind diffusers with the same weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .families import SD3, conditioning, fill, latent, tiny
from .tensors import noise

WIDTH = 64 * SD3["depth"]
# Of the small models in ComfyUI: the width of their tokens, and their blocks.
SHAPES = {"sd3": (WIDTH, SD3["num_blocks"]), "flux": (64, 2), "qwen_image": (64, 2)}
SIGMA = 0.6
CFG = 3.0


def diffusers_sd3(seed: int = 0, blocks: int = SD3["num_blocks"]) -> nn.Module:
    """A small random transformer, frozen, of the configuration that helpers.families has for ComfyUI."""
    from diffusers import SD3Transformer2DModel

    network = SD3Transformer2DModel(
        sample_size=32,
        patch_size=SD3["patch_size"],
        in_channels=SD3["in_channels"],
        out_channels=SD3["out_channels"],
        num_layers=blocks,
        attention_head_dim=64,
        num_attention_heads=SD3["depth"],
        joint_attention_dim=SD3["context_embedder_config"]["params"]["in_features"],
        caption_projection_dim=WIDTH,
        pooled_projection_dim=SD3["adm_in_channels"],
        pos_embed_max_size=SD3["pos_embed_max_size"],
    )
    fill(network, seed)
    return network.eval()


def comfyui_sd3(network: nn.Module):
    """A MODEL of ComfyUI's own class with the weights of a diffusers transformer."""
    from singular_edit.demo.mmdit_weights import mmdit_weights

    model = tiny("sd3")
    model.model.diffusion_model.load_state_dict(mmdit_weights(network.state_dict()))
    return model


class Prompt(NamedTuple):
    """What a transformer is told: tokens [1, n, width] and their pooled embedding [1, width]."""

    context: Tensor
    pooled: Tensor

    @classmethod
    def of(cls, seed: int) -> Prompt:
        """The prompt of conditioning("sd3", seed)."""
        [[context, more]] = conditioning("sd3", seed)
        return cls(context, more["pooled_output"])


def sd3_denoiser(network: nn.Module, cfg: float = 1.0, *, prompt: int = 1, **options):
    """The transformer under prompt 1 (or another), guided away from prompt 2."""
    from singular_edit.backends.diffusers_transformer import TransformerDenoiser

    positive = Prompt.of(prompt)
    negative = Prompt.of(2)
    return TransformerDenoiser(
        network,
        positive.context,
        negative.context,
        cfg,
        pooled=positive.pooled,
        negative_pooled=negative.pooled,
        **options,
    )


def state(size: tuple[int, int] = (12, 16), seed: int = 0, count: int = 2) -> Tensor:
    """Random latents of the size."""
    return torch.randn((count, SD3["in_channels"], *size), generator=torch.Generator().manual_seed(seed))


def moved(h):
    """An edit that is another one at each place and channel, and in each row."""
    return h + 2.0 * noise(tuple(h.shape[1:]), 5).to(h) + 0.5 * h.flip(1)


class Transformer(NamedTuple):
    """A family's name, MODEL and schedule."""

    name: str
    model: Any
    sigmas: torch.Tensor

    @property
    def width(self):
        return SHAPES[self.name][0]

    @property
    def last_layer(self):
        return f"double_block:{SHAPES[self.name][1] - 1}"

    def predict(self, h_edit=None, *, cfg=CFG, x=None, model=None, positive=None, pair=False, **options):
        """D under prompt 1, guided away from prompt 2, from ComfyUI's sampling session."""
        from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
        from singular_edit.backends.comfyui.session import Prompts, run_in_session
        from singular_edit.core.denoiser import denoise_pair

        x = state() if x is None else x

        def algorithm(wrapped, extra_args, _, sigmas):
            denoise = ComfyDenoiser(wrapped, extra_args, **options)
            return denoise_pair(denoise, x, sigmas[0], h_edit) if pair else denoise(x, sigmas[0], h_edit)

        positive = positive or conditioning(self.name, 1)
        prompts = Prompts(positive, conditioning(self.name, 2), cfg)
        schedule = torch.tensor([SIGMA, 0.0])
        with torch.inference_mode():
            return run_in_session(model or self.model, prompts, torch.zeros_like(x), schedule, algorithm)

    def sample(self, graph, model=None, sampler=None, cfg=CFG):
        """A new picture by a stock sampler."""
        positive, negative = conditioning(self.name, 1), conditioning(self.name, 2)
        with torch.inference_mode():
            return graph.custom.SamplerCustom().sample(
                model or self.model,
                True,
                5,
                cfg,
                positive,
                negative,
                sampler or graph.euler,
                self.sigmas,
                latent(self.name),
            )[0]["samples"]


def random_readout(transformer: Transformer, layer: str):
    """A readout of random weights at a layer."""
    from singular_edit.core import Readout

    generator = torch.Generator().manual_seed(0)
    info = {"name": "hat", "method": "readout", "layer": layer}
    readout = Readout.fresh(transformer.width, 16, 2, 1.0, transformer.sigmas[:-1], generator=generator, info=info)
    readout.tensors["out.weight"].normal_(0, 0.05, generator=generator)
    return readout


def learn(graph, transformer: Transformer, method: str, **inputs):
    """h-Space Direction Learn at little cost."""
    name = transformer.name
    return graph.learn(
        method,
        model=transformer.model,
        source=conditioning(name, 1),
        target=conditioning(name, 3),
        negative=conditioning(name, 2),
        latent_image=latent(name),
        sigmas=transformer.sigmas,
        samples=4,
        cfg=1.0,
        **inputs,
    )[0]
