"""A prediction plainly and with the bottleneck edited: by one call of denoise_pair, and by two calls."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from singular_edit.core.denoiser import BottleneckRecorder
from torch import Tensor

from .tensors import noise, relative

SIGMA = 3.0
SAME = 1e-5


def moved(h):
    """An edit that is another one at each place, and in each row."""
    return h + 2.0 * noise(tuple(h.shape[1:]), 5).to(h) + 0.5 * h.flip(1)


@contextmanager
def rows_of(layer):
    """The number of rows of each run of a layer."""
    rows = []
    handle = layer.register_forward_hook(lambda module, inputs, output: rows.append(len(inputs[0])))
    try:
        yield rows
    finally:
        handle.remove()


class Predicted(NamedTuple):
    """What a denoiser predicted, and what that took."""

    plain: Tensor
    edited: Tensor
    seen: list[Tensor]
    encoder: list[int]
    decoder: list[int]


class Job(NamedTuple):
    """A MODEL with its prompts and its guidance."""

    model: Any
    positive: Any
    negative: Any
    cfg: float = 5.0
    edit_uncond: bool = False
    shape: tuple[int, ...] = (2, 4, 16, 16)

    def run(self, pair: bool, **options: Any) -> Predicted:
        """Predict with one call of denoise_pair, or with two calls."""
        from singular_edit.backends.comfyui.denoiser import ComfyDenoiser
        from singular_edit.backends.comfyui.session import Prompts, run_in_session

        x = SIGMA * noise(self.shape, 1)
        recorder = BottleneckRecorder(moved)

        def algorithm(model, extra_args, _, sigmas):
            denoise = ComfyDenoiser(model, extra_args, edit_uncond=self.edit_uncond, **options)
            if pair:
                return denoise.denoise_pair(x, sigmas[0], recorder)
            return denoise(x, sigmas[0]), denoise(x, sigmas[0], recorder)

        prompts = Prompts(self.positive, self.negative, self.cfg)
        network = self.model.model.diffusion_model
        encoder = network.input_blocks[1][0]
        decoder = network.output_blocks[0][0]
        with torch.inference_mode(), rows_of(encoder) as encoded, rows_of(decoder) as decoded:
            schedule = torch.tensor([SIGMA, 0.0])
            plain, edited = run_in_session(self.model, prompts, torch.zeros_like(x), schedule, algorithm)
        return Predicted(plain, edited, recorder.seen, encoded, decoded)


def assert_pair_is_two_calls(job: Job, **options: Any) -> tuple[Predicted, Predicted]:
    """Both predictions, what h_edit saw, and that the edit acts."""
    two = job.run(pair=False)
    one = job.run(pair=True, **options)
    assert torch.equal(one.plain, two.plain)
    assert relative(one.edited, two.edited) < SAME
    effect = two.edited - two.plain
    assert relative(two.edited, two.plain) > 50 * SAME
    assert relative(one.edited - one.plain, effect) < 1e-3
    assert len(one.seen) == len(two.seen)
    assert all(torch.equal(a, b) for a, b in zip(one.seen, two.seen, strict=True))
    return one, two
