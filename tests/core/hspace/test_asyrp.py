"""The asymmetric sampler: by hand, against the paper's VP form, and at its edges."""

import math

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditWindow, sample_asyrp, sample_euler, step_asyrp
from singular_edit.core.hspace.asyrp import step_boost
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.strength import bind_edit, bottleneck_edit

sigma_pairs = st.tuples(st.floats(0.05, 20), st.floats(0.0, 0.99)).map(lambda p: (p[0], p[0] * p[1]))


def noise(shape=(2, 4, 8, 8), seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_one_step_by_hand():
    x, d, e = torch.tensor([10.0]), torch.tensor([2.0]), torch.tensor([3.0])
    # d = (10 - 2)/4 = 2; euler: 10 + (1 - 4)*2 = 4; the edit adds D_edit - D = 1 in full.
    assert step_asyrp(x, d, e, torch.tensor(4.0), torch.tensor(1.0)).item() == pytest.approx(5.0)
    # flow: d = (10 - 2)/0.8 = 10; euler: 10 - 0.3*10 = 7; the edit is scaled by 1 - 0.5.
    assert step_asyrp(x, d, e, torch.tensor(0.8), torch.tensor(0.5), flow=True).item() == pytest.approx(7.5)


def vp(x, sigma):
    """Variance exploding to variance preserving: alpha_bar and the scaled state."""
    alpha = 1 / (1 + sigma**2)
    return alpha, x * math.sqrt(alpha)


@given(sigma_pairs, st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_it_is_the_papers_step_in_vp_form(sigmas, seed):
    """x' = sqrt(a')*P(eps_edit) + sqrt(1 - a')*eps (equation 7), with P(eps) = (x - sqrt(1-a)*eps)/sqrt(a)."""
    hi, lo = sigmas
    x, d, e = (noise((3, 5), seed + i).double() for i in range(3))
    alpha, x_vp = vp(x, hi)
    alpha_next = 1 / (1 + lo**2)
    eps, eps_edit = (x - d) / hi, (x - e) / hi
    predicted = (x_vp - math.sqrt(1 - alpha) * eps_edit) / math.sqrt(alpha)
    paper = math.sqrt(alpha_next) * predicted + math.sqrt(1 - alpha_next) * eps
    ours = step_asyrp(x, d, e, torch.tensor(hi).double(), torch.tensor(lo).double()) * math.sqrt(alpha_next)
    assert torch.allclose(ours, paper, atol=1e-6)


@given(sigma_pairs, st.floats(0, 1), st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_the_boost_is_ddims_eta_in_vp_form(sigmas, eta, seed):
    """DDIM (Song et al., equations 12 and 16): sigma_t = eta*sqrt((1-a')/(1-a))*sqrt(1 - a/a')."""
    hi, lo = sigmas
    x, d, e, z = (noise((3, 5), seed + i).double() for i in range(4))
    alpha, _ = vp(x, hi)
    alpha_next = 1 / (1 + lo**2)
    spread = eta * math.sqrt((1 - alpha_next) / (1 - alpha)) * math.sqrt(1 - alpha / alpha_next)
    paper = math.sqrt(alpha_next) * e + math.sqrt(max(1 - alpha_next - spread**2, 0)) * (x - d) / hi + spread * z
    ours = step_boost(x, d, e, torch.tensor(hi).double(), torch.tensor(lo).double(), z, eta) * math.sqrt(alpha_next)
    assert torch.allclose(ours, paper, atol=1e-5)


def test_the_boost_keeps_the_noise_level_in_flow_too():
    x0, n, z = torch.tensor(0.0).expand(200_000), noise((200_000,), 1), noise((200_000,), 2)
    for hi, lo in ((1.0, 0.9), (0.7, 0.4)):
        x = hi * n
        out = step_boost(x, x0, x0, torch.tensor(hi), torch.tensor(lo), z, 1.0, flow=True)
        assert out.std().item() == pytest.approx(lo, rel=0.02)


def table(value, sigmas):
    return TableDirection(sigmas[:-1], {"table": torch.full((1, 4, 2, 2), value)})


def test_strength_zero_and_an_empty_window_are_stock_euler_bit_for_bit():
    sigmas, x, denoise = karras(10), 14 * noise(), LinearBottleneck()
    stock = sample_euler(denoise, x, sigmas)
    window = EditWindow(edit_until=1.0)
    assert bottleneck_edit(table(1.0, sigmas), 0.0, sigmas, window) is None
    assert torch.equal(sample_asyrp(denoise, x, sigmas, None, window), stock)
    edit = bottleneck_edit(table(1.0, sigmas), 1.0, sigmas, EditWindow(edit_until=1e9))
    assert torch.equal(sample_asyrp(denoise, x, sigmas, edit, EditWindow(edit_until=1e9)), stock)
    assert denoise.edited_calls == 0


@given(strength=st.floats(-4, 4).filter(lambda s: abs(s) > 1e-3))
@settings(max_examples=25, deadline=None)
def test_up_to_one_strength_is_of_dh_and_beyond_it_is_of_the_effect(strength):
    """On a bottleneck that saturates: D = tanh(h)."""
    sigmas, x = torch.tensor([2.0, 1.0]), noise()
    denoise = lambda x, sigma, h_edit=None: (
        0.1 * x
        + torch.tanh(torch.nn.functional.interpolate((h_edit or (lambda h: h))(torch.zeros(2, 4, 2, 2)), size=(8, 8)))
    )
    edit, amount, _ = bind_edit(table(0.8, sigmas), strength, sigmas, EditWindow())
    moved = sample_asyrp(denoise, x, sigmas, edit, amount=amount) - sample_euler(denoise, x, sigmas)
    inner = max(-1.0, min(1.0, strength))
    expected = math.tanh(0.8 * inner) * max(1.0, abs(strength))
    assert torch.allclose(moved, torch.full_like(moved, expected), atol=1e-5)


def test_only_steps_inside_the_window_pay_a_second_call():
    sigmas, denoise = karras(10), LinearBottleneck()
    window = EditWindow(edit_until=float(sigmas[4]))
    sample_asyrp(denoise, 14 * noise(), sigmas, bottleneck_edit(table(1.0, sigmas), 1.0, sigmas, window), window)
    assert denoise.edited_calls == 4  # steps 0..3: sigma > sigmas[4]


def test_nothing_is_applied_above_where_the_direction_was_learned():
    sigmas, denoise = karras(10), LinearBottleneck()
    late = TableDirection(sigmas[4:-1], {"table": torch.ones(1, 4, 2, 2)})
    window = EditWindow(edit_until=float(sigmas[7]), edit_from=late.start)
    edit = bottleneck_edit(late, 1.0, sigmas, window)
    sample_asyrp(denoise, 14 * noise(), sigmas, edit, window)
    assert denoise.edited_calls == 3  # steps 4, 5, 6
    h = torch.zeros(1, 4, 2, 2)
    assert torch.allclose(edit(h, sigmas[5]), torch.ones_like(h))  # S = S'


def test_the_edit_adds_up_and_has_a_sign():
    sigmas, denoise, x = karras(10), LinearBottleneck(gain=0.0), 14 * noise()
    denoise.gain = 0.1
    window = EditWindow(edit_until=float(sigmas[-3]))
    run = lambda strength: sample_asyrp(
        denoise, x, sigmas, bottleneck_edit(table(1.0, sigmas), strength, sigmas, window), window
    )
    stock, up, down = run(0.0), run(1.0), run(-1.0)
    assert (up - stock).mean() > 0.01
    assert (down - stock).mean() < -0.01


def test_symmetric_is_euler_of_the_edited_prediction():
    sigmas, denoise, x = karras(6), LinearBottleneck(), 14 * noise()
    edit = bottleneck_edit(table(1.0, sigmas), 1.0, sigmas, EditWindow())
    got = sample_asyrp(denoise, x, sigmas, edit, EditWindow(), symmetric=True)
    want = sample_euler(lambda y, sigma: denoise(y, sigma, lambda h: h + 1.0), x, sigmas)
    assert torch.allclose(got, want, atol=1e-5)


def test_fewer_steps_each_do_more():
    """Section 5.2: dh learned on S steps is scaled by S/S' when S' steps fall inside the window."""
    train, half = karras(20), karras(10)
    window = EditWindow(edit_until=1.0)
    h = torch.zeros(1, 4, 2, 2)
    inside = lambda s: int((s[:-1] > 1.0).sum())
    moved = bottleneck_edit(table(1.0, train), 1.0, half, window)(h, torch.tensor(5.0))
    assert torch.allclose(moved, torch.full_like(h, inside(train) / inside(half)))
    assert torch.allclose(
        bottleneck_edit(table(1.0, train), 1.0, train, window)(h, torch.tensor(5.0)), torch.ones_like(h)
    )


def test_boost_is_seeded_and_off_by_default():
    sigmas, denoise, x = karras(10), LinearBottleneck(), 14 * noise()

    def run(seed, boost):
        generator = torch.Generator().manual_seed(seed)
        return sample_asyrp(
            denoise,
            x,
            sigmas,
            None,
            EditWindow(boost_from=boost),
            noise=lambda y: torch.randn(y.shape, generator=generator),
        )

    assert torch.equal(run(0, 0.0), sample_euler(denoise, x, sigmas))
    assert torch.equal(run(1, 2.0), run(1, 2.0))
    assert not torch.equal(run(1, 2.0), run(2, 2.0))


def test_one_boosted_step_by_hand():
    x, d, e, z = torch.tensor([10.0]), torch.tensor([2.0]), torch.tensor([3.0]), torch.tensor([2.0])
    hi, lo = torch.tensor(4.0), torch.tensor(1.0)
    # ratio 1/4: up = sqrt(1 - 1/16), down = sqrt(1 - 15/16) = 1/4; n = (10 - 2)/4 = 2, of the unedited prediction.
    assert step_boost(x, d, e, hi, lo, z, 1.0).item() == pytest.approx(3 + 0.25 * 2 + math.sqrt(15 / 16) * 2)
    # eta 0.5: up = sqrt(15)/8, down = sqrt(1 - 15/64) = 7/8. eta 0: nothing new, the plain step.
    assert step_boost(x, d, e, hi, lo, z, 0.5).item() == pytest.approx(3 + 0.875 * 2 + math.sqrt(15) / 8 * 2)
    assert (
        step_boost(x, d, e, hi, lo, z, 0.0).item()
        == pytest.approx(step_asyrp(x, d, e, hi, lo).item())
        == pytest.approx(5.0)
    )
    # flow, 0.8 to 0.5: s = 4 to 1, so the same up and down; n = (10 - 0.2*2)/0.8 = 12, all scaled by a' = 0.5.
    got = step_boost(x, d, e, torch.tensor(0.8), torch.tensor(0.5), z, 1.0, flow=True).item()
    assert got == pytest.approx(0.5 * (3 + 0.25 * 12 + math.sqrt(15 / 16) * 2), rel=1e-5)


@pytest.mark.parametrize(
    "strength, eta, edit_to, boost_from", [(1.0, 1.0, 4, 8), (-1.5, 0.5, 6, 3), (0.7, 1.0, 0, 12), (0.0, 1.0, 6, 6)]
)
def test_the_whole_process_is_the_papers_in_vp_form(strength, eta, edit_to, boost_from):
    """Algorithm 1: from t = T down, edited while t >= t_edit, noised while t <= t_boost, each z drawn in that order."""
    sigmas, denoise = karras(12).double(), LinearBottleneck(gain=0.1)
    dh = torch.randn(11, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    direction = TableDirection(sigmas[:11].float(), {"table": dh})
    window = EditWindow(
        edit_until=float(sigmas[edit_to]), boost_from=float(sigmas[boost_from]) if boost_from < 12 else 0.0
    )
    z = [noise(seed=10 + i).double() for i in range(12)]
    drawn = iter(z)
    x = 14 * noise().double()
    got = sample_asyrp(
        denoise,
        x,
        sigmas,
        bottleneck_edit(direction, strength, sigmas, window),
        window,
        eta=eta,
        noise=lambda _: next(drawn),
    )

    alphas = [1 / (1 + float(s) ** 2) for s in sigmas]
    y, boosts = x * math.sqrt(alphas[0]), 0
    for t in range(12):
        a, a_next = alphas[t], alphas[t + 1]

        def eps(h_edit=None):
            scaled = y / math.sqrt(a)
            return (scaled - denoise(scaled, sigmas[t], h_edit)) / sigmas[t]

        plain = eps()
        edited = eps(lambda h: h + strength * dh[t]) if t < edit_to else plain
        boosted = boost_from < 12 and t >= boost_from
        spread = eta * math.sqrt((1 - a_next) / (1 - a)) * math.sqrt(1 - a / a_next) if boosted else 0.0
        y = (
            math.sqrt(a_next) * (y - math.sqrt(1 - a) * edited) / math.sqrt(a)
            + math.sqrt(max(1 - a_next - spread**2, 0)) * plain
        )
        if boosted:
            y, boosts = y + spread * z[boosts], boosts + 1
    assert torch.allclose(got, y / math.sqrt(alphas[-1]), atol=1e-4)


@given(st.floats(0, 1), st.floats(-2, 2))
@settings(max_examples=15, deadline=None)
def test_a_mask_edits_there_and_only_there(level, strength):
    """A denoiser that answers each place on its own: outside of the mask nothing changes at all, inside all of it does."""

    class Pointwise(LinearBottleneck):
        def __call__(self, x, sigma, h_edit=None):
            h = torch.zeros(len(x), 4, 2, 2) if h_edit is None else h_edit(torch.zeros(len(x), 4, 2, 2))
            return 0.5 * x + torch.nn.functional.interpolate(h, size=x.shape[-2:])

    sigmas, x, denoise, window = karras(6), 14 * noise(), Pointwise(), EditWindow(edit_until=0.5)
    edit = bottleneck_edit(table(1.0, sigmas), strength, sigmas, window)
    run = lambda **inputs: sample_asyrp(denoise, x, sigmas, edit, window, **inputs)
    stock, whole = sample_euler(denoise, x, sigmas), run()
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = level
    got = run(mask=mask)
    assert torch.equal(got[..., 4:], stock[..., 4:])
    assert torch.allclose(got[..., :4] - stock[..., :4], level * (whole - stock)[..., :4], atol=1e-4)
    assert torch.allclose(run(mask=torch.ones(2, 1, 8, 8)), whole, atol=1e-5)
    assert torch.equal(run(mask=torch.zeros(1, 1, 8, 8)), stock)
