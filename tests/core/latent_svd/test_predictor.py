"""The trained predictor of Attribute Vector Integration, beside the closed form."""

import math

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
from singular_edit.core.latent_svd.learn import AttributeSettings
from torch.nn import functional as F

# The defaults of the node SVD Attribute Learn.
STEPS = 1000
LEARNING_RATE = 1e-2


def pair(shape=(1, 4, 32, 32), seed=0, size=0.4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    bump = torch.outer(torch.hann_window(shape[2]), torch.hann_window(shape[3]))
    return x, x + 2 * bump + size * torch.randn(shape, generator=generator)


def trained(x, z, weights=LossWeights(), steps=STEPS, seed=0):
    """A pair integrated at rank 8 with a predictor that is trained on it; the predictor, and its losses."""
    kept = []

    def predict(quadratic):
        predictor, losses = train_predictor(quadratic, Training(steps, LEARNING_RATE, seed=seed))
        kept.extend([predictor, losses])
        return predictor(quadratic)

    result = integrate(x, z, 8, weights, predict)
    return result, *kept


def own_spectra(quadratic):
    """The predictor that changes nothing."""
    return quadratic.spectra


@pytest.mark.parametrize("weights", [LossWeights(), LossWeights(1, 0.3, 0.1, 0.2)])
@pytest.mark.parametrize("batch", [1, 4])
def test_it_reaches_the_closed_form(weights, batch):
    x, z = pair((batch, 4, 16, 16))
    result, _, losses = trained(x, z, weights)
    best = integrate(x, z, 8, weights)
    over_best = (result.loss.sum() / best.loss.sum()).item()
    assert 1 - 1e-9 <= over_best < 1.03
    assert losses[0] > 1.5
    assert losses[-1] == pytest.approx(over_best, rel=1e-2)
    assert (result.y - best.y).norm() < 0.15 * (best.y - x).norm()


def test_training_repeats_itself_and_depends_on_the_seed():
    x, z = pair()
    first, _, losses = trained(x, z, steps=20, seed=3)
    again, _, _ = trained(x, z, steps=20, seed=3)
    _, _, other_losses = trained(x, z, steps=20, seed=4)
    assert torch.equal(first.y, again.y)
    assert losses != other_losses


def test_it_starts_at_the_two_spectra():
    x, z = pair()
    untouched = integrate(x, z, 8, predict=own_spectra)
    assert torch.allclose(untouched.a, untouched.source.s)
    assert torch.allclose(untouched.b, untouched.target.s)
    _, _, losses = trained(x, z, steps=1)
    best = integrate(x, z, 8)
    assert losses[0] == pytest.approx((untouched.loss.sum() / best.loss.sum()).item(), rel=1e-6)


def test_another_rank_than_it_was_trained_at_is_refused():
    x, z = pair()
    _, predictor, _ = trained(x, z, steps=20)
    with pytest.raises(EditError, match="rank is 5 but the predictor was trained at rank 8"):
        integrate(x, z, 5, predict=predictor)


def test_one_network_trained_on_many_pairs_integrates_another():
    """Better than leaving the spectra alone, on a pair it has not seen."""
    _, predictor, _ = trained(*pair((16, 4, 16, 16)), steps=600)
    x, z = pair(seed=99, shape=(1, 4, 16, 16))
    unseen = integrate(x, z, 8, predict=predictor)
    best = integrate(x, z, 8)
    untouched = integrate(x, z, 8, predict=own_spectra)
    assert best.loss.sum() <= unseen.loss.sum()
    assert unseen.loss.sum() < 0.5 * untouched.loss.sum()


def test_an_attribute_keeps_its_network(tmp_path):
    x, z = pair()
    calls = []

    def callback(step, loss):
        calls.append((step, loss))

    how = AttributeSettings(rank=8, training=Training(200, LEARNING_RATE))
    attribute = learn_attribute(x, z, how, callback=callback, info={"name": "bump"})
    closed = learn_attribute(x, z, AttributeSettings(rank=8))
    assert [step for step, _ in calls] == list(range(200))
    assert calls[-1][1] < calls[0][1]
    y = apply_attribute(x, attribute, 1.0)
    change = y - x
    change_by_closed_form = apply_attribute(x, closed, 1.0) - x
    assert F.cosine_similarity(change.flatten(), change_by_closed_form.flatten(), dim=0) > 0.97
    grown = attribute.growth * x.flatten(2).norm(dim=2)
    assert torch.allclose(y.flatten(2).norm(dim=2), grown, rtol=1e-4)
    attribute.save(tmp_path / "bump.safetensors")
    again = SVDAttribute.load(tmp_path / "bump.safetensors")
    assert torch.equal(apply_attribute(x, again, 1.0), y)
    assert closed.predictor is None
    before = integrate(x, z, 8, predict=attribute.predictor)
    after = integrate(x, z, 8, predict=again.predictor)
    assert torch.allclose(after.b, before.b, rtol=1e-4)


def test_it_trains_inside_inference_mode():
    x, z = pair((1, 4, 64, 64))
    with torch.inference_mode():
        attribute = learn_attribute(x, z, AttributeSettings(training=Training(STEPS, LEARNING_RATE)))
        closed = learn_attribute(x, z)
    assert torch.isfinite(attribute.edit.s).all()
    assert attribute.predictor is not None
    assert closed.predictor is None


@pytest.mark.parametrize("degenerate", ["the same code", "zeros", "ones"])
def test_degenerate_pairs_stay_finite(degenerate):
    x, _ = pair()
    z = {"the same code": x, "zeros": torch.zeros_like(x), "ones": torch.ones_like(x)}[degenerate]
    result, _, losses = trained(x, z, steps=10)
    assert torch.isfinite(result.y).all()
    assert not any(math.isnan(loss) for loss in losses)


def test_bad_training_gets_a_sentence():
    with pytest.raises(EditError, match="steps is 0"):
        Training(steps=0, learning_rate=LEARNING_RATE)
    with pytest.raises(EditError, match="learning_rate is -1"):
        Training(steps=STEPS, learning_rate=-1)
