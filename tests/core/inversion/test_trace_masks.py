"""Masks on a trace: outside nothing happens, and inside an edit counts once."""

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from singular_edit.core import EditWindow, sample_asyrp, sample_euler
from singular_edit.core.hspace.strength import BoundEdit
from singular_edit.core.inversion.traced import follow_trace, sample_traced, traced_inversion

FLOW = torch.tensor([1.0, 0.9, 0.7, 0.4, 0.1, 0.0])


@pytest.mark.parametrize("flow", [False, True])
def test_outside_of_a_mask_the_picture_stays_whatever_happens_inside(flow):
    model = LinearBottleneck(flow=flow)
    sigmas = FLOW if flow else karras(8)
    x = noise((2, 4, 4, 4))
    trace, _ = traced_inversion(model, x, sigmas)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    edited = trace.code + 0.5 * mask
    other = LinearBottleneck(shift=2.0, flow=flow)
    back = sample_euler(follow_trace(other, trace, edited, sigmas, mask), edited, sigmas)
    size = float(trace.states.abs().max())
    assert float((back - x)[..., 2:].abs().max()) < 1e-6 * size
    assert float((back - x)[..., :2].abs().min()) > 0.1
    everywhere = sample_euler(follow_trace(other, trace, edited, sigmas, torch.ones_like(mask)), edited, sigmas)
    assert torch.allclose(everywhere, sample_traced(other, trace, edited, sigmas), atol=1e-5 * size)


@pytest.mark.parametrize("kind", ["h", "change"])
def test_a_soft_mask_is_applied_once(kind):
    """Half of an edit is half of its effect, whether the predictions are masked or what is added to them."""
    model = LinearBottleneck(flow=True)
    x = noise((1, 4, 4, 4))
    sigmas = FLOW[2:4]
    trace, _ = traced_inversion(model, x, FLOW)
    start = trace.states[2]
    half = torch.full((1, 1, 4, 4), 0.5)

    class Raised:
        def added_to(self, denoised, h, sigma, sigma_next, guidance):
            return torch.ones_like(denoised)

    edit = BoundEdit(h_edit=lambda h, sigma: h + 0.5) if kind == "h" else BoundEdit(change=Raised())

    def effect(mask):
        denoise = follow_trace(model, trace, start, sigmas, mask)
        return sample_asyrp(denoise, start, sigmas, edit, EditWindow()) - sample_euler(denoise, start, sigmas)

    assert effect(None).abs().min() > 0.05
    assert torch.allclose(effect(half), 0.5 * effect(None), atol=1e-5)
