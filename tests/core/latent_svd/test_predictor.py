"""The trained predictor of Attribute Vector Integration, beside the closed form."""

import time

import pytest
import torch
from singular_edit.core import (
    EditError,
    LossWeights,
    SVDAttribute,
    Training,
    apply_attribute,
    integrate,
    learn_attribute,
    train_predictor,
)


def pair(shape=(1, 4, 32, 32), seed=0, size=0.4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    bump = torch.outer(torch.hann_window(shape[2]), torch.hann_window(shape[3]))
    return x, x + 2 * bump + size * torch.randn(shape, generator=generator)


def trained(x, z, rank=8, weights=LossWeights(), **training):
    kept = []

    def predict(system):
        kept.extend(train_predictor(system, Training(**training)))
        return kept[0](system)

    return integrate(x, z, rank, weights, predict), *kept


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@pytest.mark.parametrize("weights", [LossWeights(), LossWeights(1, 0.3, 0.1, 0.2)])
@pytest.mark.parametrize("batch", [1, 4])
def test_it_reaches_the_closed_form(weights, batch):
    x, z = pair((batch, 4, 16, 16))
    result, _, losses = trained(x, z, weights=weights)
    best = integrate(x, z, 8, weights)
    assert 1 - 1e-9 <= (result.loss.sum() / best.loss.sum()).item() < 1.03
    assert losses[0] > 1.5
    assert losses[-1] == pytest.approx((result.loss.sum() / best.loss.sum()).item(), rel=1e-2)
    assert (result.y - best.y).norm() < 0.15 * (best.y - x).norm()


def test_it_starts_at_the_two_spectra_and_repeats_itself():
    x, z = pair()
    first, network, losses = trained(x, z, steps=20, seed=3)
    again, _, other = trained(x, z, steps=20, seed=3)[0], None, trained(x, z, steps=20, seed=4)[2]
    assert torch.equal(first.y, again.y)
    assert losses != other
    untouched = integrate(x, z, 8, predict=lambda system: system.spectra)
    assert torch.allclose(untouched.a, untouched.source.s)
    assert torch.allclose(untouched.b, untouched.target.s)
    with pytest.raises(EditError, match="rank is 5 but the predictor was trained at rank 8"):
        integrate(x, z, 5, predict=network)


def test_one_network_trained_on_many_pairs_integrates_another():
    """Better than leaving the spectra alone, on a pair it has not seen."""
    _, network, _ = trained(*pair((16, 4, 16, 16)), steps=600)
    x, z = pair(seed=99, shape=(1, 4, 16, 16))
    unseen, best, untouched = (
        integrate(x, z, 8, predict=p) if p else integrate(x, z, 8)
        for p in (network, None, lambda system: system.spectra)
    )
    assert best.loss.sum() <= unseen.loss.sum() < 0.5 * untouched.loss.sum()


def test_an_attribute_keeps_its_network(tmp_path):
    x, z = pair()
    calls = []
    attribute = learn_attribute(
        x, z, 8, training=Training(200), callback=lambda i, loss: calls.append((i, loss)), info={"name": "bump"}
    )
    closed = learn_attribute(x, z, 8)
    assert [i for i, _ in calls] == list(range(200))
    assert calls[-1][1] < calls[0][1]
    y = apply_attribute(x, attribute, 1.0)
    assert (
        torch.nn.functional.cosine_similarity((y - x).flatten(), (apply_attribute(x, closed, 1.0) - x).flatten(), dim=0)
        > 0.97
    )
    assert torch.allclose(y.flatten(2).norm(dim=2), x.flatten(2).norm(dim=2), rtol=1e-4)
    attribute.save(tmp_path / "bump.safetensors")
    again = SVDAttribute.load(tmp_path / "bump.safetensors")
    assert torch.equal(apply_attribute(x, again, 1.0), y)
    assert closed.predictor is None
    spectra = integrate(x, z, 8, predict=lambda system: again.predictor(system)).b
    assert torch.allclose(spectra, integrate(x, z, 8, predict=attribute.predictor).b, rtol=1e-4)


def test_it_trains_inside_inference_mode_and_fast():
    x, z = pair((1, 4, 64, 64))
    with torch.inference_mode():
        assert seconds(lambda: learn_attribute(x, z, 12, training=Training())) < 10
        assert min(seconds(lambda: learn_attribute(x, z, 12)) for _ in range(3)) < 0.5


def test_degenerate_pairs_and_bad_settings():
    x, _ = pair()
    for z in (x, torch.zeros_like(x), x * 0 + 1):
        result, _, losses = trained(x, z, steps=10)
        assert torch.isfinite(result.y).all()
        assert all(loss == loss for loss in losses)
    with pytest.raises(EditError, match="steps is 0"):
        Training(steps=0)
    with pytest.raises(EditError, match="learning_rate is -1"):
        Training(learning_rate=-1)
