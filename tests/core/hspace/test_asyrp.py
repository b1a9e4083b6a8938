"""The asymmetric sampler: by hand, against the paper's VP form, and at its edges."""

import math

import pytest
import torch
from helpers.denoisers import LinearBottleneck, karras
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditWindow, sample_asyrp, sample_euler, step_asyrp
from singular_edit.core.hspace.asyrp import Boost, step_boost
from singular_edit.core.hspace.direction import TableDirection
from singular_edit.core.hspace.strength import BoundEdit, bind_edit, bottleneck_edit
from torch.nn import functional as F

sigma_pairs = st.tuples(st.floats(0.05, 20), st.floats(0.0, 0.99)).map(lambda p: (p[0], p[0] * p[1]))


def table(value, sigmas):
    return TableDirection(sigmas[:-1], {"table": torch.full((1, 4, 2, 2), value)})


def moved_h(direction, strength, sigmas, window):
    """An edit of h alone: dh in proportion to strength, its effect as it comes."""
    return BoundEdit(bottleneck_edit(direction, strength, sigmas, window))


def vp(x, sigma):
    """Variance exploding to variance preserving: alpha_bar and the scaled state."""
    alpha = 1 / (1 + sigma**2)
    return alpha, x * math.sqrt(alpha)


def test_one_step_by_hand():
    x = torch.tensor([10.0])
    d = torch.tensor([2.0])
    e = torch.tensor([3.0])
    # d = (10 - 2)/4 = 2; euler: 10 + (1 - 4)*2 = 4; the edit adds D_edit - D = 1 in full.
    assert step_asyrp(x, d, e, torch.tensor(4.0), torch.tensor(1.0)).item() == pytest.approx(5.0)
    # flow: d = (10 - 2)/0.8 = 10; euler: 10 - 0.3*10 = 7; the edit is scaled by 1 - 0.5.
    assert step_asyrp(x, d, e, torch.tensor(0.8), torch.tensor(0.5), flow=True).item() == pytest.approx(7.5)


@given(sigma_pairs, st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_it_is_the_papers_step_in_vp_form(sigmas, seed):
    """x' = sqrt(a')*P(eps_edit) + sqrt(1 - a')*eps (equation 7), with P(eps) = (x - sqrt(1-a)*eps)/sqrt(a)."""
    hi, lo = sigmas
    x, d, e = (noise((3, 5), seed + i).double() for i in range(3))
    alpha, x_vp = vp(x, hi)
    alpha_next = 1 / (1 + lo**2)
    eps = (x - d) / hi
    eps_edit = (x - e) / hi
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
    kept = math.sqrt(max(1 - alpha_next - spread**2, 0))
    paper = math.sqrt(alpha_next) * e + kept * (x - d) / hi + spread * z
    step = step_boost(x, d, e, torch.tensor(hi).double(), torch.tensor(lo).double(), z=z, eta=eta)
    ours = step * math.sqrt(alpha_next)
    assert torch.allclose(ours, paper, atol=1e-5)


@pytest.mark.parametrize(("hi", "lo"), [(1.0, 0.9), (0.7, 0.4)])
def test_the_boost_keeps_the_noise_level_in_flow_too(hi, lo):
    x0 = torch.tensor(0.0).expand(200_000)
    x = hi * noise((200_000,), 1)
    z = noise((200_000,), 2)
    out = step_boost(x, x0, x0, torch.tensor(hi), torch.tensor(lo), z=z, eta=1.0, flow=True)
    assert out.std().item() == pytest.approx(lo, rel=0.02)


def test_strength_zero_and_an_empty_window_are_stock_euler_bit_for_bit():
    sigmas = karras(10)
    x = 14 * noise()
    denoise = LinearBottleneck()
    stock = sample_euler(denoise, x, sigmas)
    window = EditWindow(edit_until=1.0)
    assert bottleneck_edit(table(1.0, sigmas), 0.0, sigmas, window) is None
    assert torch.equal(sample_asyrp(denoise, x, sigmas, BoundEdit(), window), stock)
    empty = EditWindow(edit_until=1e9)
    edit = moved_h(table(1.0, sigmas), 1.0, sigmas, empty)
    assert torch.equal(sample_asyrp(denoise, x, sigmas, edit, empty), stock)
    assert denoise.edited_calls == 0


@given(strength=st.floats(-4, 4).filter(lambda s: abs(s) > 1e-3))
@settings(max_examples=25, deadline=None)
def test_up_to_one_strength_is_of_dh_and_beyond_it_is_of_the_effect(strength):
    """On a bottleneck that saturates: D = tanh(h)."""
    sigmas = torch.tensor([2.0, 1.0])
    x = noise()

    def denoise(x, sigma, h_edit=None):
        h = torch.zeros(2, 4, 2, 2)
        if h_edit is not None:
            h = h_edit(h)
        return 0.1 * x + torch.tanh(F.interpolate(h, size=(8, 8)))

    edit = bind_edit(table(0.8, sigmas), strength, sigmas, EditWindow())
    moved = sample_asyrp(denoise, x, sigmas, edit) - sample_euler(denoise, x, sigmas)
    inner = max(-1.0, min(1.0, strength))
    expected = math.tanh(0.8 * inner) * max(1.0, abs(strength))
    assert torch.allclose(moved, torch.full_like(moved, expected), atol=1e-5)


def test_only_steps_inside_the_window_pay_a_second_call():
    sigmas = karras(10)
    denoise = LinearBottleneck()
    window = EditWindow(edit_until=float(sigmas[4]))
    sample_asyrp(denoise, 14 * noise(), sigmas, moved_h(table(1.0, sigmas), 1.0, sigmas, window), window)
    assert denoise.edited_calls == 4  # steps 0..3: sigma > sigmas[4]


def test_nothing_is_applied_above_where_the_direction_was_learned():
    sigmas = karras(10)
    denoise = LinearBottleneck()
    late = TableDirection(sigmas[4:-1], {"table": torch.ones(1, 4, 2, 2)})
    window = EditWindow(edit_until=float(sigmas[7]), edit_from=late.start)
    edit = bottleneck_edit(late, 1.0, sigmas, window)
    sample_asyrp(denoise, 14 * noise(), sigmas, BoundEdit(edit), window)
    assert denoise.edited_calls == 3  # steps 4, 5, 6
    h = torch.zeros(1, 4, 2, 2)
    assert torch.allclose(edit(h, sigmas[5]), torch.ones_like(h))  # S = S'


def test_the_edit_adds_up_and_has_a_sign():
    sigmas = karras(10)
    denoise = LinearBottleneck(gain=0.1)
    x = 14 * noise()
    window = EditWindow(edit_until=float(sigmas[-3]))

    def run(strength):
        return sample_asyrp(denoise, x, sigmas, moved_h(table(1.0, sigmas), strength, sigmas, window), window)

    stock = run(0.0)
    assert (run(1.0) - stock).mean() > 0.01
    assert (run(-1.0) - stock).mean() < -0.01


def test_symmetric_is_euler_of_the_edited_prediction():
    sigmas = karras(6)
    denoise = LinearBottleneck()
    x = 14 * noise()
    edit = moved_h(table(1.0, sigmas), 1.0, sigmas, EditWindow())
    got = sample_asyrp(denoise, x, sigmas, edit, EditWindow(), symmetric=True)
    want = sample_euler(lambda y, sigma: denoise(y, sigma, lambda h: h + 1.0), x, sigmas)
    assert torch.allclose(got, want, atol=1e-5)


def test_fewer_steps_each_do_more():
    """Section 5.2: dh learned on S steps is scaled by S/S' when S' steps fall inside the window."""
    train = karras(20)
    half = karras(10)
    window = EditWindow(edit_until=1.0)
    h = torch.zeros(1, 4, 2, 2)

    def inside(sigmas):
        return int((sigmas[:-1] > 1.0).sum())

    moved = bottleneck_edit(table(1.0, train), 1.0, half, window)(h, torch.tensor(5.0))
    assert torch.allclose(moved, torch.full_like(h, inside(train) / inside(half)))
    same = bottleneck_edit(table(1.0, train), 1.0, train, window)(h, torch.tensor(5.0))
    assert torch.allclose(same, torch.ones_like(h))


def test_boost_is_seeded_and_off_by_default():
    sigmas = karras(10)
    denoise = LinearBottleneck()
    x = 14 * noise()

    def run(seed, boost_from, eta=1.0):
        generator = torch.Generator().manual_seed(seed)
        boost = Boost(eta, lambda y: torch.randn(y.shape, generator=generator))
        return sample_asyrp(denoise, x, sigmas, BoundEdit(), EditWindow(boost_from=boost_from), boost=boost)

    stock = sample_euler(denoise, x, sigmas)
    assert torch.equal(run(0, 0.0), stock)
    assert torch.equal(run(0, 2.0, eta=0.0), stock)
    assert torch.equal(sample_asyrp(denoise, x, sigmas, BoundEdit(), EditWindow(boost_from=2.0)), stock)
    assert torch.equal(run(1, 2.0), run(1, 2.0))
    assert not torch.equal(run(1, 2.0), run(2, 2.0))


def test_one_boosted_step_by_hand():
    x = torch.tensor([10.0])
    d = torch.tensor([2.0])
    e = torch.tensor([3.0])
    z = torch.tensor([2.0])
    hi = torch.tensor(4.0)
    lo = torch.tensor(1.0)
    # ratio 1/4: up = sqrt(1 - 1/16), down = sqrt(1 - 15/16) = 1/4; n = (10 - 2)/4 = 2, of the unedited prediction.
    got = step_boost(x, d, e, hi, lo, z=z, eta=1.0).item()
    assert got == pytest.approx(3 + 0.25 * 2 + math.sqrt(15 / 16) * 2)
    # eta 0.5: up = sqrt(15)/8, down = sqrt(1 - 15/64) = 7/8.
    got = step_boost(x, d, e, hi, lo, z=z, eta=0.5).item()
    assert got == pytest.approx(3 + 0.875 * 2 + math.sqrt(15) / 8 * 2)
    # eta 0: nothing new, the plain step.
    got = step_boost(x, d, e, hi, lo, z=z, eta=0.0).item()
    assert got == pytest.approx(step_asyrp(x, d, e, hi, lo).item())
    assert got == pytest.approx(5.0)
    # flow, 0.8 to 0.5: s = 4 to 1, so the same up and down; n = (10 - 0.2*2)/0.8 = 12, all scaled by a' = 0.5.
    got = step_boost(x, d, e, torch.tensor(0.8), torch.tensor(0.5), z=z, eta=1.0, flow=True).item()
    assert got == pytest.approx(0.5 * (3 + 0.25 * 12 + math.sqrt(15 / 16) * 2), rel=1e-5)


def algorithm_1(denoise, x, sigmas, dh, z, eta, edit_to, boost_from):
    """Algorithm 1 in VP form, from the VE state x: edited at steps below edit_to, boosted from boost_from on."""
    alphas = [1 / (1 + float(s) ** 2) for s in sigmas]
    y = x * math.sqrt(alphas[0])
    boosts = 0
    for t in range(len(sigmas) - 1):
        a = alphas[t]
        a_next = alphas[t + 1]

        def eps(h_edit=None):
            scaled = y / math.sqrt(a)
            return (scaled - denoise(scaled, sigmas[t], h_edit)) / sigmas[t]

        plain = eps()
        edited = eps(lambda h: h + dh[t]) if t < edit_to else plain
        boosted = t >= boost_from
        spread = eta * math.sqrt((1 - a_next) / (1 - a)) * math.sqrt(1 - a / a_next) if boosted else 0.0
        predicted = (y - math.sqrt(1 - a) * edited) / math.sqrt(a)
        y = math.sqrt(a_next) * predicted + math.sqrt(max(1 - a_next - spread**2, 0)) * plain
        if boosted:
            y = y + spread * z[boosts]
            boosts += 1
    return y / math.sqrt(alphas[-1])


@pytest.mark.parametrize(
    ("strength", "eta", "edit_to", "boost_from"),
    [(1.0, 1.0, 4, 8), (-1.5, 0.5, 6, 3), (0.7, 1.0, 0, 12), (0.0, 1.0, 6, 6)],
)
def test_the_whole_process_is_the_papers_in_vp_form(strength, eta, edit_to, boost_from):
    """Algorithm 1: from t = T down, edited while t >= t_edit, noised while t <= t_boost, each z drawn in that order."""
    sigmas = karras(12).double()
    denoise = LinearBottleneck(gain=0.1)
    dh = noise((11, 4, 2, 2), seed=1)
    direction = TableDirection(sigmas[:11].float(), {"table": dh})
    window = EditWindow(
        edit_until=float(sigmas[edit_to]), boost_from=float(sigmas[boost_from]) if boost_from < 12 else 0.0
    )
    z = [noise(seed=10 + i).double() for i in range(12)]
    drawn = iter(z)
    x = 14 * noise().double()
    edit = moved_h(direction, strength, sigmas, window)
    got = sample_asyrp(denoise, x, sigmas, edit, window, boost=Boost(eta, lambda _: next(drawn)))
    paper = algorithm_1(denoise, x, sigmas, strength * dh, z, eta, edit_to, boost_from)
    assert torch.allclose(got, paper, atol=1e-4)


class Pointwise(LinearBottleneck):
    """A denoiser that answers each place on its own."""

    def __call__(self, x, sigma, h_edit=None):
        h = torch.zeros(len(x), 4, 2, 2)
        if h_edit is not None:
            h = h_edit(h)
        return 0.5 * x + F.interpolate(h, size=x.shape[-2:])


@given(st.floats(0, 1), st.floats(-2, 2))
@settings(max_examples=15, deadline=None)
def test_a_mask_edits_there_and_only_there(level, strength):
    """Outside of the mask nothing changes at all, inside all of it does."""
    sigmas = karras(6)
    x = 14 * noise()
    denoise = Pointwise()
    window = EditWindow(edit_until=0.5)
    edit = moved_h(table(1.0, sigmas), strength, sigmas, window)

    def run(mask=None):
        return sample_asyrp(denoise, x, sigmas, edit, window, mask=mask)

    stock = sample_euler(denoise, x, sigmas)
    whole = run()
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = level
    got = run(mask)
    assert torch.equal(got[..., 4:], stock[..., 4:])
    assert torch.allclose(got[..., :4] - stock[..., :4], level * (whole - stock)[..., :4], atol=1e-4)
    assert torch.allclose(run(torch.ones(2, 1, 8, 8)), whole, atol=1e-5)
    assert torch.equal(run(torch.zeros(1, 1, 8, 8)), stock)
