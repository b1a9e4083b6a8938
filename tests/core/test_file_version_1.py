"""Files as version 0.1.0 wrote them (format version 1): what they hold is what they do, by formulas written here."""

from __future__ import annotations

import json
import math

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from safetensors.torch import save_file
from singular_edit.core import SVDAttribute, apply_attribute, load_hdirection, sample_asyrp, sample_euler
from singular_edit.core.hspace.strength import bind_edit
from singular_edit.core.hspace.window import EditWindow
from torch import Tensor
from torch.nn import functional as F

SIGMAS = karras(8)
H = 32  # bottleneck width; the paper's network has 32 groups


def write(path, kind: str, tensors: dict[str, Tensor], info: dict | None = None, numbers: dict | None = None):
    header = {
        "format": "singular_edit",
        "version": "1",
        "kind": kind,
        "info": json.dumps(info or {"name": "old"}),
        "numbers": json.dumps(numbers or {}),
    }
    save_file(
        {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}, path, header
    )
    return path


def embedding(sigma: float) -> Tensor:
    """32 sines and 32 cosines of log sigma, frequencies 0.1 to 10."""
    frequencies = torch.exp(torch.linspace(math.log(0.1), math.log(10.0), 32))
    angles = math.log(sigma) * frequencies
    return torch.cat([angles.sin(), angles.cos()])


def implicit_tensors() -> dict[str, Tensor]:
    return {
        "in.weight": 0.2 * noise((H, H), 1),
        "in.bias": 0.1 * noise((H,), 2),
        "time.weight": 0.1 * noise((H, 64), 3),
        "time.bias": 0.1 * noise((H,), 4),
        "norm.weight": 1 + 0.1 * noise((H,), 5),
        "norm.bias": 0.1 * noise((H,), 6),
        "out.weight": 0.2 * noise((H, H), 7),
        "out.bias": 0.1 * noise((H,), 8),
    }


def implicit(t: dict[str, Tensor], h: Tensor, sigma: float) -> Tensor:
    """The paper's f_t(h): conv1x1, + time, GroupNorm(32), swish, conv1x1."""
    time = t["time.weight"] @ F.silu(embedding(sigma)) + t["time.bias"]
    y = torch.einsum("ij,bjhw->bihw", t["in.weight"], h) + t["in.bias"][:, None, None] + time[:, None, None]
    y = F.silu(F.group_norm(y, 32, t["norm.weight"], t["norm.bias"]))
    return torch.einsum("ij,bjhw->bihw", t["out.weight"], y) + t["out.bias"][:, None, None]


def test_a_table_for_each_step(tmp_path):
    table = noise((len(SIGMAS) - 1, H, 3, 3))
    tensors = {"sigmas": SIGMAS[:-1], "table": table}
    direction = load_hdirection(write(tmp_path / "a.safetensors", "h_direction_table", tensors))
    for i in (0, 3, 7):
        assert torch.allclose(direction.delta(noise((2, H, 3, 3)), SIGMAS[i])[0], table[i], atol=1e-5)
    between = (SIGMAS[2] * SIGMAS[3]).sqrt()  # halfway in log sigma
    assert torch.allclose(direction.delta(noise((2, H, 3, 3)), between)[0], (table[2] + table[3]) / 2, atol=1e-5)


def test_a_network_and_a_network_with_a_map(tmp_path):
    h, sigma = noise((2, H, 3, 3), 20), SIGMAS[3]
    tensors = {"sigmas": SIGMAS[:-1], **implicit_tensors()}
    network = load_hdirection(write(tmp_path / "a.safetensors", "h_direction_implicit", tensors))
    expected = implicit(tensors, h, float(sigma))
    assert torch.allclose(network.delta(h, sigma), expected, atol=1e-5)
    table = noise((1, H, 3, 3), 9)
    both = load_hdirection(write(tmp_path / "b.safetensors", "h_direction_combined", {**tensors, "table": table}))
    assert torch.allclose(both.delta(h, sigma), expected + table, atol=1e-5)


def readout_tensors(width: int = 128) -> dict[str, Tensor]:
    return {
        "scale": torch.tensor([2.0]),
        "in.weight": 0.2 * noise((width, H), 1),
        "in.bias": 0.1 * noise((width,), 2),
        "time.weight": 0.1 * noise((width, 64), 3),
        "time.bias": 0.1 * noise((width,), 4),
        "conv1.weight": 0.03 * noise((width, width, 3, 3), 5),
        "conv1.bias": 0.1 * noise((width,), 6),
        "conv2.weight": 0.03 * noise((width, width, 3, 3), 7),
        "conv2.bias": 0.1 * noise((width,), 8),
        "out.weight": 0.1 * noise((4, 2, 2, width), 9),
        "out.bias": 0.1 * noise((4, 2, 2), 10),
    }


def readout(t: dict[str, Tensor], h: Tensor, sigma: float) -> Tensor:
    """W R(h, sigma): the network's change, weighted by where it is, at most 1."""
    time = t["time.weight"] @ embedding(sigma) + t["time.bias"]
    y = torch.einsum("ij,bjhw->bihw", t["in.weight"], h / t["scale"]) + t["in.bias"][:, None, None]
    y = F.silu(y + time[:, None, None])
    for name in ("conv1", "conv2"):
        y = y + F.silu(F.conv2d(y, t[f"{name}.weight"], t[f"{name}.bias"], padding=1))
    pixels = torch.einsum("crsw,bwij->bcirjs", t["out.weight"], y) + t["out.bias"][:, None, :, None, :]
    change = pixels.reshape(len(h), 4, 2 * h.shape[-2], 2 * h.shape[-1])
    local = F.pad(change.square().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    energy = F.avg_pool2d(local, 3, 1)
    return energy / (energy + energy.mean((-2, -1), keepdim=True)) * change


def test_a_readout(tmp_path):
    tensors = {"sigmas": SIGMAS[:-1], **readout_tensors()}
    direction = load_hdirection(write(tmp_path / "a.safetensors", "h_direction_readout", tensors))
    h, sigma = noise((2, H, 3, 3), 20), SIGMAS[3]
    assert torch.allclose(direction.read(h, sigma, (6, 6)), readout(tensors, h, float(sigma)), atol=1e-4)


def test_a_sum_holds_its_members_whole(tmp_path):
    info = {
        "name": "+1 a -0.5 b",
        "method": "sum",
        "members": json.dumps(
            [{"kind": "h_direction_table", "info": {"name": "a"}}, {"kind": "h_direction_table", "info": {"name": "b"}}]
        ),
    }
    a, b = noise((1, 4, 2, 2), 1), noise((1, 4, 2, 2), 2)
    tensors = {
        "weights": torch.tensor([1.0, -0.5]),
        "0.sigmas": SIGMAS[:-1],
        "0.table": a,
        "1.sigmas": SIGMAS[2:-1],
        "1.table": b,
    }
    direction = load_hdirection(write(tmp_path / "a.safetensors", "h_direction_sum", tensors, info))
    assert direction.name == "+1 a -0.5 b"
    assert [(weight, part.name) for weight, part in direction.parts] == [(1.0, "a"), (-0.5, "b")]
    denoise = LinearBottleneck()
    x = 14 * noise((1, 4, 8, 8), 3)
    edited = sample_asyrp(denoise, x, SIGMAS, bind_edit(direction, 1.0, SIGMAS, EditWindow()), EditWindow())
    # By hand: Euler, and at each step the whole change of D, which is gain * dh at every place of the bottleneck.
    state = x
    for i in range(len(SIGMAS) - 1):
        dh = a[0] - (0.5 * b[0] if i >= 2 else 0)
        d = (state - denoise(state, SIGMAS[i])) / SIGMAS[i]
        state = state + (SIGMAS[i + 1] - SIGMAS[i]) * d + denoise.gain * F.interpolate(dh[None], size=(8, 8))
    assert torch.allclose(edited, state, atol=1e-3)


def svd_tensors() -> dict[str, Tensor]:
    u, v = (torch.linalg.qr(noise((4, 12, 3), seed))[0] for seed in (1, 2))
    s = torch.tensor([3.0, 2.0, 1.0]).expand(4, 3)
    return {"edit.u": u, "edit.s": s, "edit.v": v, "source_spectrum": s, "target_spectrum": s}


def by_formula(x: Tensor, t: dict[str, Tensor], strength: float) -> Tensor:
    """x + strength * std(x) * edit; each channel's norm comes back by exp(t w) where the edit lies, t by bisection."""
    edit = torch.einsum("chr,cr,cwr->chw", t["edit.u"], t["edit.s"], t["edit.v"])
    std = x.flatten(1).std(dim=1)[:, None, None, None]
    plain, y = x / std, x / std + strength * edit
    local = F.pad(edit.square().mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    energy = F.avg_pool2d(local, 3, 1)[0]
    weight = (2 * energy / (energy + energy.mean())).clamp(max=1)
    low, high = (torch.full((len(x), 4, 1, 1), end) for end in (-6.0, 6.0))
    wanted = plain.square().sum((-2, -1), keepdim=True)
    for _ in range(60):
        middle = (low + high) / 2
        too_much = (torch.exp(middle * weight) * y).square().sum((-2, -1), keepdim=True) > wanted
        low, high = torch.where(too_much, low, middle), torch.where(too_much, middle, high)
    return torch.exp(middle * weight) * y * std


@pytest.mark.parametrize("strength", [-0.4, 0.3, 1.0])
def test_an_svd_attribute(tmp_path, strength):
    tensors = svd_tensors()
    path = write(tmp_path / "a.safetensors", "svd_attribute", tensors, numbers={"sigma": 1.5, "target_sigma": 1.5})
    attribute = SVDAttribute.load(path)
    assert attribute.sigma == 1.5
    x = 3 * noise((2, 4, 12, 12), 5)
    assert torch.allclose(apply_attribute(x, attribute, strength), by_formula(x, tensors, strength), atol=2e-3)


def test_an_svd_attribute_of_one_pair_knows_its_own_code(tmp_path):
    own = noise((1, 4, 12, 12), 7)
    u, s, vh = torch.linalg.svd(own[0] / own.std())
    source = {"source.u": u[..., :3], "source.s": s[..., :3], "source.v": vh.mT[..., :3]}
    tensors = {**svd_tensors(), **source}
    path = write(tmp_path / "a.safetensors", "svd_attribute", tensors, numbers={"sigma": 0, "target_sigma": 0})
    attribute = SVDAttribute.load(path)
    other = noise((1, 4, 12, 12), 8)
    assert torch.allclose(apply_attribute(own, attribute, 0.3), by_formula(own, tensors, 0.3), atol=2e-3)
    assert torch.allclose(apply_attribute(other, attribute, 0.1), by_formula(other, tensors, 0.32), atol=0.02)


def test_strength_zero_of_an_old_file_changes_nothing(tmp_path):
    tensors = {"sigmas": SIGMAS[:-1], "table": noise((1, 4, 2, 2))}
    direction = load_hdirection(write(tmp_path / "a.safetensors", "h_direction_table", tensors))
    x, denoise = 14 * noise((1, 4, 8, 8)), LinearBottleneck()
    edit = bind_edit(direction, 0.0, SIGMAS, EditWindow())
    assert torch.equal(sample_asyrp(denoise, x, SIGMAS, edit), sample_euler(denoise, x, SIGMAS))
