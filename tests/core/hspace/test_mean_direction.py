"""Directions derived from another (its means) and from seeds alone (PCA), where the answer is known."""

from __future__ import annotations

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck, karras
from helpers.tensors import noise
from singular_edit.core import (
    EditError,
    EditWindow,
    combine_directions,
    mean_direction,
    mean_over_steps,
    pca_directions,
    sample_asyrp,
    step_cosines,
)
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.networks import ImplicitDirection
from singular_edit.core.hspace.pca import principal_components
from singular_edit.core.hspace.readout import Readout
from singular_edit.core.hspace.strength import BoundEdit, bottleneck_edit
from singular_edit.core.response import Response
from singular_edit.core.samplers import Run
from torch.nn import functional as F

SIGMAS = karras(8)


def starting_noise(count=6, channels=4, seed=0):
    return 14 * noise((count, channels, 8, 8), seed)


def network(scale=0.1):
    direction = ImplicitDirection.fresh(32, SIGMAS[:-1], torch.Generator().manual_seed(0), {"name": "hat"})
    direction.tensors["out.weight"].normal_(std=scale, generator=torch.Generator().manual_seed(1))
    direction.tensors["out.bias"].fill_(0.3)
    return direction


def test_the_mean_per_step_of_what_was_added():
    direction = network()
    denoise = LinearBottleneck(gain=0.1)
    window = EditWindow(edit_until=float(SIGMAS[5]))
    x = starting_noise(channels=32)
    mean = mean_direction(denoise, direction, x, SIGMAS, window, run=Run(batch=4))
    assert torch.equal(mean.sigmas, SIGMAS[:5])
    assert mean.name == "hat"

    seen = {}

    def edit(h, sigma):
        seen[float(sigma)] = direction.delta(h, sigma)
        return h + seen[float(sigma)]

    sample_asyrp(denoise, x, SIGMAS, BoundEdit(h_edit=edit), window)
    for i in range(5):
        assert torch.allclose(mean.tensors["table"][i], seen[float(SIGMAS[i])].mean(dim=0), atol=1e-4)
    flat = mean_over_steps(mean)
    assert flat.info["method"].startswith("global of")
    assert flat.tensors["table"].shape[0] == 1
    assert torch.allclose(flat.tensors["table"][0], mean.tensors["table"].mean(dim=0), atol=1e-4)


def test_a_table_is_its_own_mean_and_sums_become_one_table():
    table = TableDirection(SIGMAS[:-1], {"table": noise((8, 4, 2, 2), seed=2)}, {"name": "t"})
    both = combine_directions([(2.0, table), (-0.5, table)])
    again = mean_direction(LinearBottleneck(gain=0.1), both, starting_noise(), SIGMAS, EditWindow(edit_until=1.0))
    maps = table.tensors["table"][: len(again.sigmas)]
    assert torch.allclose(again.tensors["table"], 1.5 * maps, atol=1e-5)


def test_what_a_strength_means_stays():
    responds = TableDirection(SIGMAS[:-1], {"table": noise((8, 4, 2, 2), seed=2)}).with_response(
        Response((1.5,), (1.0,))
    )
    window = EditWindow(edit_until=1.0)
    mean = mean_direction(LinearBottleneck(gain=0.1), responds, starting_noise(), SIGMAS, window)
    assert mean.response == mean_over_steps(mean).response == responds.response


def test_on_another_schedule_the_whole_edit_stays():
    """Recorded on 16 steps, applied on 16: as the original of 8 steps does on 16."""
    table = TableDirection(SIGMAS[:-1], {"table": torch.ones(1, 4, 2, 2)})
    denoise = LinearBottleneck(gain=0.1)
    long = karras(16)
    window = EditWindow(edit_until=1.0)
    mean = mean_direction(denoise, table, starting_noise(), long, window)

    def sample_with(direction):
        edit = BoundEdit(h_edit=bottleneck_edit(direction, 1.0, long, window))
        return sample_asyrp(denoise, starting_noise(seed=5), long, edit, window)

    assert torch.allclose(sample_with(mean), sample_with(table), atol=1e-4)


def test_likeness_of_steps():
    one, two = noise((2, 4, 2, 2))
    cosines = step_cosines(TableDirection(SIGMAS[:3], {"table": torch.stack([one, 2 * one, -two])}))
    cosine = torch.cosine_similarity(one.flatten(), two.flatten(), 0).item()
    assert cosines[0, 1].item() == pytest.approx(1)
    assert cosines[0, 2].item() == pytest.approx(-cosine, abs=1e-5)


def test_bad_input_gets_a_sentence():
    with pytest.raises(EditError, match="direction 'hat' adds nothing on this schedule"):
        mean_direction(LinearBottleneck(), network(), starting_noise(), SIGMAS, EditWindow(edit_until=100.0))
    generator = torch.Generator().manual_seed(0)
    readout = Readout.fresh(4, 4, 4, 1.0, SIGMAS[:-1], generator=generator, info={"name": "hat"})
    with pytest.raises(EditError, match="direction 'hat' is a readout: it adds nothing to h"):
        mean_direction(LinearBottleneck(), readout, starting_noise(), SIGMAS)


def test_principal_components_agree_with_svd_and_have_a_sign():
    points = noise((12, 200)) * torch.linspace(3, 0.1, 200)
    found = principal_components(points, 5)
    _, s, v = torch.linalg.svd(points - points.mean(dim=0), full_matrices=False)
    assert torch.allclose(found.directions.norm(dim=1), torch.ones(5), atol=1e-4)
    assert ((found.directions * v[:5]).sum(dim=1).abs() > 0.999).all()
    assert torch.allclose(found.deviations, s[:5] / 11**0.5, rtol=1e-3)
    assert torch.allclose(found.explained, s[:5].square() / s.square().sum(), rtol=1e-3)
    # Reordered pictures: the same directions, sign included.
    again = principal_components(points.flip(0), 5)
    assert torch.allclose(again.directions, found.directions, atol=1e-3)
    assert torch.allclose(again.scores.flip(1), found.scores, atol=1e-2)


class TwoFactors:
    """h = a*u + b*v with a, b fixed for each picture; u turns round and the larger becomes the smaller as sigma falls.

    It counts the pictures it is asked for, which come in batches in the same order at every step.
    """

    def __init__(self, count=16):
        generator = torch.Generator().manual_seed(0)
        self.a = torch.randn(count, generator=generator)
        self.b = torch.randn(count, generator=generator)
        self.u, self.v = torch.linalg.qr(torch.randn(64, 2, generator=generator)).Q.T.reshape(2, 4, 4, 4)
        self.base = GaussianDenoiser()
        self.at = 0

    def __call__(self, x, sigma, h_edit=None):
        rows = slice(self.at, self.at + len(x))
        self.at = (self.at + len(x)) % len(self.a)
        a = self.a[rows, None, None, None]
        b = self.b[rows, None, None, None]
        h_edit(3.0 * a * self.u + b * self.v if sigma > 1 else 3.0 * b * self.v - a * self.u)
        return self.base(x, sigma)


def test_components_are_followed_through_a_change_of_rank_and_of_sign():
    denoise = TwoFactors()
    directions, explained = pca_directions(denoise, starting_noise(16), SIGMAS, 2, run=Run(batch=5))
    first = directions[0].tensors["table"].flatten(1)
    last = F.normalize(first, dim=1) @ denoise.v.flatten()
    # At the last step b leads, so component 0 is b throughout, second in rank at the noisy steps.
    assert last.abs().min() > 0.8
    assert (last.sign() == last[-1].sign()).all()
    assert explained[0, 0] < 0.5
    assert explained[0, -1] > 0.5
    # One deviation: dh of the last step is as long as three deviations of b.
    assert first[-1].norm().item() == pytest.approx(3 * denoise.b.std().item(), rel=0.2)
    # u turns round below sigma 1 while its factor stays the same: the direction turns with it.
    second = F.normalize(directions[1].tensors["table"].flatten(1), dim=1) @ denoise.u.flatten()
    assert (second[SIGMAS[:-1] > 1] * second[-1] < 0).all()


def test_too_few_pictures_get_a_sentence():
    with pytest.raises(EditError, match="samples is 4; component 2 needs at least 5"):
        pca_directions(LinearBottleneck(), starting_noise(4), SIGMAS, 3)
