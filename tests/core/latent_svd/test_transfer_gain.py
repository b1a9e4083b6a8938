"""An attribute recognises the code it was learned from, and is stronger on any other."""

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import LossWeights, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.learn import AttributeSettings
from singular_edit.core.latent_svd.pair_notes import COMMON_SHARE, OTHER_WAYS
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.latent_svd.transfer_gain import (
    FOREIGN_EFFECT,
    FOREIGN_GAIN,
    FOREIGN_MARGIN,
    MAX_GAIN,
    common_share,
    foreign_note,
    mean_edit_gain,
    source_similarity,
)
from torch.nn import functional as F

SHAPE = (1, 4, 16, 16)
BUMP = 1.5 * torch.outer(torch.hann_window(16), torch.hann_window(16))
HOW = AttributeSettings(rank=16, weights=LossWeights(1, 0, 0, 0))
WITHOUT_FOCUS = replace(HOW, focus=0.0)


def learn(x, how=HOW):
    return learn_attribute(x, x + BUMP, how, info={"name": "bump"})


@given(st.integers(0, 99), st.floats(0.1, 20))
@settings(max_examples=20, deadline=None)
def test_its_own_code_is_recognised_at_any_scale_and_another_one_is_not(seed, scale):
    x = noise(SHAPE, seed)
    attribute = learn(x)
    assert torch.allclose(source_similarity(scale * x, attribute.source), torch.ones(1, 1, 1, 1), atol=1e-3)
    assert source_similarity(noise(SHAPE, seed + 100), attribute.source).max() < 0.05
    assert source_similarity(-x, attribute.source).max() == 0


def test_between_its_own_code_and_another_one_the_similarity_falls():
    x = noise(SHAPE, 0)
    other = noise(SHAPE, 1)
    source = learn(x).source
    similarities = [float(source_similarity((1 - t) * x + t * other, source)) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert similarities == sorted(similarities, reverse=True)
    assert 0.3 < similarities[2] < 0.7


def test_its_own_code_is_recognised_at_another_resolution():
    smooth = F.interpolate(noise((1, 4, 6, 6), 0), size=(16, 16), mode="bicubic")
    larger = F.interpolate(smooth, size=(32, 24), mode="bilinear")
    assert source_similarity(larger, learn(smooth).source) > 0.9


def test_strength_one_on_its_own_code_gives_the_target():
    x = noise(SHAPE, 0)
    edited = apply_attribute(x, learn(x, WITHOUT_FOCUS), 1.0)
    assert F.cosine_similarity(edited.flatten(2), (x + BUMP).flatten(2), dim=2).min() > 0.99


def test_an_edit_has_its_own_size_on_its_own_code_and_the_foreign_gain_on_another():
    x = noise(SHAPE, 0)
    other = noise(SHAPE, 1)
    attribute = replace(learn(x, WITHOUT_FOCUS), growth=None)
    without_source = replace(attribute, source=None)
    on_own = apply_attribute(x, attribute, 0.7)
    on_other = apply_attribute(other, attribute, 0.7)
    assert torch.allclose(on_own, apply_attribute(x, without_source, 0.7), atol=2e-3)
    assert torch.allclose(on_other, apply_attribute(other, without_source, 0.7 * FOREIGN_GAIN), atol=0.03)
    together = apply_attribute(torch.cat([x, other]), attribute, 0.7)
    assert torch.allclose(together, torch.cat([on_own, on_other]), atol=1e-5)


@given(st.floats(0.1, 1.0), st.sampled_from([8, 32]))
@settings(max_examples=20, deadline=None)
def test_what_many_pairs_share_is_brought_to_the_size_of_one(size, count):
    """Each e_i is the common part and a part of its own in another direction.

    The gain is |e| / |common|, and a little more.
    """
    common = noise(SHAPE, 0)
    specific = size * noise((count, 4, 16, 16), 1)
    wanted = FOREIGN_MARGIN * (1 + size**2) ** 0.5
    assert mean_edit_gain(common_share(common + specific)) == pytest.approx(wanted, rel=0.08 if count == 8 else 0.03)


def test_one_pair_or_pairs_with_nothing_in_common_have_a_gain_too():
    e = noise(SHAPE, 0)
    assert mean_edit_gain(common_share(e)) == pytest.approx(FOREIGN_GAIN, rel=1e-5)
    assert mean_edit_gain(common_share(torch.cat([e, -e]))) == pytest.approx(MAX_GAIN)
    assert FOREIGN_MARGIN < mean_edit_gain(common_share(torch.cat([e, e]))) < FOREIGN_GAIN
    assert mean_edit_gain(common_share(e.expand(100, -1, -1, -1))) == pytest.approx(FOREIGN_MARGIN, abs=0.01)


def test_the_mean_of_pairs_has_no_code_of_its_own_and_the_size_of_one():
    x = noise((24, 4, 16, 16), 0)
    z = x + BUMP + 1.5 * noise((24, 4, 16, 16), 1)
    attribute = learn_attribute(x, z, WITHOUT_FOCUS)
    singles = [learn_attribute(x[i : i + 1], z[i : i + 1], WITHOUT_FOCUS) for i in range(24)]
    assert attribute.source is None
    assert "times as strong" not in attribute.report()
    assert f"{FOREIGN_GAIN:g} times as strong" in singles[0].report()
    edits = torch.stack([compose(single.edit) for single in singles])
    mean_size = edits.flatten(1).norm(dim=1).mean()
    size_of_mean = edits.mean(dim=0).norm()
    assert size_of_mean < 0.6 * mean_size
    assert compose(attribute.edit).norm() > 0.9 * FOREIGN_MARGIN * mean_size
    assert compose(attribute.edit).norm() < 1.25 * FOREIGN_MARGIN * mean_size


def test_an_attribute_of_one_pair_says_so_on_another_picture_alone():
    x, other = noise(SHAPE, 0), noise(SHAPE, 1)
    attribute = learn(x)
    note = foreign_note(torch.cat([x, other]), attribute.source, attribute.name)
    assert note is not None
    assert note.startswith("'bump' was learned from one pair")
    assert FOREIGN_EFFECT in note
    assert FOREIGN_EFFECT in attribute.report()
    assert foreign_note(3 * x, attribute.source, attribute.name) is None
    several = learn(torch.cat([x, other]))
    assert foreign_note(x, several.source, several.name) is None


def pairs_of_blocks(moves: bool):
    """Return sixteen pairs that add one block, at one place or each at a place of its own."""
    x = noise((16, 4, 16, 16), 5)
    z = x.clone()
    for i, code in enumerate(z):
        row, column = (4 * (i // 4), 4 * (i % 4)) if moves else (4, 8)
        code[:, row : row + 4, column : column + 4] += 4.0
    return x, z


def test_pairs_whose_attribute_lies_elsewhere_in_each_are_said_to_have_little_in_common():
    same, elsewhere = (learn_attribute(*pairs_of_blocks(moves)) for moves in (False, True))
    assert float(same.info[COMMON_SHARE]) > 0.5
    assert "of their edits in common" in same.report()
    assert OTHER_WAYS not in same.report()
    assert float(elsewhere.info[COMMON_SHARE]) < 0.05
    assert OTHER_WAYS in elsewhere.report()
    assert COMMON_SHARE not in learn(noise(SHAPE)).info


@pytest.mark.parametrize("said", ["nan", "-1", "1e9", "many", ""])
def test_what_a_stranger_wrote_of_the_share_is_not_repeated(said):
    attribute = learn_attribute(*pairs_of_blocks(False))
    assert "in common" not in replace(attribute, info={COMMON_SHARE: said}).report()
