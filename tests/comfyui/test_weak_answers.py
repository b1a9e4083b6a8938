"""Edit Picture and Strength Sheet edit a picture again that changes less than is usual, inside a real ComfyUI."""

import pytest
import torch
from singular_edit.core.recipes.attributes import load_attribute
from singular_edit.core.recipes.defaults import END_PERCENT
from singular_edit.core.response import Response
from singular_edit.demo.attributes import readout_path

STEPS = 8


@pytest.fixture(scope="module")
def glasses():
    return load_attribute(readout_path("glasses"))


def prepare(graph, worn):
    face = graph.run("DemoFace", seed=50001, glasses=worn)[0]
    return graph.run("PreparePicture", model=graph.model, clip=graph.clip, vae=graph.vae, image=face, steps=STEPS)[0]


@pytest.fixture
def picture(graph):
    return prepare(graph, "off")


def there_at(attribute, full, usual=None):
    """Return the attribute as if it were there at this scale, and usually changed so much."""
    return attribute.with_response(Response((full,), (1.0,), usual))


def edit(graph, picture, attribute, strength=1.0, **options):
    return graph.run("EditPicture", picture=picture, attribute=attribute, strength=strength, **options)[0]


def test_a_usual_answer_is_left_as_it_is(graph, picture, glasses):
    from singular_edit.nodes.prepared_picture import known_factors

    assert torch.equal(edit(graph, picture, glasses), edit(graph, picture, glasses, retries=0))
    assert known_factors(picture, glasses, END_PERCENT)[2].tolist() == [1.0]


def test_glasses_that_come_only_at_a_larger_scale_are_given_more_at_every_strength(graph, picture, glasses):
    # Glasses come to this face between the scales 0.31 and 0.47.
    weak, more = there_at(glasses, 0.3125, 0.28), there_at(glasses, 0.46875)
    assert torch.equal(edit(graph, picture, weak), edit(graph, picture, more))
    assert not torch.equal(edit(graph, picture, weak), edit(graph, picture, weak, retries=0))
    sheet = graph.run("StrengthSheet", picture=picture, attribute=weak, strengths="0, 0.5, -0.5, 1")[1]
    assert torch.equal(sheet[:1], picture.rebuilt)
    assert torch.equal(sheet[1:2], edit(graph, picture, more, 0.5))
    assert torch.equal(sheet[2:3], edit(graph, picture, there_at(glasses, 0.3125), -0.5))
    assert torch.equal(sheet[3:4], edit(graph, picture, more))


def test_so_many_retries_are_made_and_what_no_scale_brings_stays(graph, picture, glasses):
    # From 0.25 they come at twice the scale.
    weak, once = there_at(glasses, 0.25, 0.3), there_at(glasses, 0.25)
    assert torch.equal(edit(graph, picture, weak), edit(graph, picture, there_at(glasses, 0.5)))
    assert torch.equal(edit(graph, picture, weak, retries=1), edit(graph, picture, once))
    assert torch.equal(edit(graph, picture, there_at(glasses, 0.25, 100.0)), edit(graph, picture, once))


def test_a_face_that_wears_glasses_is_not_given_them_twice(graph, glasses):
    worn = prepare(graph, "on")
    assert torch.equal(edit(graph, worn, there_at(glasses, 0.3125, 0.28)), edit(graph, worn, there_at(glasses, 0.3125)))


@pytest.mark.parametrize("less", [{"until": 0.5}, {"mask": True}])
def test_a_picture_that_was_to_change_less_is_not_edited_again(graph, picture, glasses, less):
    if "mask" in less:
        less = {"mask": torch.ones(picture.rebuilt.shape[:3])}
    once = edit(graph, picture, there_at(glasses, 0.3125), **less)
    assert torch.equal(edit(graph, picture, there_at(glasses, 0.3125, 0.28), **less), once)


def test_what_was_found_is_kept_and_the_bar_is_long_enough(graph, picture, glasses, monkeypatch):
    from singular_edit.backends.comfyui.progress import Progress

    bars = []
    finish = Progress.finish

    def finished(self, text):
        bars.append((self.done, self.total, text))
        finish(self, text)

    monkeypatch.setattr(Progress, "finish", finished)
    weak = there_at(glasses, 0.25, 0.3)
    for attribute, strength in ((glasses, 1.0), (weak, 1.0), (weak, 0.5)):
        edit(graph, picture, attribute, strength)
    edit(graph, picture, weak, retries=0)
    # Another end of the edit is another edit, of which nothing was found yet.
    edit(graph, picture, weak, until=1.0)
    (usual, usual_total, usual_text), (found, found_total, found_text), (kept, kept_total, _), off, last = bars
    (_, _, off_text), (later, later_total, _) = off, last
    assert usual == usual_total == STEPS
    # Full, 1.5 times and 2 times; what was found is kept for the next strength.
    assert found == found_total == 3 * STEPS
    assert kept == kept_total == STEPS
    assert "weakly" not in off_text
    assert later == later_total == 3 * STEPS
    assert "weakly and was edited at 2 times the strength" in found_text
    assert "weakly" not in usual_text
