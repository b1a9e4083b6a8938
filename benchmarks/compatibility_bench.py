"""What a cell of the compatibility table works with: our nodes, stock nodes, and a small model with its surroundings.

Imported by compatibility_rows.py and compatibility_columns.py.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import singular_edit
import torch
from singular_edit.core import Readout
from singular_edit.core.hspace.direction import TableDirection
from small_models import conditioning, latent, latent_channels, tiny
from torch import Tensor

STEPS = 5
SEED = 5
# A step at which a pair stops, and where its prompts part.
AT_STEP = 2
# Of each family: width of h, latent pixels for each of its places along a side, and where h is.
BOTTLENECKS = {
    "sd15": (64, 2, ""),
    "sd2_v": (64, 2, ""),
    "sdxl": (64, 2, ""),
    "sd3": (128, 2, "double_block:1"),
    "flux": (64, 2, "double_block:0"),
    # No h; these are of no use, and refused.
    "wan": (64, 2, ""),
}


@cache
def pack() -> dict[str, Any]:
    """Return our node classes by id, from the entry point that ComfyUI calls."""

    async def nodes() -> list[Any]:
        return await (await singular_edit.comfy_entrypoint()).get_node_list()

    return {node.define_schema().node_id.removeprefix("SingularEdit"): node for node in asyncio.run(nodes())}


def run(node: str, /, **inputs: Any) -> tuple:
    """Run a node of the pack, with its schema's defaults for widgets that are left out."""
    schema = pack()[node].define_schema()
    defaults = {i.id: i.default for i in schema.inputs if getattr(i, "default", None) is not None}
    return pack()[node].execute(**{**defaults, **inputs}).args


def stock(module: str, node: str, /, **inputs: Any) -> tuple:
    """Run a stock node, of the old kind or of the new one."""
    found = getattr(importlib.import_module(module), node)
    if hasattr(found, "execute"):
        return found.execute(**inputs).args
    return getattr(found(), found.FUNCTION)(**inputs)


def extra(module: str, node: str, /, **inputs: Any) -> tuple:
    """Run a stock node of comfy_extras."""
    return stock(f"comfy_extras.{module}", node, **inputs)


def euler() -> Any:
    """Return the stock SAMPLER."""
    return extra("nodes_custom_sampler", "KSamplerSelect", sampler_name="euler")[0]


@dataclass(frozen=True)
class Bench:
    """A model, and what is wired beside it.

    Attributes:
        family: One of small_models.FAMILIES.
        model: The MODEL.
        source: CONDITIONING of what the picture is.
        target: CONDITIONING of the same with the attribute.
        negative: Negative CONDITIONING.
        latent: LATENT of the picture.
        cfg: Guidance.
        stages: Latent sizes of the sampling runs that follow each other, in multiples of the first.
        attributes: A readout, a direction and an SVD attribute that fit the family.
    """

    family: str
    model: Any
    source: Any
    target: Any
    negative: Any
    latent: dict[str, Any]
    cfg: float = 3.0
    stages: tuple[float, ...] = (1.0,)
    attributes: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Bench:
        """Return another bench that differs in these."""
        return replace(self, **changes)

    @property
    def sigmas(self) -> Tensor:
        """The schedule."""
        return self.schedule(1.0)

    def schedule(self, denoise: float) -> Tensor:
        """Return the schedule of a run that starts at a share of the noise."""
        inputs = dict(model=self.model, scheduler="normal", steps=STEPS, denoise=denoise)
        return extra("nodes_custom_sampler", "BasicScheduler", **inputs)[0]

    def sample(self, *, model: Any = None, sampler: Any = None) -> Tensor:
        """Draw by SamplerCustom, in as many stages as there are; the later ones take up half of the noise.

        Args:
            model: Another MODEL.
            sampler: Another SAMPLER.
        """
        drawn = self.latent
        for i, scale in enumerate(self.stages):
            samples = drawn["samples"]
            if scale != 1.0:
                samples = torch.nn.functional.interpolate(samples, scale_factor=scale)
            drawn = extra(
                "nodes_custom_sampler",
                "SamplerCustom",
                model=model or self.model,
                add_noise=True,
                noise_seed=SEED,
                cfg=self.cfg,
                positive=self.source,
                negative=self.negative,
                sampler=sampler or euler(),
                sigmas=self.schedule(1.0 if i == 0 else 0.5),
                latent_image={**drawn, "samples": samples},
            )[0]
        return drawn["samples"]

    def finish(self, noise: Any, picture: dict[str, Any], sigmas: Tensor, sampler: Any = None) -> Tensor:
        """Draw by SamplerCustomAdvanced from a NOISE, over a LATENT."""
        inputs = dict(model=self.model, positive=self.source, negative=self.negative, cfg=self.cfg)
        guider = extra("nodes_custom_sampler", "CFGGuider", **inputs)[0]
        inputs = dict(noise=noise, guider=guider, sampler=sampler or euler(), sigmas=sigmas, latent_image=picture)
        return extra("nodes_custom_sampler", "SamplerCustomAdvanced", **inputs)[0]["samples"]

    @property
    def picture(self) -> dict[str, Any]:
        """The LATENT without its mask."""
        return {"samples": self.latent["samples"]}

    def noise(self) -> Any:
        """Return the NOISE that sample adds."""
        return extra("nodes_custom_sampler", "RandomNoise", noise_seed=SEED)[0]

    def prompts(self) -> dict[str, Any]:
        """Return what a node is given that speaks of two prompts."""
        return dict(source=self.source, target=self.target, negative=self.negative)


def bench_of(family: str, dtype: torch.dtype = torch.float32) -> Bench:
    """Return a family's small random model with plain surroundings, and attributes that fit it."""
    model = tiny(family, dtype=dtype)
    positive, target, negative = (conditioning(family, seed) for seed in (1, 3, 2))
    bench = Bench(family, model, positive, target, negative, latent(family, (8, 12)))
    return bench.but(attributes=attributes_of(bench))


def attributes_of(bench: Bench) -> dict[str, Any]:
    """Return random attributes of a family: a readout, a direction of h, and an SVD attribute of two random codes."""
    family = bench.family
    width, place, layer = BOTTLENECKS[family]
    generator = torch.Generator().manual_seed(0)
    sigmas = bench.sigmas[:-1]
    info = {"name": "hat", "method": "readout"} | ({"layer": layer} if layer else {})
    readout = Readout.fresh(width, latent_channels(family), place, 1.0, sigmas, generator=generator, info=info)
    readout.tensors["out.weight"].normal_(0, 0.05, generator=generator)
    table = torch.randn(len(sigmas), width, 1, 1, generator=generator)
    direction = TableDirection(sigmas, {"table": table}, {**info, "method": "global"})
    return {"readout": readout, "direction": direction, "svd": svd_attribute(family)}


def svd_attribute(family: str) -> Any:
    """Return an SVD attribute of two codes that differ a little; video models get one of pictures."""
    shape = (1, latent_channels(family), 8, 12)
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(shape, generator=generator)
    target = source + 0.5 * torch.randn(shape, generator=generator)
    return run("SVDAttributeLearn", source={"samples": source}, target={"samples": target}, name="hat")[0]
