"""An attribute knows the code it was learned on, and is stronger on any other."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import (
    EditError,
    LossWeights,
    SVDAttribute,
    apply_attribute,
    combine_attributes,
    learn_attribute,
)
from singular_edit.core.latent_svd.apply import restore_channel_norm
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.latent_svd.transfer_gain import (
    FOREIGN_GAIN,
    FOREIGN_MARGIN,
    MAX_GAIN,
    mean_edit_gain,
    source_similarity,
)
from singular_edit.core.saliency import saliency_weight
from torch.nn import functional as F


def code(seed, shape=(1, 4, 16, 16)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


BUMP = 1.5 * torch.outer(torch.hann_window(16), torch.hann_window(16))


def learn(x, name="bump", **how):
    return learn_attribute(x, x + BUMP, rank=16, weights=LossWeights(1, 0, 0, 0), info={"name": name}, **how)


@given(st.integers(0, 99), st.floats(0.1, 20))
@settings(max_examples=20, deadline=None)
def test_its_own_code_is_known_at_any_scale_and_a_strangers_is_not(seed, scale):
    x, attribute = code(seed), learn(code(seed))
    assert torch.allclose(source_similarity(scale * x, attribute.source), torch.ones(1, 1, 1, 1), atol=1e-3)
    assert source_similarity(code(seed + 100), attribute.source).max() < 0.05
    assert source_similarity(-x, attribute.source).max() == 0


def test_between_the_two_it_is_in_between():
    x, other, attribute = code(0), code(1), learn(code(0))
    shares = [float(source_similarity((1 - t) * x + t * other, attribute.source)) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert shares == sorted(shares, reverse=True)
    assert 0.3 < shares[2] < 0.7


def test_its_own_code_is_known_at_another_resolution():
    smooth = F.interpolate(code(0, (1, 4, 6, 6)), size=(16, 16), mode="bicubic")
    larger = F.interpolate(smooth, size=(32, 24), mode="bilinear")
    assert source_similarity(larger, learn(smooth).source) > 0.9


def test_strength_one_is_the_pair_on_its_own_code_and_alone_times_that_on_a_strangers():
    x, other, attribute = code(0), code(1), learn(code(0), focus=0.0)
    assert F.cosine_similarity(apply_attribute(x, attribute, 1.0).flatten(2), (x + BUMP).flatten(2), dim=2).min() > 0.99
    anyones = SVDAttribute(attribute.edit, attribute.source_spectrum, attribute.target_spectrum)
    assert torch.allclose(apply_attribute(x, attribute, 0.7), apply_attribute(x, anyones, 0.7), atol=2e-3)
    assert torch.allclose(
        apply_attribute(other, attribute, 0.7), apply_attribute(other, anyones, 0.7 * FOREIGN_GAIN), atol=0.03
    )
    together = apply_attribute(torch.cat([x, other]), attribute, 0.7)
    assert torch.allclose(
        together, torch.cat([apply_attribute(x, attribute, 0.7), apply_attribute(other, attribute, 0.7)]), atol=1e-5
    )


@given(st.floats(0.1, 1.0), st.sampled_from([8, 32]))
@settings(max_examples=20, deadline=None)
def test_what_many_pairs_share_is_brought_to_the_size_of_one(own, count):
    """e_i = common + own part of another direction each: the gain is |e| / |common|, and a little for strangers."""
    common, parts = code(0), own * code(1, (count, 4, 16, 16))
    wanted = (1 + own**2) ** 0.5
    assert mean_edit_gain(common + parts) == pytest.approx(FOREIGN_MARGIN * wanted, rel=0.08 if count == 8 else 0.03)


def test_one_pair_or_pairs_with_nothing_in_common_have_a_gain_too():
    e = code(0)
    assert mean_edit_gain(e) == pytest.approx(FOREIGN_GAIN, rel=1e-5)
    assert mean_edit_gain(torch.cat([e, -e])) == pytest.approx(MAX_GAIN)
    assert FOREIGN_MARGIN < mean_edit_gain(torch.cat([e, e])) < FOREIGN_GAIN
    assert mean_edit_gain(e.expand(100, -1, -1, -1)) == pytest.approx(FOREIGN_MARGIN, abs=0.01)


def test_the_mean_of_pairs_has_no_code_of_its_own_and_the_size_of_one():
    x, own = code(0, (24, 4, 16, 16)), 1.5 * code(1, (24, 4, 16, 16))
    how = dict(rank=16, weights=LossWeights(1, 0, 0, 0), focus=0.0)
    attribute, singles = (
        learn_attribute(x, x + BUMP + own, **how),
        [learn_attribute(x[i : i + 1], (x + BUMP + own)[i : i + 1], **how) for i in range(24)],
    )
    assert attribute.source is None
    assert "times as strong" not in attribute.report()
    assert f"{FOREIGN_GAIN:g} times as strong" in singles[0].report()
    size, plain = (
        sum(compose(one.edit).norm() for one in singles) / 24,
        (sum(compose(one.edit) for one in singles) / 24).norm(),
    )
    assert plain < 0.6 * size
    assert 0.9 * FOREIGN_MARGIN * size < compose(attribute.edit).norm() < 1.25 * FOREIGN_MARGIN * size


def test_a_file_keeps_the_source(tmp_path):
    attribute = learn(code(0))
    attribute.save(tmp_path / "one.safetensors")
    again = SVDAttribute.load(tmp_path / "one.safetensors")
    for x in (code(0), code(1)):
        assert torch.equal(apply_attribute(x, again, 1.0), apply_attribute(x, attribute, 1.0))
    learn(code(0, (2, 4, 16, 16))).save(tmp_path / "many.safetensors")
    assert SVDAttribute.load(tmp_path / "many.safetensors").source is None


def test_a_file_with_half_a_source_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "one.safetensors"
    learn(code(0)).save(path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    del tensors["source.v"]
    save_file(tensors, path, header)
    with pytest.raises(EditError, match="lacks source.v"):
        SVDAttribute.load(path)


def test_combining_keeps_the_source_where_all_have_one_and_the_same():
    x, other = code(0), code(1)
    edit = lambda attribute: compose(attribute.edit)
    a, b, c = learn(x), learn_attribute(x, x + torch.linspace(-1, 1, 16), rank=16), learn(other, "c")
    same, mixed = combine_attributes([(1.0, a), (-0.5, b)]), combine_attributes([(1.0, a), (0.5, c)])
    assert source_similarity(x, same.source) > 0.99
    assert mixed.source is None
    assert torch.allclose(edit(same), edit(a) - 0.5 * edit(b), atol=2e-3)
    assert torch.allclose(edit(mixed), FOREIGN_GAIN * (edit(a) + 0.5 * edit(c)), atol=4e-3)
    mean = learn(code(2, (4, 4, 16, 16)), "mean")
    assert torch.allclose(
        edit(combine_attributes([(1.0, mean), (1.0, a)])), edit(mean) + FOREIGN_GAIN * edit(a), atol=4e-3
    )


@given(st.integers(0, 999), st.floats(0.05, 5), st.sampled_from([(2, 4, 16, 16), (1, 3, 1, 5), (1, 1, 2, 2)]))
@settings(max_examples=40, deadline=None)
def test_the_norm_comes_back_where_the_edit_lies(seed, size, shape):
    x, edit = code(seed, shape), torch.zeros(shape[1:])
    edit[..., : max(1, shape[3] // 3)] = size * code(seed + 1, shape)[0, ..., : max(1, shape[3] // 3)]
    y = x + edit
    back = restore_channel_norm(x, y, saliency_weight(edit).clamp(max=1))
    assert torch.allclose(back.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-3)
    if shape[3] == 16 and size < 1:
        assert torch.allclose(back[..., 8:], x[..., 8:], atol=1e-4)  # nothing was edited there


def test_a_strong_edit_still_shows_where_it_is_strongest():
    """Where most differs the code is shrunk most, but never to nothing: an exponential has no zero, as a factor linear in the weight has."""
    x, bump = code(0), torch.outer(torch.hann_window(16), torch.hann_window(16)).expand(4, 16, 16)
    peaks = [
        float(restore_channel_norm(x, x + k * bump, saliency_weight(k * bump).clamp(max=1))[..., 7:9, 7:9].mean())
        for k in (1.0, 3.0, 9.0, 27.0)
    ]
    assert min(peaks) > 0.6
    assert peaks[2] > peaks[0]


def test_where_no_place_stands_out_or_nothing_was_edited():
    x = code(0)
    assert torch.allclose(restore_channel_norm(x, 2 * x, torch.ones(1, 16, 16)), x, atol=1e-5)
    assert torch.allclose(restore_channel_norm(x, 0.5 * x, torch.ones(1, 16, 16)), x, atol=1e-5)
    assert torch.allclose(restore_channel_norm(x, 3 * x, torch.zeros(1, 16, 16)), x, atol=1e-5)
    assert torch.isfinite(restore_channel_norm(x, torch.zeros_like(x), torch.zeros(1, 16, 16))).all()
