"""Directions derived from another (its means) and from seeds alone (PCA), where the answer is known."""

import pytest
import torch
from helpers.denoisers import GaussianDenoiser, LinearBottleneck, karras
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
from singular_edit.core.hspace.strength import bottleneck_edit

SIGMAS = karras(8)


def noise(count=6, channels=4, seed=0):
    return 14 * torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(seed))


def network(scale=0.1):
    direction = ImplicitDirection.fresh(32, SIGMAS[:-1], torch.Generator().manual_seed(0), {"name": "hat"})
    direction.tensors["out.weight"].normal_(std=scale, generator=torch.Generator().manual_seed(1))
    direction.tensors["out.bias"].fill_(0.3)
    return direction


def test_the_mean_per_step_of_what_was_added():
    direction, seen, denoise = network(), {}, LinearBottleneck(gain=0.1)
    window = EditWindow(edit_until=float(SIGMAS[5]))
    mean = mean_direction(denoise, direction, noise(channels=32), SIGMAS, window, batch=4)
    assert torch.equal(mean.sigmas, SIGMAS[:5])
    assert mean.name == "hat"

    def edit(h, sigma):
        seen[float(sigma)] = direction.delta(h, sigma)
        return h + 8 / 8 * seen[float(sigma)]

    sample_asyrp(denoise, noise(channels=32), SIGMAS, edit, window)
    for i in range(5):
        assert torch.allclose(mean.tensors["table"][i], seen[float(SIGMAS[i])].mean(dim=0), atol=1e-4)
    flat = mean_over_steps(mean)
    assert flat.info["method"].startswith("global of")
    assert flat.tensors["table"].shape[0] == 1
    assert torch.allclose(flat.tensors["table"][0], mean.tensors["table"].mean(dim=0), atol=1e-4)


def test_a_table_is_its_own_mean_and_sums_become_one_table():
    table = TableDirection(
        SIGMAS[:-1], {"table": torch.randn(8, 4, 2, 2, generator=torch.Generator().manual_seed(2))}, {"name": "t"}
    )
    denoise, window = LinearBottleneck(gain=0.1), EditWindow(edit_until=1.0)
    again = mean_direction(denoise, combine_directions([(2.0, table), (-0.5, table)]), noise(), SIGMAS, window)
    assert torch.allclose(again.tensors["table"], 1.5 * table.tensors["table"][: len(again.sigmas)], atol=1e-5)


def test_on_another_schedule_the_whole_edit_stays():
    """Recorded on 16 steps, applied on 16: as the original of 8 steps does on 16."""
    table = TableDirection(SIGMAS[:-1], {"table": torch.ones(1, 4, 2, 2)})
    denoise, long = LinearBottleneck(gain=0.1), karras(16)
    window = EditWindow(edit_until=1.0)
    mean = mean_direction(denoise, table, noise(), long, window)
    run = lambda d: sample_asyrp(denoise, noise(seed=5), long, bottleneck_edit(d, 1.0, long, window), window)
    assert torch.allclose(run(mean), run(table), atol=1e-4)


def test_likeness_of_steps():
    one, two = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    cosines = step_cosines(TableDirection(SIGMAS[:3], {"table": torch.stack([one, 2 * one, -two])}))
    assert cosines[0, 1].item() == pytest.approx(1)
    assert cosines[0, 2].item() == pytest.approx(
        -torch.cosine_similarity(one.flatten(), two.flatten(), 0).item(), abs=1e-5
    )


def test_bad_input_gets_a_sentence():
    with pytest.raises(EditError, match="direction 'hat' adds nothing on this schedule"):
        mean_direction(LinearBottleneck(), network(), noise(), SIGMAS, EditWindow(edit_until=100.0))


def test_principal_components_agree_with_svd_and_have_a_sign():
    points = torch.randn(12, 200, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.1, 200)
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
    """h = a*u + b*v with a, b fixed per picture; u, v turn and the larger becomes the smaller as sigma falls."""

    def __init__(self, count=16):
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = (torch.randn(count, generator=generator) for _ in range(2))
        self.u, self.v = torch.linalg.qr(torch.randn(64, 2, generator=generator)).Q.T.reshape(2, 4, 4, 4)
        self.base, self.at = GaussianDenoiser(), 0

    def __call__(self, x, sigma, h_edit=None):
        rows = slice(self.at, self.at + len(x))
        self.at = (self.at + len(x)) % len(self.a)
        early = sigma > 1
        a, b = (3.0, 1.0) if early else (1.0, 3.0)
        h_edit(
            (a * self.a[rows, None, None, None] * self.u * (1 if early else -1))
            + b * self.b[rows, None, None, None] * self.v
        )
        return self.base(x, sigma)


def test_components_are_followed_through_a_change_of_rank_and_of_sign():
    denoise, x = TwoFactors(), noise(16)
    directions, explained = pca_directions(denoise, x, SIGMAS, 2, batch=5)
    first = directions[0].tensors["table"].flatten(1)
    last = torch.nn.functional.normalize(first, dim=1) @ denoise.v.flatten()
    # At the last step b leads, so component 0 is b throughout, second in rank at the noisy steps.
    assert last.abs().min() > 0.8
    assert (last.sign() == last[-1].sign()).all()
    assert explained[0, 0] < 0.5 < explained[0, -1]
    # One deviation: dh of the last step is as long as three deviations of b.
    assert first[-1].norm().item() == pytest.approx(3 * denoise.b.std().item(), rel=0.2)
    # u turns round below sigma 1 while its factor stays the same: the direction turns with it.
    second = torch.nn.functional.normalize(directions[1].tensors["table"].flatten(1), dim=1) @ denoise.u.flatten()
    assert (second[SIGMAS[:-1] > 1] * second[-1] < 0).all()


def test_too_few_pictures_get_a_sentence():
    with pytest.raises(EditError, match="samples is 4; component 2 needs at least 5"):
        pca_directions(LinearBottleneck(), noise(4), SIGMAS, 3)
