"""The columns of the compatibility table: families, and what else may be wired beside the pack's nodes.

Each is a function that returns a Bench. Imported by compatibility.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from compatibility_bench import Bench, bench_of, extra, stock
from small_models import conditioning, latent, tiny
from small_patches import controlnet, lora
from torch import Tensor

SD15 = "sd15"


def zero_terminal_snr() -> Bench:
    """Return SD2 in v-prediction whose schedule ends in pure noise."""
    bench = bench_of("sd2_v")
    inputs = dict(model=bench.model, sampling="v_prediction", zsnr=True)
    return bench.but(model=extra("nodes_model_advanced", "ModelSamplingDiscrete", **inputs)[0])


def after_v_prediction() -> Bench:
    """Return SD1.5 of which another MODEL, patched to v-prediction, has just been sampled."""
    bench = bench_of(SD15)
    inputs = dict(model=bench.model, sampling="v_prediction", zsnr=True)
    bench.but(model=extra("nodes_model_advanced", "ModelSamplingDiscrete", **inputs)[0]).sample()
    return bench


def loras(*strengths: float, family: str = SD15) -> Bench:
    """Return a model with a LoRA for each strength."""
    import comfy.sd

    bench = bench_of(family)
    model = bench.model
    for seed, strength in enumerate(strengths):
        model = comfy.sd.load_lora_for_models(model, None, lora(bench.model, seed), strength, 0)[0]
    return bench.but(model=model)


def hooked_lora() -> Bench:
    """Return prompts with a LoRA hooked to them."""
    import comfy.hooks

    bench = bench_of(SD15)
    hooks = comfy.hooks.create_hook_lora(lora=lora(bench.model), strength_model=1.0, strength_clip=0.0)
    source, target = (comfy.hooks.set_hooks_for_conditioning(one, hooks) for one in (bench.source, bench.target))
    return bench.but(source=source, target=target)


def with_controlnet() -> Bench:
    """Return prompts with a ControlNet."""
    bench = bench_of(SD15)
    net = controlnet(bench.model)
    hint = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    applied = [
        stock("nodes", "ControlNetApply", conditioning=one, control_net=net, image=hint, strength=1.0)[0]
        for one in (bench.source, bench.target)
    ]
    return bench.but(source=applied[0], target=applied[1])


def stock_patch(module: str, node: str, **inputs: Any) -> Callable[[], Bench]:
    """Return the column of a stock node that patches the MODEL."""

    def column() -> Bench:
        bench = bench_of(SD15)
        return bench.but(model=extra(module, node, model=bench.model, **inputs)[0])

    return column


def perp_neg() -> Bench:
    """Return a MODEL with Perp-Neg."""
    bench = bench_of(SD15)
    inputs = dict(model=bench.model, empty_conditioning=conditioning(SD15, 4), neg_scale=1.0)
    return bench.but(model=extra("nodes_perpneg", "PerpNeg", **inputs)[0])


def patched(change: Callable[[Any], None]) -> Callable[[], Bench]:
    """Return the column of a function that patches a clone of the MODEL."""

    def column() -> Bench:
        bench = bench_of(SD15)
        model = bench.model.clone()
        change(model)
        return bench.but(model=model)

    return column


def ip_adapter(model: Any) -> None:
    """Add attention to tokens of a picture in every block, as IP-Adapter does."""
    from comfy.ldm.modules.attention import optimized_attention

    generator = torch.Generator().manual_seed(7)

    def attend(q: Tensor, k: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
        heads = options["n_heads"]
        tokens = torch.randn(1, 4, q.shape[-1], generator=generator.manual_seed(7)).to(q).expand(len(q), -1, -1)
        out: Tensor = optimized_attention(q, k, v, heads)
        return out + 0.5 * optimized_attention(q, tokens, tokens, heads)

    for block, number in (("input", 1), ("input", 3), ("middle", 0), ("output", 0), ("output", 2)):
        for index in range(2):
            model.set_model_attn2_replace(attend, block, number, index)


def network_wrapper(model: Any) -> None:
    """Wrap the network's call, as caches and tilers do."""

    def wrapper(apply: Any, args: dict[str, Any]) -> Tensor:
        return 1.01 * apply(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(wrapper)


def diffusion_wrapper(model: Any) -> None:
    """Wrap the diffusion model in the newer way."""
    from comfy.patcher_extension import WrappersMP

    def wrapper(executor: Any, *args: Any, **more: Any) -> Tensor:
        return 1.01 * executor(*args, **more)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "neighbour", wrapper)


def cfg_functions(model: Any) -> None:
    """Replace guidance, and change the prediction after it."""

    def guide(args: dict[str, Any]) -> Tensor:
        return args["uncond"] + 0.9 * args["cond_scale"] * (args["cond"] - args["uncond"])

    def damp(args: dict[str, Any]) -> Tensor:
        return 0.98 * args["denoised"]

    model.set_model_sampler_cfg_function(guide)
    model.set_model_sampler_post_cfg_function(damp)


def noise_mask() -> Bench:
    """Return a LATENT with a noise mask over its left half."""
    bench = bench_of(SD15)
    mask = torch.zeros(1, 64, 96)
    mask[:, :, :48] = 1.0
    return bench.but(latent={**bench.latent, "noise_mask": mask})


def two_prompts(change: Callable[..., Any]) -> Bench:
    """Return prompts of two parts, each changed for its place."""
    bench = bench_of(SD15)
    prompts = []
    for one, other in ((bench.source, 5), (bench.target, 6)):
        prompts.append([*change(one, 0), *change(conditioning(SD15, other), 1)])
    return bench.but(source=prompts[0], target=prompts[1])


def area(prompt: Any, place: int) -> Any:
    """Give a prompt the left or the right half."""
    inputs = dict(width=48, height=64, x=48 * place, y=0, strength=1.0)
    return stock("nodes", "ConditioningSetArea", conditioning=prompt, **inputs)[0]


def area_and_whole(prompt: Any, place: int) -> Any:
    """Give the first prompt the left half, the second everything."""
    return area(prompt, 0) if place == 0 else prompt


def mask_of_prompt(prompt: Any, place: int) -> Any:
    """Give a prompt a mask."""
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 48 * place : 48 * (place + 1)] = 1.0
    inputs = dict(mask=mask, set_cond_area="default", strength=1.0)
    return stock("nodes", "ConditioningSetMask", conditioning=prompt, **inputs)[0]


def half_of_the_time(prompt: Any, place: int) -> Any:
    """Give a prompt the first or the second half of the steps."""
    inputs = dict(start=0.5 * place, end=0.5 * (place + 1))
    return stock("nodes", "ConditioningSetTimestepRange", conditioning=prompt, **inputs)[0]


def batch() -> Bench:
    """Return a batch of five."""
    bench = bench_of(SD15)
    samples = bench.latent["samples"]
    return bench.but(latent={"samples": torch.cat([samples, -samples, samples[:1] + 1])})


def merged() -> Bench:
    """Return a merge of two models."""
    bench = bench_of(SD15)
    inputs = dict(model1=bench.model, model2=tiny(SD15, 1), ratio=0.5)
    return bench.but(model=extra("nodes_model_merging", "ModelMergeSimple", **inputs)[0])


def partly_loaded() -> Bench:
    """Return a model of which ComfyUI leaves every weight where it is and casts it at each use."""
    from comfy.model_patcher import ModelPatcher

    class PartlyLoaded(ModelPatcher):
        def load(self, device_to: Any = None, lowvram_model_memory: float = 0, **more: Any) -> Any:
            return super().load(device_to, 1, **more)

    bench = loras(0.8)
    patcher = PartlyLoaded(bench.model.model, bench.model.load_device, bench.model.offload_device)
    patcher.patches = bench.model.patches
    patcher.patches_uuid = bench.model.patches_uuid
    return bench.but(model=patcher)


def compiled() -> Bench:
    """Return a model compiled as TorchCompileModel does it, by the backend that needs no C++ compiler."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    bench = bench_of(SD15)
    model = bench.model.clone()
    set_torch_compile_wrapper(model=model, backend="eager")
    return bench.but(model=model)


def video() -> Bench:
    """Return a video model."""
    return bench_of("wan").but(latent=latent("wan", (8, 12)))


COLUMNS: dict[str, Callable[[], Bench]] = {
    "SD1.5": partial(bench_of, SD15),
    "SD2, v-prediction": partial(bench_of, "sd2_v"),
    "SD2, zero terminal SNR": zero_terminal_snr,
    "SDXL": partial(bench_of, "sdxl"),
    "SD3": partial(bench_of, "sd3"),
    "Flux": partial(bench_of, "flux"),
    "SD1.5 in float16": partial(bench_of, SD15, torch.float16),
    "SD1.5 in bfloat16": partial(bench_of, SD15, torch.bfloat16),
    "Flux in bfloat16": partial(bench_of, "flux", torch.bfloat16),
    "after a v-prediction run of the same checkpoint": after_v_prediction,
    "a LoRA": partial(loras, 1.0),
    "two LoRAs": partial(loras, 0.7, -0.5),
    "a LoRA hooked to the prompt": hooked_lora,
    "weights cast at each use, with a LoRA (what --lowvram does)": partly_loaded,
    "ModelMergeSimple": merged,
    "ControlNet": with_controlnet,
    "FreeU_V2": stock_patch("nodes_freelunch", "FreeU_V2", b1=1.3, b2=1.4, s1=0.9, s2=0.2),
    "PerturbedAttentionGuidance": stock_patch("nodes_pag", "PerturbedAttentionGuidance", scale=3.0),
    "SelfAttentionGuidance": stock_patch("nodes_sag", "SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
    "PerpNeg": perp_neg,
    "TomePatchModel": stock_patch("nodes_tomesd", "TomePatchModel", ratio=0.3),
    "an attention that is replaced, as by IP-Adapter": patched(ip_adapter),
    "a network wrapper": patched(network_wrapper),
    "a diffusion model wrapper": patched(diffusion_wrapper),
    "RescaleCFG": stock_patch("nodes_model_advanced", "RescaleCFG", multiplier=0.7),
    "cfg and post-cfg functions": patched(cfg_functions),
    "a noise mask (inpainting)": noise_mask,
    "prompts with areas": partial(two_prompts, area),
    "prompts with an area and a whole": partial(two_prompts, area_and_whole),
    "prompts with masks": partial(two_prompts, mask_of_prompt),
    "prompts with timestep ranges": partial(two_prompts, half_of_the_time),
    "a batch of five": batch,
    "a latent upscale between two stages": lambda: bench_of(SD15).but(stages=(1.0, 2.0)),
    "TorchCompileModel": compiled,
    "PatchModelAddDownscale (deep shrink)": stock_patch(
        "nodes_model_downscale",
        "PatchModelAddDownscale",
        block_number=1,
        downscale_factor=2.0,
        start_percent=0.0,
        end_percent=0.35,
        downscale_after_skip=True,
        downscale_method="bicubic",
        upscale_method="bicubic",
    ),
    "video (Wan)": video,
}
