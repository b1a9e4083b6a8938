"""A node that gives a small random SDXL as MODEL, CLIP and VAE: no checkpoint that the loader detects is small."""

from __future__ import annotations

import torch
from helpers.checkpoints import filled
from helpers.families import CONTEXT, tiny


class PooledClip:
    """The demo model's CLIP, whose pooled output is made as wide as SDXL's."""

    def __init__(self, clip, width):
        self.clip = clip
        self.width = width

    def tokenize(self, text):
        return self.clip.tokenize(text)

    def encode_from_tokens_scheduled(self, tokens):
        encoded = []
        for context, more in self.clip.encode_from_tokens_scheduled(tokens):
            pooled = more["pooled_output"]
            wide = torch.nn.functional.pad(pooled, (0, self.width - pooled.shape[-1]))
            encoded.append([context, {**more, "pooled_output": wide}])
        return encoded


class StandInSDXL:
    """Takes what the checkpoint loader takes, and gives what it gives."""

    CATEGORY = "tests"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802, ComfyUI calls it so
        return {"required": {"ckpt_name": ("STRING", {})}}

    def load(self, ckpt_name):
        import comfy.sd
        from comfy.taesd.taesd import TAESD

        import nodes

        clip = nodes.NODE_CLASS_MAPPINGS["SingularEditDemoModel"].execute().args[1]
        vae = comfy.sd.VAE(sd=filled(TAESD(latent_channels=4), ""))
        return tiny("sdxl"), PooledClip(clip, CONTEXT["sdxl"][1]), vae


NODE_CLASS_MAPPINGS = {"StandInSDXL": StandInSDXL}
