"""The renderer and its words."""

import logging
from types import SimpleNamespace

import pytest
import torch
from singular_edit.demo import faces, words


def test_a_seed_is_a_face():
    assert torch.equal(faces.render(7), faces.render(7))
    assert not torch.equal(faces.render(7), faces.render(8))
    pictures = faces.render(faces.sample(range(5)))
    assert torch.equal(pictures[3:4], faces.render(3))
    assert pictures.shape == (5, 3, 64, 64)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


@pytest.mark.parametrize("name", faces.ATTRIBUTES)
def test_switching_an_attribute_leaves_the_rest_of_the_face(name):
    rows = {"smile": slice(32, 64), "glasses": slice(18, 48), "hat": slice(0, 34), "beard": slice(28, 64)}[name]
    drawn = faces.sample(range(30))
    off = faces.render(drawn.with_attributes(**{name: False}))
    on = faces.render(drawn.with_attributes(**{name: True}))
    changed = (off - on).abs().amax(dim=1) > 0.02
    share_of_picture = changed.flatten(1).float().mean(dim=1)
    assert share_of_picture.min() > 0.01
    outside = changed.clone()
    outside[:, rows] = False
    assert not outside.any()


def test_attributes_are_as_frequent_as_said_and_independent():
    attributes = faces.sample(range(3000)).attributes.float()
    assert (attributes.mean(0) - faces.PREVALENCE).abs().max() < 0.04
    assert (torch.corrcoef(attributes.T) - torch.eye(4)).abs().max() < 0.06


def test_counterfactuals_range_over_the_attributes_own_parameters():
    drawn = faces.sample(range(3)).with_attributes(hat=False)
    hats = faces.counterfactuals(drawn, "hat")
    assert hats.shape == (5, 3, 3, 64, 64)
    assert not torch.equal(hats[0], hats[1])
    assert faces.counterfactuals(drawn, "hat", False).shape[0] == 1
    assert torch.equal(faces.counterfactuals(drawn, "glasses")[0], faces.render(drawn, glasses=True))


def test_unknown_attribute():
    with pytest.raises(ValueError, match="Unknown attribute 'monocle': the renderer knows smile, glasses, hat, beard"):
        faces.sample([0]).with_attributes(monocle=True)


def test_word_order_and_filler_do_not_matter():
    assert words.tokenize("a face with glasses and a hat") == words.tokenize("Hat, glasses: FACE")
    assert words.tokenize("a bearded person smiling") == words.tokenize("face beard smile smile")
    assert words.tokenize("") == [0] * words.CONTEXT_LENGTH
    assert words.tokenize(words.caption(["hat"])) == words.tokenize("a face with a hat")


def test_an_unknown_word_is_named_once(caplog):
    words._reported.clear()
    with caplog.at_level(logging.WARNING):
        assert words.tokenize("a face with a moustache") == words.tokenize("a face")
        words.tokenize("moustache")
    assert len(caplog.records) == 1
    assert "'moustache' is ignored" in caplog.text
    assert "glasses" in caplog.text


def test_a_larger_picture_shows_the_same_face():
    drawn = faces.sample(range(5))
    large = torch.nn.functional.avg_pool2d(faces.render(drawn, size=4 * faces.SIZE), 4)
    assert (large - faces.render(drawn)).abs().mean() < 0.01
    assert (large - faces.render(drawn).flip(-1)).abs().mean() > 0.03


def test_the_contact_sheet_shows_the_face_without_an_attribute_that_it_had():
    pytest.importorskip("diffusers")
    from singular_edit.demo.evaluation.contact_sheet import SheetRows, _nearest_truths
    from singular_edit.demo.evaluation.score import psnr

    drawn = faces.sample([7])
    for having in (True, False):
        plain = SimpleNamespace(
            model=SimpleNamespace(counterfactuals=faces.counterfactuals),
            faces=drawn.with_attributes(hat=having),
            attribute="hat",
            has_attribute=having,
        )
        (truth,) = _nearest_truths(SheetRows("", plain, [faces.render(drawn, hat=not having)]))
        assert psnr(truth, faces.render(drawn, hat=not having)[0]) > 20
        assert psnr(truth, faces.render(drawn, hat=having)[0]) < 20
