"""Files of every kind as strangers may make them: honest ones, mutations, and everything that is done with a file."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from singular_edit.backends.previews import preview_of
from singular_edit.core import (
    EditError,
    EditWindow,
    HDirection,
    SVDAttribute,
    apply_attribute,
    bind_edit,
    combine_attributes,
    combine_directions,
    learn_attribute,
    sample_asyrp,
)
from singular_edit.core.fitting import Training
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import CombinedDirection, ImplicitDirection
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.latent_svd.cover import MIN_PAIRS
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.recipes.attributes import Attribute, advised_strength, describe, load_attribute
from torch import Tensor
from torch.nn import functional as F

CHANNELS = 32
PLACE = 4
SIDE = 16
SIGMAS = torch.tensor([10.0, 4.0, 1.5, 0.5, 0.0])
STRENGTHS = (1.0, -1.0, 10.0)
LONGEST_SENTENCE = 300
# No latent that is edited becomes so large.
ABSURD = 1e6
# What may stand where a header has a text.
ODD_TEXTS = (
    *("", "{", "[]", "{}", "[1]", "null", "1e999", "NaN", '{"name": NaN}', "\ud800", "\0", "$x_{", "9" * 5000),
    *("k" * 100_000, '{"sigma": 1e999}', '{"sigma": -1, "target_sigma": 1}', '{"a": 1, "a": 2}', "a\nb\r\u202e"),
)
LARGEST_TENSOR = 2**20
NAMES = ("table", "vector", "implicit", "combined", "readout", "sum", "svd", "svd_mlp", "svd_cover", "svd_aligned")


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Gaussian noise of one seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Model:
    """A denoiser with a bottleneck of CHANNELS, in closed form."""

    place_size = PLACE

    def __init__(self) -> None:
        self.lift = noise(CHANNELS, 4, seed=9) / 2

    def __call__(self, x: Tensor, sigma: Tensor, h_edit: Any = None) -> Tensor:
        """Predict x0."""
        h = torch.einsum("kc,bchw->bkhw", self.lift, F.avg_pool2d(x, PLACE))
        h = h if h_edit is None else h_edit(h)
        drawn = torch.einsum("kc,bkhw->bchw", self.lift, h.tanh())
        return (x + 0.1 * sigma**2 * F.interpolate(drawn, scale_factor=PLACE)) / (1 + sigma**2)


def honest() -> dict[str, Attribute]:
    """One attribute of every kind of file."""
    generator = torch.Generator().manual_seed(0)
    steps = SIGMAS[:-1]
    info = {"name": "hat", "method": "combined", "source_prompt": "a face", "strength": "1.5"}
    network = ImplicitDirection.fresh(CHANNELS, steps, generator, info)
    weights = {**network.tensors, "out.weight": 0.1 * noise(CHANNELS, CHANNELS)}
    readout = Readout.fresh(CHANNELS, 4, PLACE, 1.0, steps, generator=generator, info=info)
    readout.tensors["out.weight"].copy_(0.1 * noise(*readout.tensors["out.weight"].shape))
    table = TableDirection(steps, {"table": noise(4, CHANNELS, 4, 4)}, info)
    source, target = (noise(MIN_PAIRS, 4, SIDE, SIDE, seed=seed) for seed in (1, 2))
    network_settings = AttributeSettings(rank=3, training=Training(2, 1e-3, 1, 0))
    cover = learn_attribute(source, target, AttributeSettings(rank=3), info=info)
    return {
        "table": table,
        "vector": TableDirection(steps, {"table": noise(1, CHANNELS, 1, 1)}, info),
        "implicit": ImplicitDirection(steps, weights, info),
        "combined": CombinedDirection(steps, {**weights, "table": noise(1, CHANNELS, 4, 4)}, info),
        "readout": readout,
        "sum": combine_directions([(1.0, table), (-0.5, readout)]),
        "svd": learn_attribute(source[:1], target[:1], AttributeSettings(rank=3), info=info),
        "svd_mlp": learn_attribute(source[:2], target[:2], network_settings, sigma=2.0, info=info),
        "svd_cover": cover,
        "svd_aligned": replace(cover, correlation_filter=noise(4, SIDE, SIDE)),
    }


class Parts(NamedTuple):
    """A safetensors file in parts that need not fit together."""

    header: dict[str, Any]
    body: bytes

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Take a file apart."""
        (length,) = struct.unpack("<Q", data[:8])
        return cls(json.loads(data[8 : 8 + length]), data[8 + length :])

    def joined(self) -> bytes:
        """Put the parts together."""
        text = json.dumps(self.header).encode()
        return struct.pack("<Q", len(text)) + text + self.body


def deep(rng: random.Random) -> str:
    """JSON that is deeply nested."""
    depth = rng.choice((7, 100, 5000, 200_000))
    return rng.choice(("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth))


def odd_text(rng: random.Random) -> str:
    """A text for a place in a header."""
    return rng.choice((*ODD_TEXTS, deep(rng)))


def flip_bits(data: bytes, rng: random.Random) -> bytes:
    """Flip bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_body(data: bytes, rng: random.Random) -> bytes:
    """Flip bits of the tensors."""
    parts = Parts.of(data)
    return Parts(parts.header, flip_bits(parts.body, rng)).joined()


def cut_or_grow(data: bytes, rng: random.Random) -> bytes:
    """Cut the end off, or add to it."""
    place = rng.randrange(len(data))
    return rng.choice((data[:place], data + data[:place], data[:8], b"", struct.pack("<Q", 2**62) + data[8:]))


def lie(data: bytes, rng: random.Random) -> bytes:
    """Change what the header says of a tensor."""
    parts = Parts.of(data)
    name = rng.choice([one for one in parts.header if one != "__metadata__"])
    entry = parts.header[name]
    key = rng.choice(("dtype", "shape", "data_offsets", "more", "gone", "twice"))
    if key == "dtype":
        entry[key] = rng.choice(("F8_E4M3", "F8_E5M2", "I64", "BOOL", "F16", "BF16", "F64", "C64", "", 7, None))
    elif key == "shape":
        entry[key] = rng.choice(([], [-1], [2**62, 4], [0], [1.5], [True], "ab", [*entry[key], 1], entry[key][::-1]))
    elif key == "data_offsets":
        begin, end = entry[key]
        entry[key] = rng.choice(([begin, end + 4], [end, begin], [0, 2**63], [begin - 4, end], [0], [begin, end, 1]))
    elif key == "more":
        parts.header[odd_text(rng)] = dict(entry)
    elif key == "gone":
        del parts.header[name]
    else:
        entry["again"] = 1
    return parts.joined()


def say(data: bytes, rng: random.Random) -> bytes:
    """Change the texts of a header."""
    parts = Parts.of(data)
    metadata = parts.header["__metadata__"]
    key = rng.choice(("format", "version", "kind", "info", "numbers", "members", "field"))
    if key == "field":
        info = json.loads(metadata["info"])
        names = ("name", "strength", "model_class", "bottleneck_channels", "preview", "method", "latent_format")
        info[rng.choice(names)] = rng.choice((odd_text(rng), [1], None, 1e308, {"a": 1}))
        metadata["info"] = json.dumps(info)
    elif key == "members":
        kinds = ["h_direction_sum", "h_direction_table", "h_direction_readout", "svd_attribute", "x"]
        member = {"kind": rng.choice(kinds), "info": rng.choice(({}, [], {"name": "k" * 9999}))}
        members = rng.choice((json.dumps([member] * rng.choice((0, 1, 2, 3000))), odd_text(rng)))
        metadata["info"] = json.dumps({**json.loads(metadata["info"]), "members": members})
    elif rng.random() < 0.2:
        metadata.pop(key)
    else:
        metadata[key] = rng.choice((odd_text(rng), "h_direction_sum", "svd_attribute", 1, ["a"]))
    return parts.joined()


def values(data: bytes, rng: random.Random) -> bytes:
    """Write other values into whole tensors."""
    tensors = load(data)
    for name in rng.sample(sorted(tensors), rng.choice((1, 1, 2, len(tensors)))):
        tensor = tensors[name]
        change = rng.choice(("fill", "scale", "flip", "zero one", "equal", "half"))
        if change == "fill":
            odd = (float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e-30, 1e6, 1e30, 3e38)
            tensors[name] = torch.full_like(tensor, rng.choice(odd))
        elif change == "scale":
            tensors[name] = tensor * rng.choice((-1.0, 1e-20, 1e3, 1e5, 1e20, 1e38))
        elif change == "flip":
            tensors[name] = tensor.flip(-1).contiguous()
        elif change == "half":
            tensors[name] = tensor.to(rng.choice((torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn)))
        else:
            changed = tensor.flatten().clone()
            changed[rng.randrange(len(changed))] = 0.0 if change == "zero one" else float(changed[0])
            tensors[name] = changed.reshape(tensor.shape)
    return save(tensors, {key: str(text) for key, text in Parts.of(data).header["__metadata__"].items()})


def shapes(data: bytes, rng: random.Random) -> bytes:
    """Give an axis of one length another length, in one tensor or in all that have it."""
    tensors = load(data)
    length = rng.choice([size for tensor in tensors.values() for size in tensor.shape])
    other = rng.choice((1, 2, 3, 5, 31, 33, 64, 65, 96))
    chosen = sorted(tensors) if rng.random() < 0.7 else [rng.choice(sorted(tensors))]
    for name in chosen:
        for axis, size in enumerate(tensors[name].shape):
            if size == length:
                rows = torch.arange(other) % size
                # A convolution whose four axes all grow would fill the memory here, before it is a file.
                if tensors[name].numel() // size * other <= LARGEST_TENSOR:
                    tensors[name] = tensors[name].index_select(axis, rows).contiguous()
    return save(tensors, {key: str(text) for key, text in Parts.of(data).header["__metadata__"].items()})


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    one.__name__: one for one in (flip_bits, flip_body, cut_or_grow, lie, say, values, shapes)
}


def use(path: Path, fellows: dict[str, Attribute]) -> str:
    """Load a file and do everything with it that nodes do.

    Args:
        path: The file; what is saved again lies beside it.
        fellows: Honest attributes, to combine with.

    Returns:
        "right", or the sentence.

    Raises:
        AssertionError: A result is not finite, or absurd, or a sentence is not one that can be shown.
    """
    try:
        attribute = load_attribute(path)
        describe(attribute)
        preview_of(attribute)
        for latent in _edited(attribute, fellows, advised_strength(attribute)):
            assert float(latent.abs().max()) <= ABSURD, "not finite, or absurd"
        attribute.save(path.with_name("again.safetensors"))
        load_attribute(path.with_name("again.safetensors"))
    except EditError as error:
        sentence = str(error)
        assert len(sentence) <= LONGEST_SENTENCE, f"{len(sentence)} characters"
        assert sentence.isprintable(), "no plain text"
        assert str(path.parent) not in sentence, "a path"
        return sentence
    return "right"


def _edited(attribute: Attribute, fellows: dict[str, Attribute], advised: float) -> list[Tensor]:
    """Edit latents with an attribute, alone and together with another one."""
    if isinstance(attribute, SVDAttribute):
        latents = [3 * noise(2, 4, SIDE, SIDE, seed=5), noise(1, 4, 12, 20, seed=6)]
        partners = [(-0.7, fellows["svd"])] if attribute.correlation_filter is None else []
        both = combine_attributes([(1.0, attribute), *partners])
        edits = [(attribute, strength) for strength in (*STRENGTHS, advised)]
        return [apply_attribute(x, one, at) for x in latents for one, at in [*edits, (both, 1.0)]]
    assert isinstance(attribute, HDirection)
    x = 10 * noise(2, 4, SIDE, SIDE, seed=5)
    both = combine_directions([(1.0, attribute), (0.5, fellows["readout"])])
    edits = [(attribute, strength) for strength in (*STRENGTHS, advised)]
    return [
        sample_asyrp(Model(), x, SIGMAS, bind_edit(one, at, SIGMAS, EditWindow())) for one, at in [*edits, (both, 1.0)]
    ]
