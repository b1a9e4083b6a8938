"""SVD attributes: learned, applied, carried to other sizes, saved."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from singular_edit.core import EditError, LossWeights, SVDAttribute, apply_attribute, learn_attribute
from singular_edit.core.latent_svd.svd import compose
from singular_edit.core.saliency import saliency_weight


def pair(shape=(2, 4, 16, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    bump = torch.outer(torch.hann_window(shape[2]), torch.hann_window(shape[3]))
    return x, x + 1.5 * bump


@pytest.fixture(scope="module")
def bump():
    return learn_attribute(*pair(), rank=16, weights=LossWeights(1, 0, 0, 0), info={"name": "bump"})


def test_the_edit_carries_the_attribute_to_another_code(bump):
    other = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    change = apply_attribute(other, bump, 1.0) - other
    wanted = pair()[1] - pair()[0]
    cosine = torch.nn.functional.cosine_similarity(change.flatten(), wanted[:1].flatten(), dim=0)
    assert cosine > 0.8


def test_strength_has_a_sign(bump):
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    centre = lambda t: t[..., 5:11, 5:11].mean()
    assert centre(apply_attribute(x, bump, 1.0)) > centre(x) + 0.3
    assert centre(apply_attribute(x, bump, -1.0)) < centre(x) - 0.3


@given(st.sampled_from([torch.float32, torch.float16, torch.float64]), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_strength_zero_is_the_input_bit_for_bit(dtype, seed):
    attribute = learn_attribute(*pair())
    x = torch.randn(2, 4, 12, 20, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y = apply_attribute(x, attribute, 0.0)
    assert torch.equal(x, y)
    assert y.dtype == dtype
    assert y.data_ptr() != x.data_ptr()


@given(st.floats(-3, 3).filter(lambda s: abs(s) > 0.01), st.floats(0.1, 15))
@settings(max_examples=20, deadline=None)
def test_norms_are_kept_and_scale_passes_through(bump, strength, scale):
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(5))
    y = apply_attribute(x, bump, strength)
    assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
    assert torch.allclose(apply_attribute(scale * x, bump, strength), scale * y, rtol=1e-3, atol=1e-3 * scale)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (8, 8), (1, 5)])
def test_other_sizes_and_aspect_ratios(bump, size):
    x = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(6))
    y = apply_attribute(x, bump, 1.0)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()
    if min(size) >= 16:
        middle = (slice(None), slice(None), slice(size[0] // 3, -size[0] // 3), slice(size[1] // 3, -size[1] // 3))
        assert (y - x)[middle].mean() > (y - x).mean() + 0.2


def test_a_batch_of_pairs_gives_their_mean():
    x, z = pair((6, 4, 16, 16))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    learn = lambda rows, target: learn_attribute(
        x[rows], target[rows], rank=16, weights=LossWeights(1, 0, 0, 0), focus=0.0
    )
    edit = lambda attribute: compose(attribute.edit).flatten()
    likeness = lambda attribute: torch.nn.functional.cosine_similarity(
        edit(attribute), edit(learn(slice(None), z)), dim=0
    )
    many, singles = learn(slice(None), z + noise), [learn(slice(i, i + 1), z + noise) for i in range(6)]
    assert likeness(many) > max(likeness(one) for one in singles) + 0.1
    assert torch.nn.functional.cosine_similarity(edit(many), sum(edit(one) for one in singles), dim=0) > 0.999


def test_focus_keeps_what_differs_much_and_leaves_out_what_differs_little():
    x, _ = pair((1, 4, 16, 16))
    patch = torch.zeros(16, 16)
    patch[3:8, 4:12] = 2.0
    z = x + patch + 0.1  # much in one place, a shade everywhere
    edits = [
        compose(learn_attribute(x, z, rank=16, weights=LossWeights(1, 0, 0, 0), focus=focus).edit)
        for focus in (0.0, 1.0, 3.0)
    ]
    inside, outside = (
        torch.stack([edit[:, rows, columns].abs().mean() for edit in edits])
        for rows, columns in ((slice(4, 7), slice(5, 11)), (slice(11, 16), slice(0, 16)))
    )
    assert (inside[1:] / inside[0] > torch.tensor([1.5, 2.2])).all()
    assert outside[0] > 0.02
    assert (outside[1:] < 0.15 * outside[0]).all()
    whole = learn_attribute(x, z, rank=16, weights=LossWeights(1, 0, 0, 0), focus=0.0)
    assert (
        torch.nn.functional.cosine_similarity(apply_attribute(x, whole, 1.0).flatten(2), z.flatten(2), dim=2) > 0.99
    ).all()  # the target, at the source's norm
    with pytest.raises(EditError, match="focus is -1"):
        learn_attribute(x, z, focus=-1.0)


def test_focus_is_local_and_has_no_scale():
    edit = compose(learn_attribute(*pair((1, 4, 16, 16)), focus=0.0).edit)
    assert torch.equal(saliency_weight(edit, 0.0), torch.ones(1, 16, 16))
    assert torch.allclose(saliency_weight(7 * edit), saliency_weight(edit), rtol=1e-4)
    assert torch.allclose(saliency_weight(edit.flip(-1)), saliency_weight(edit).flip(-1), atol=1e-5)
    assert torch.allclose(saliency_weight(edit.mT), saliency_weight(edit).mT, atol=1e-5)
    assert torch.allclose(
        saliency_weight(torch.full((4, 8, 8), 0.3), 3.0), torch.ones(1, 8, 8)
    )  # differing the same everywhere, no place stands out
    assert torch.isfinite(saliency_weight(torch.zeros(4, 1, 5))).all()


def test_bands_and_ranks_partition_the_edit(bump):
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    coarse, fine = (apply_attribute(x, bump, 0.5, band=band) - x for band in ("coarse", "fine"))
    assert coarse.norm() > 5 * fine.norm()
    assert torch.equal(apply_attribute(x, bump, 0.5, rank=bump.rank), apply_attribute(x, bump, 0.5))


def test_mask_leaves_the_rest_alone(bump):
    x = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(8))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    y = apply_attribute(x, bump, 1.0, mask=mask)
    assert torch.equal(y[..., 8:], x[..., 8:])
    assert not torch.equal(y[..., :8], x[..., :8])
    with pytest.raises(EditError, match="mask has shape"):
        apply_attribute(x, bump, 1.0, mask=torch.zeros(3, 1, 16, 16))


def test_the_latent_is_never_changed(bump):
    x = torch.randn(1, 4, 16, 16)
    before = x.clone()
    apply_attribute(x, bump, 2.0)
    assert torch.equal(x, before)


def test_save_and_load_keep_everything(bump, tmp_path):
    bump.save(tmp_path / "sub" / "bump.safetensors")
    again = SVDAttribute.load(tmp_path / "sub" / "bump.safetensors")
    x = torch.randn(1, 4, 16, 16)
    assert torch.equal(apply_attribute(x, bump, 1.0), apply_attribute(x, again, 1.0))
    assert again.name == "bump"
    assert again.sigma == bump.sigma
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["bump.safetensors"]


def test_bad_input_gets_a_sentence(bump):
    x, z = pair()
    with pytest.raises(EditError, match="16 channels but attribute 'bump' was learned on 4"):
        apply_attribute(torch.randn(1, 16, 8, 8), bump, 1.0)
    with pytest.raises(EditError, match="latent contains NaN"):
        apply_attribute(x * float("nan"), bump, 1.0)
    with pytest.raises(EditError, match="latent has 5 dimensions"):
        apply_attribute(torch.randn(1, 4, 2, 8, 8), bump, 1.0)
    with pytest.raises(EditError, match="band is 'loud'"):
        apply_attribute(x, bump, 1.0, band="loud")
    with pytest.raises(EditError, match="must be the same size"):
        learn_attribute(x, z[..., :8])
    with pytest.raises(EditError, match="nothing to learn"):
        learn_attribute(x, x)
    with pytest.raises(EditError, match="target_weight is 0"):
        learn_attribute(x, z, weights=LossWeights(0, 1, 0, 0))


@given(st.integers(0, 999), st.sampled_from([(1, 4, 1, 1), (1, 4, 2, 3), (3, 4, 5, 1), (2, 4, 7, 12)]))
@settings(max_examples=20, deadline=None)
def test_tiny_and_oblong_latents_learn_and_edit(seed, shape):
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    attribute = learn_attribute(x, z, rank=4)
    y = apply_attribute(x, attribute, 1.0)
    assert torch.isfinite(y).all()
    assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-3, atol=1e-5)
    assert torch.equal(apply_attribute(x, attribute, 0.0), x)


@given(st.integers(0, 999), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_each_picture_of_a_batch_is_edited_alone(bump, seed, strength):
    x = (
        torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
        * torch.tensor([1.0, 4.0, 0.2])[:, None, None, None]
    )
    alone = torch.cat([apply_attribute(x[i : i + 1], bump, strength) for i in range(3)])
    assert torch.allclose(apply_attribute(x, bump, strength), alone, rtol=1e-4, atol=1e-5)


@given(st.floats(0.05, 20), st.floats(0.05, 20))
@settings(max_examples=20, deadline=None)
def test_learning_is_blind_to_the_scale_of_either_code(first, second):
    x, z = pair((1, 4, 16, 16))
    plain, scaled = learn_attribute(x, z), learn_attribute(first * x, second * z)
    assert torch.allclose(compose(plain.edit), compose(scaled.edit), atol=2e-3)


def test_a_code_of_zeros_or_of_one_value_stays_finite(bump):
    for x in (torch.zeros(1, 4, 16, 16), torch.ones(1, 4, 16, 16)):
        assert torch.isfinite(apply_attribute(x, bump, 1.0)).all()
        assert torch.isfinite(learn_attribute(x, pair((1, 4, 16, 16))[1]).edit.s).all()


def test_large_latents_are_learned_and_edited_in_well_under_a_second():
    import time

    x = torch.randn(4, 16, 128, 128, generator=torch.Generator().manual_seed(0))
    z = x + torch.hann_window(128)

    def seconds(work):
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    attribute = learn_attribute(x, z)
    assert min(seconds(lambda: apply_attribute(x, attribute, 1.0)) for _ in range(3)) < 0.5
    assert min(seconds(lambda: learn_attribute(x, z)) for _ in range(2)) < 2  # a third of a second on a free core
