"""Several attributes as one."""

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
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
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.latent_svd.transfer_gain import FOREIGN_GAIN, source_similarity
from singular_edit.core.model_family import ModelFamily
from singular_edit.core.recipes.attributes import check_model

FULL_RANK = AttributeSettings(rank=16)
TARGET_ONLY = AttributeSettings(rank=16, weights=LossWeights(1, 0, 0, 0))


def bump(height=16, width=16):
    return 1.5 * torch.outer(torch.hann_window(height), torch.hann_window(width))


def ramp(height=16, width=16):
    return 1.5 * torch.linspace(-1, 1, width).expand(height, width)


def learn(seed, change, name, shape=(1, 4, 16, 16), *, how=AttributeSettings(), **info):
    x = noise(shape, seed)
    return learn_attribute(x, x + change, how, info={"name": name, **info}, sigma=1.0)


def edit(attribute):
    return compose(attribute.edit)


@given(st.floats(-2, 2).filter(abs), st.floats(-2, 2).filter(abs))
@settings(max_examples=15, deadline=None)
def test_combining_is_linear_and_takes_each_attribute_as_on_another_code(first, second):
    a = learn(1, bump(), "a")
    b = learn(2, ramp(), "b")
    together = combine_attributes([(first, a), (second, b)])
    assert torch.allclose(edit(together), FOREIGN_GAIN * (first * edit(a) + second * edit(b)), atol=4e-3)
    assert (together.edit.s.diff(dim=-1) <= 1e-5).all()
    assert together.sigma == 1.0


def test_channels_grow_by_all_attributes_together():
    a, b, old = (replace(learn(seed, bump(), "one"), growth=None) for seed in (1, 2, 3))
    a = replace(a, growth=torch.tensor([0.7, 1.0, 1.2, 1.5]))
    b = replace(b, growth=torch.tensor([1.0, 4.0, 0.25, 1.0]))
    assert torch.allclose(combine_attributes([(2.0, a), (-0.5, b)]).growth, torch.tensor([0.49, 0.5, 2.88, 2.25]))
    assert torch.equal(combine_attributes([(1.0, a), (1.0, old)]).growth, a.growth)
    assert combine_attributes([(1.0, old)]).growth is None


def test_combining_across_sizes_and_ranks(tmp_path):
    a = learn(1, bump(), "a")
    b = learn(2, ramp(24, 20), "b", (1, 4, 24, 20), latent_format="SD15")
    together = combine_attributes([(1.0, a), (0.5, b)])
    assert together.edit.u.shape[1] == 24
    assert together.edit.v.shape[1] == 20
    assert together.info["latent_format"] == "SD15"
    x = noise((1, 4, 24, 20), 7)
    change = apply_attribute(x, together, 1.0) - x
    assert change[..., 8:16, 6:14].mean() > 0.2
    together.save(tmp_path / "both.safetensors")
    assert SVDAttribute.load(tmp_path / "both.safetensors").name == "+1 a +0.5 b"


def test_attributes_of_different_families_do_not_combine():
    a = learn(1, bump(), "a")
    b = learn(2, ramp(24, 20), "b", (1, 4, 24, 20), latent_format="SD15")
    c = learn(1, bump(), "c", (1, 3, 16, 16))
    d = learn(1, bump(), "d", latent_format="SDXL")
    with pytest.raises(EditError, match="'c' has 3 channels but 'a' has 4"):
        combine_attributes([(1.0, a), (1.0, c)])
    with pytest.raises(EditError, match="another latent format"):
        combine_attributes([(1.0, b), (1.0, d)])
    with pytest.raises(EditError, match="All weights are zero"):
        combine_attributes([(0.0, a)])


def test_attributes_of_one_code_keep_it_as_their_own():
    a = learn(0, bump(), "a", how=TARGET_ONLY)
    b = learn(0, torch.linspace(-1, 1, 16), "b", how=FULL_RANK)
    together = combine_attributes([(1.0, a), (-0.5, b)])
    assert source_similarity(noise((1, 4, 16, 16), 0), together.source) > 0.99
    assert torch.allclose(edit(together), edit(a) - 0.5 * edit(b), atol=2e-3)


def test_attributes_of_two_codes_have_no_own_code():
    a = learn(0, bump(), "a", how=TARGET_ONLY)
    c = learn(1, bump(), "c", how=TARGET_ONLY)
    together = combine_attributes([(1.0, a), (0.5, c)])
    assert together.source is None
    assert torch.allclose(edit(together), FOREIGN_GAIN * (edit(a) + 0.5 * edit(c)), atol=4e-3)


def test_only_attributes_of_one_pair_get_the_gain():
    a = learn(0, bump(), "a", how=TARGET_ONLY)
    mean = learn(2, bump(), "mean", (4, 4, 16, 16), how=TARGET_ONLY)
    together = combine_attributes([(1.0, mean), (1.0, a)])
    assert torch.allclose(edit(together), edit(mean) + FOREIGN_GAIN * edit(a), atol=4e-3)


def of_pairs(seed, change, name, **info):
    """An attribute of twelve pairs, which has a cover."""
    x = noise((12, 4, 16, 16), seed)
    z = torch.where(change != 0, change, x)
    return learn_attribute(x, z, FULL_RANK, info={"name": name, **info}, sigma=1.0)


def test_a_weight_of_minus_one_takes_away_as_a_strength_of_minus_one():
    attribute = of_pairs(0, bump() * (bump() > 1), "A")
    assert attribute.cover is not None
    x = noise((1, 4, 16, 16), 99)
    minus = combine_attributes([(-1.0, attribute)])
    for sign in (1.0, -1.0):
        taken = apply_attribute(x, attribute, -sign) - x
        assert (apply_attribute(x, minus, sign) - x - taken).norm() < 1e-3 * taken.norm()
        assert (apply_attribute(x, attribute, sign) - x - taken).norm() > 0.5 * taken.norm()


def test_a_weight_of_zero_leaves_an_attribute_out():
    one = learn(0, bump(), "A")
    other = of_pairs(1, ramp(), "B")
    x = noise((1, 4, 16, 16), 0)
    alone, with_none = combine_attributes([(1.0, one)]), combine_attributes([(1.0, one), (0.0, other)])
    assert torch.equal(apply_attribute(x, alone, 1.0), apply_attribute(x, with_none, 1.0))
    assert with_none.source is not None


def test_a_sum_is_refused_by_models_that_refuse_its_parts():
    here = ModelFamily("SDXL", "SDXL", "eps", 1280, 4, 2048)
    there = ModelFamily("SD15", "SD15", "eps", 1280, 8, 768)
    one, other = (learn(seed, change, "A", **there.info()) for seed, change in ((0, bump()), (1, ramp())))
    for attribute in (one, combine_attributes([(1.0, one), (-0.5, other)])):
        with pytest.raises(EditError, match=r"was learned on SD 1\.5"):
            check_model(attribute, here)
    unknown = combine_attributes([(1.0, one), (1.0, learn(2, ramp(), "old"))])
    assert "model_class" not in unknown.info


def test_a_sum_says_where_it_is_there_if_all_of_it_do():
    one, other = learn(0, bump(), "A"), learn(1, ramp(), "B")
    assert combine_attributes([(1.0, one), (1.0, other)]).response == one.response
    assert combine_attributes([(1.0, one), (1.0, replace(other, response=None))]).response is None
